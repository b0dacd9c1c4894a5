package latchkey

// NewTransport is the transport of a Client that is given none, for tests that have to
// trust a certificate of their own.
var NewTransport = newTransport
