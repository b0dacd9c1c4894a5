package latchkey

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// ApiResponse is the answer to an operation that succeeded.
//
// It prints, marshals and logs without secrets and without header values.
// Header by itself is an ordinary map: whoever prints that shows what the server
// put there.
type ApiResponse[T any] struct {
	StatusCode int
	Header     http.Header `json:"-"`
	// RawBody is the body as it arrived, without a content coding, for callers that
	// keep it before they trust anybody's parsing of it.
	RawBody Secret `json:"-"`
	Data    T
}

// Format implements fmt.Formatter: of the headers only the names are shown,
// whatever the verb.
func (r ApiResponse[T]) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "{StatusCode:%d Header:%v Data:%+v}",
		r.StatusCode, slices.Sorted(maps.Keys(r.Header)), r.Data)
}
