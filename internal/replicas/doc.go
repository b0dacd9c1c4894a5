// Package replicas tests several processes of `latchkey serve` that share one PostgreSQL. The
// tests send requests over HTTP while processes are killed and networks fail, and check that the
// responses are those of a single service.
//
// The tests are short by default. LATCHKEY_SOAK=1 runs them at full length (`make soak`).
package replicas
