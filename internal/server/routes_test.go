package server

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/latchkey/latchkey/internal/apitest"
	"github.com/latchkey/latchkey/internal/wire"
)

func TestRoutesAndTheContractAreTheSame(t *testing.T) {
	served := map[string][]string{}
	for path, route := range routes {
		served[path] = slices.Sorted(slices.Values(route.methods))
	}
	documented := apitest.Load(t).Paths()
	// The session check takes every method. A document cannot say that, so it
	// names those there are.
	served[wire.PathVerify] = []string{
		http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions,
		http.MethodPatch, http.MethodPost, http.MethodPut, http.MethodTrace,
	}
	for _, path := range slices.Sorted(maps.Keys(served)) {
		if !slices.Equal(served[path], documented[path]) {
			t.Errorf("%s is served for %v and documented for %v", path, served[path], documented[path])
		}
	}
	for path := range documented {
		if served[path] == nil {
			t.Errorf("%s is documented and not served", path)
		}
	}
}
