package server

import (
	"maps"
	"net/http"
	"slices"
	"strings"
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
	// The controls of a simulation are its own; package simulate holds them to
	// the document.
	maps.DeleteFunc(documented, func(path string, _ []string) bool { return strings.HasPrefix(path, wire.PathSimulate) })
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
