// Package api has the contract of the service as an OpenAPI 3.1 document, which is written by
// hand. The end-to-end tests check every response of the server against it.
package api

import _ "embed"

// OpenAPI is the document, in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte
