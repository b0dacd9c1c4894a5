// Package api holds the contract of the service as an OpenAPI 3.1 document,
// written by hand. The end-to-end tests hold every answer of the server to it.
package api

import _ "embed"

// OpenAPI is the document, in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte
