// Package apitest checks HTTP exchanges against the OpenAPI document of the service, in
// tests: Contract.Transport wraps a client's transport and checks every request and response,
// and Contract.Check checks one exchange.
package apitest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/latchkey/latchkey/api"
)

// Contract is the validated document. It is safe for concurrent use.
type Contract struct{ doc *openapi3.T }

// Load returns the contract, or fails the test. It loads the document once per process,
// because that takes half a second under the race detector.
func Load(t testing.TB) *Contract {
	t.Helper()
	contract, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return contract
}

var load = sync.OnceValues(func() (*Contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		return nil, fmt.Errorf("load api/openapi.yaml: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("api/openapi.yaml is not valid OpenAPI: %w", err)
	}
	return &Contract{doc}, nil
})

// Paths returns the methods of each path of the document.
func (c *Contract) Paths() map[string][]string {
	paths := map[string][]string{}
	for path, item := range c.doc.Paths.Map() {
		for method := range item.Operations() {
			paths[path] = append(paths[path], method)
		}
		slices.Sort(paths[path])
	}
	return paths
}

type malformedKey struct{}

// Malformed marks requests that violate the contract on purpose: only their responses are
// checked.
func Malformed(ctx context.Context) context.Context {
	return context.WithValue(ctx, malformedKey{}, true)
}

// Transport returns a RoundTripper that checks every exchange through next, or through
// http.DefaultTransport if next is nil. A violation is an error of the test.
func (c *Contract) Transport(t testing.TB, next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return transport{t, c, next}
}

type transport struct {
	t        testing.TB
	contract *Contract
	next     http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (tr transport) RoundTrip(request *http.Request) (*http.Response, error) {
	var sent []byte
	if request.Body != nil {
		var err error
		if sent, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
		_ = request.Body.Close() // it has been read to its end
	}
	restore := func() *http.Request {
		copied := request.Clone(request.Context())
		if request.Body != nil {
			copied.Body = io.NopCloser(bytes.NewReader(sent))
		}
		return copied
	}
	response, err := tr.next.RoundTrip(restore())
	if err != nil {
		return nil, err
	}
	if err := tr.contract.Check(restore(), response); err != nil {
		tr.t.Errorf("%s %s: response %d: %v", request.Method, request.URL.Path, response.StatusCode, err)
	}
	return response, nil
}

// Check returns an error if an exchange violates the contract. It reads the bodies of the
// request and the response, and restores that of the response.
func (c *Contract) Check(request *http.Request, response *http.Response) error {
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read the response: %w", err)
	}
	_ = response.Body.Close() // it has been read to its end
	response.Body = io.NopCloser(bytes.NewReader(body))

	route, stray, err := c.route(request)
	if err != nil {
		return err
	}
	options := &openapi3filter.Options{
		IncludeResponseStatus: true,
		ExcludeResponseBody:   request.Method == http.MethodHead,
		AuthenticationFunc:    carriesCredentials,
	}
	input := &openapi3filter.RequestValidationInput{Request: request, Route: route, Options: options}
	if !stray && request.Context().Value(malformedKey{}) == nil {
		if err := openapi3filter.ValidateRequest(request.Context(), input); err != nil {
			return fmt.Errorf("the request violates the contract: %s", short(err))
		}
	}
	output := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: response.StatusCode, Header: response.Header, Options: options,
	}
	if err := openapi3filter.ValidateResponse(request.Context(), output.SetBodyBytes(body)); err != nil {
		return fmt.Errorf("the response violates the contract: %s", short(err))
	}
	return checkRest(route.Operation.Responses.Status(response.StatusCode).Value, response.Header, body)
}

// route returns the operation of a request. For a path or a method that is not in the
// document, stray is true, and the operation has the documented response: 404, or 405 for a
// path that supports other methods.
func (c *Contract) route(request *http.Request) (route *routers.Route, stray bool, err error) {
	item := c.doc.Paths.Value(request.URL.Path)
	route = &routers.Route{Spec: c.doc, Path: request.URL.Path, PathItem: item, Method: request.Method}
	status, name := http.StatusNotFound, "NotFound"
	if item != nil {
		if route.Operation = item.GetOperation(request.Method); route.Operation != nil {
			return route, false, nil
		}
		status, name = http.StatusMethodNotAllowed, "MethodNotAllowed"
	}
	response, ok := c.doc.Components.Responses[name]
	if !ok {
		return nil, false, fmt.Errorf("the document has no response %s", name)
	}
	route.PathItem = &openapi3.PathItem{}
	route.Operation = &openapi3.Operation{Responses: openapi3.NewResponses(
		openapi3.WithStatus(status, response),
		openapi3.WithStatus(http.StatusRequestHeaderFieldsTooLarge, c.doc.Components.Responses["TooManyHeaderFields"]))}
	return route, true, nil
}

// checkRest checks what the library does not: that there is no body if none is documented, and
// that every header is documented.
func checkRest(documented *openapi3.Response, header http.Header, body []byte) error {
	if len(documented.Content) == 0 && len(body) > 0 {
		return fmt.Errorf("the response has a body of %d bytes, and the contract has none", len(body))
	}
	known := map[string]bool{
		"Content-Length": true, "Content-Type": true, "Content-Encoding": true, "Connection": true, "Date": true,
		"Transfer-Encoding": true,
	}
	for name := range documented.Headers {
		known[http.CanonicalHeaderKey(name)] = true
	}
	for name := range header {
		if !known[http.CanonicalHeaderKey(name)] {
			return fmt.Errorf("the header %s of the response is not in the contract", name)
		}
	}
	return nil
}

// short returns the text of err without the schema, which may be the whole document.
func short(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\nSchema:")
	return text
}

// carriesCredentials checks that a request has the credentials that the operation requires,
// not that they are valid.
func carriesCredentials(_ context.Context, input *openapi3filter.AuthenticationInput) error {
	request, scheme := input.RequestValidationInput.Request, input.SecurityScheme
	name := "Authorization"
	if scheme.Type == "apiKey" {
		name = scheme.Name
	}
	if request.Header.Get(name) == "" {
		return fmt.Errorf("the header %s is missing", name)
	}
	return nil
}
