package latchkey

import (
	"crypto/tls"
	"net/http"
	"slices"
	"testing"
)

func TestOnceTransportKeepsNoConnectionAndUsesHTTP1(t *testing.T) {
	withHTTP2 := newTransport()
	withHTTP2.TLSClientConfig.NextProtos = []string{"h2", "http/1.1"}
	for name, base := range map[string]*http.Transport{
		"own": newTransport(), "zero": {}, "with HTTP/2": withHTTP2,
		"unencrypted HTTP/2": {Protocols: func() *http.Protocols {
			p := new(http.Protocols)
			p.SetUnencryptedHTTP2(true)
			return p
		}()},
	} {
		once := onceTransport(base)
		if !once.DisableKeepAlives || once.ForceAttemptHTTP2 || once.TLSNextProto == nil || len(once.TLSNextProto) != 0 ||
			once.Protocols.String() != "{HTTP1}" {
			t.Errorf("%s: keeps connections or speaks HTTP/2: %v", name, once.Protocols)
		}
		if c := once.TLSClientConfig; c != nil && slices.Contains(c.NextProtos, "h2") {
			t.Errorf("%s: offers HTTP/2 in the handshake", name)
		}
	}
}

func TestDefaultTransportVerifiesTLSAndHasTimeouts(t *testing.T) {
	own := newTransport()
	if own.TLSClientConfig.InsecureSkipVerify || own.TLSClientConfig.MinVersion < tls.VersionTLS12 {
		t.Error("the transport accepts servers that it should not")
	}
	if own.TLSHandshakeTimeout <= 0 || own.MaxResponseHeaderBytes <= 0 || own.IdleConnTimeout <= 0 ||
		own.MaxIdleConnsPerHost <= http.DefaultMaxIdleConnsPerHost {
		t.Error("the transport waits, reads or dials without bounds")
	}
}
