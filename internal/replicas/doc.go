// Package replicas has no code, only tests: several processes of `latchkey serve`
// share one PostgreSQL. They are used over HTTP, as anybody would, while processes are killed and networks fail, and
// what they answered is held to what one service would have answered.
//
// The short form runs with all other tests. LATCHKEY_SOAK=1, as `make soak` sets it,
// has the full one.
package replicas
