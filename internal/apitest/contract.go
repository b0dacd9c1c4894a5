// Package apitest holds HTTP exchanges to the OpenAPI document of the service,
// in tests: wrap a client's transport with Contract.Transport and every request
// and answer is checked, or check one exchange with Contract.Check.
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

// Contract is the document, loaded and found valid. It is safe for concurrent
// use.
type Contract struct{ doc *openapi3.T }

// Load returns the contract, or ends the test. It loads the document only once in a
// process, because that takes half a second under the race detector.
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

// Paths lists the paths of the document with the methods that each takes.
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

// Malformed marks requests that break the contract on purpose: only what is
// answered to them is checked.
func Malformed(ctx context.Context) context.Context {
	return context.WithValue(ctx, malformedKey{}, true)
}

// Transport checks every exchange that goes through next (nil:
// http.DefaultTransport). A breach is an error of the test.
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
		_ = request.Body.Close() // it was read to its end
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
		tr.t.Errorf("%s %s answered %d: %v", request.Method, request.URL.Path, response.StatusCode, err)
	}
	return response, nil
}

// Check tells what in an exchange is against the document. It reads the body of
// the request, and that of the response, which it puts back.
func (c *Contract) Check(request *http.Request, response *http.Response) error {
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	_ = response.Body.Close() // it was read to its end
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
			return fmt.Errorf("the request is against the contract: %s", short(err))
		}
	}
	output := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: response.StatusCode, Header: response.Header, Options: options,
	}
	if err := openapi3filter.ValidateResponse(request.Context(), output.SetBodyBytes(body)); err != nil {
		return fmt.Errorf("the answer is against the contract: %s", short(err))
	}
	return checkRest(route.Operation.Responses.Status(response.StatusCode).Value, response.Header, body)
}

// route finds the operation that a request is for. What is not in the document
// has one answer, which is made an operation here: 404, or 405 for a path that
// takes other methods.
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
	refusal, ok := c.doc.Components.Responses[name]
	if !ok {
		return nil, false, fmt.Errorf("the document does not say what a %s looks like", name)
	}
	route.PathItem = &openapi3.PathItem{}
	route.Operation = &openapi3.Operation{Responses: openapi3.NewResponses(
		openapi3.WithStatus(status, refusal),
		openapi3.WithStatus(http.StatusRequestHeaderFieldsTooLarge, c.doc.Components.Responses["TooManyHeaderFields"]))}
	return route, true, nil
}

// checkRest looks at what the library does not: that there is no body where none
// is documented, and no header that nobody wrote down.
func checkRest(documented *openapi3.Response, header http.Header, body []byte) error {
	if len(documented.Content) == 0 && len(body) > 0 {
		return fmt.Errorf("the answer has a body of %d bytes, and the contract has none", len(body))
	}
	known := map[string]bool{"Content-Length": true, "Content-Type": true, "Content-Encoding": true, "Connection": true, "Date": true, "Transfer-Encoding": true}
	for name := range documented.Headers {
		known[http.CanonicalHeaderKey(name)] = true
	}
	for name := range header {
		if !known[http.CanonicalHeaderKey(name)] {
			return fmt.Errorf("the header %s of the answer is not in the contract", name)
		}
	}
	return nil
}

// short cuts off the schema, which may be the whole document.
func short(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\nSchema:")
	return text
}

// carriesCredentials checks that the credentials that an operation wants are
// there; whether they are good is for the server to say.
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
