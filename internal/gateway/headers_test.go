package gateway_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/wire"
)

// stopped are headers of every family that the gateway does not forward, in usual and
// unusual spellings.
var stopped = []string{
	"X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "X-METHOD-OVERRIDE",
	"X_HTTP_Method_Override", "HTTP-Method-Override", "X-Original-URL", "X-Original-Uri", "X-Original-Method",
	"X-Rewrite-URL", "X_Rewrite_Url", "X-Override-URL", "X-Request-URI", "X-Host", "X-HTTP-Host-Override",
	"X-Original-Host", "X.Original.URL", "X-Sendfile-Type", "X-Accel-Mapping", "Http_X_Rewrite_Url",
	"Vz_M2m_Token", "vz_m2m_token", "VZ-M2M_Token", "VZ.M2M.Token", "X-VZ-M2M-Token", "Vz-M2m-Token-",
	"SessionToken", "Session-Token", "X-Session_Token", "AUTHORIZATION_", "X-Authorization",
	"X-Original-Authorization", "Proxy_Authorization", "Proxy", "Proxy-Foo", "Cookie_", "Cookie2",
	"Set-Cookie", "Set-Cookie2", "Set_Cookie", "X-Auth-Token", "X-Access-Token", "RevokedAccessToken",
	"Client-Cert", "X-SSL-Client-Cert", "X-Remote-User", "Remote-User", "X-Real-IP", "X_Real_Ip",
	"X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "CF-Connecting-IPv6", "X-Cluster-Client-IP",
	"Fastly-Client-IP", "X-Originating-IP", "X-Remote-IP", "X-Remote-Addr", "Client-IP", "X-ProxyUser-Ip",
	"WL-Proxy-Client-IP", "X-Azure-ClientIP", "X-Envoy-External-Address", "X-AppEngine-User-IP", "Forwarded",
	"Via", "X-Forwarded", "X-Forwarded-Prefix", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Path",
	"X-Forwarded-User", "X_Forwarded_For", "X-Forwarded-Client-Cert", "X-Forwarded-Anything", "Forwarded-For",
	"X-Forward-For", "Latchkey-User", "Latchkey_User", "Latchkey-Session", "Latchkey-Session-Age",
	"Latchkey-Client", "Latchkey-Local", "X-Latchkey-Anything", "Latchkey", "Idempotency_Key",
	"X-HTTP-Verb", "X-Script-Name", "X_Path_Info", "X-Query-String", "X-Target-Url", "X-Backend-Host", "X-Accel-Internal",
	"X-Lighttpd-Send-Tempfile", "Vz-M2m-Tokens", "X-Vz-M2m-Token-2", "Session-Token-2", "X-Auth", "X-Auth-User", "Cookies",
	"X-Ssl-Cert", "X-Client-Dn", "X-Ms-Client-Principal", "X-Goog-Authenticated-User-Email", "X-Goog-Iap-Jwt-Assertion",
	"X-Amzn-Oidc-Identity", "X-Consumer-Username", "X-Vercel-Proxied-For", "X-Real-Port", "X-Peer-Addr",
	"Idempotence-Key", "X_Idempotency_Key", "Idempotency-Key", "Transfer_Encoding", "Content_Length", "Keep_Alive",
}

// carried are forwarded headers with similar names.
var carried = []string{
	"X-Request-Id", "X-Correlation-Id", "X-APIMatic-Retry", "X_Kept", "X-Kept", "Traceparent",
	"Accept-Language", "X-CSRF-Token", "Device_Id", "Continuation-Token", "X-Membership", "X-Zip",
	"X-Payment-Method", "X-Subscription", "Origin-Agent-Cluster", "Path-Loss", "X-Api-Version",
	"If-None-Match", "X-Token-Count", "X-Session-Count", "X-Protocol", "X-Author", "X-Cookie-Policy", "X-Consumer",
}

// send sends raw text, which ends the connection, and returns the last response.
func (r *rig) send(text string) reply {
	r.Helper()
	conn, err := tls.Dial("tcp", r.address, &tls.Config{InsecureSkipVerify: true})
	r.must(err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, text)
	r.must(err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	r.must(err)
	body, err := io.ReadAll(resp.Body)
	r.must(err)
	return reply{resp, string(body)}
}

// useHTTP2 makes do send requests over HTTP/2.
func (r *rig) useHTTP2() {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableCompression: true,
	}
	r.Cleanup(transport.CloseIdleConnections)
	r.http = &http.Client{Transport: transport}
}

// find returns the names of header whose values contain text.
func find(header http.Header, text string) (names []string) {
	for name, values := range header {
		if strings.Contains(strings.Join(values, "\n"), text) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

const mark = "not-to-be-forwarded"

func TestHeaderFamiliesAreRemovedFromRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	// In batches, because the server bounds the number of fields.
	for batch := range slices.Chunk(stopped, 40) {
		var head, tail strings.Builder
		for _, name := range batch {
			fmt.Fprintf(&head, "%s: %s\r\n", name, mark)
		}
		// Not every name is permitted in a trailer.
		for _, name := range batch {
			if !slices.Contains([]string{"Forwarded", "Via"}, name) {
				fmt.Fprintf(&tail, "%s: %s\r\n", name, mark)
			}
		}
		for _, announced := range []string{"", "Trailer: X-Sum, Vz_M2m_Token, X-Real-Ip\r\n"} {
			p := r.send("POST /api/m2m/v1/sms HTTP/1.1\r\n" + r.tokens() +
				"Te: trailers\r\nConnection: close, Te\r\nTransfer-Encoding: chunked\r\n" +
				announced + head.String() + "\r\n2\r\n{}\r\n0\r\nX-Sum: 42\r\n" + tail.String() + "\r\n")
			got := p.echoed(t)
			if names := find(got.Header, mark); names != nil {
				t.Errorf("forwarded: %q", names)
			}
			if names := find(got.Trailer, mark); names != nil {
				t.Errorf("forwarded in trailers: %q", names)
			}
			for name := range got.Trailer {
				if wire.FamilyOf(name) != wire.Ordinary {
					t.Errorf("the trailer %s was announced upstream", name)
				}
			}
			if got.Body != "{}" || announced != "" && got.Trailer.Get("X-Sum") != "42" {
				t.Errorf("arrived: %q, trailers %v", got.Body, got.Trailer)
			}
			if strings.Contains(p.text, r.token.Reveal()) || strings.Contains(p.text, r.bearer.Reveal()) {
				t.Error("a local token was forwarded")
			}
		}
	}
	var head strings.Builder
	for _, name := range carried {
		fmt.Fprintf(&head, "%s: to-be-forwarded\r\n", name)
	}
	got := r.send("GET /api/m2m/v1/devices HTTP/1.1\r\n" + r.tokens() + head.String() +
		"Connection: close, X-Request-Id\r\n\r\n").echoed(t)
	for _, name := range carried {
		if got.Header.Get(name) != "to-be-forwarded" {
			t.Errorf("%s did not go upstream", name)
		}
	}
}

// Over HTTP/2, and with the caller's own tokens as values.
func TestTheCallersTokensAreNotForwardedInAnySpelling(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	r.useHTTP2()
	req := r.request("GET", "/api/m2m/v1/devices", http.NoBody)
	for _, name := range []string{"vz_m2m_token", "sessiontoken", "x-session-token", "authorization_", "x-authorization",
		"x-forwarded-authorization"} {
		req.Header.Set(name, r.token.Reveal()+" "+r.bearer.Reveal())
	}
	p := r.do(req)
	if p.ProtoMajor != 2 {
		t.Fatalf("spoke %s", p.Proto)
	}
	got := p.echoed(t)
	if names := append(find(got.Header, r.token.Reveal()), find(got.Header, r.bearer.Reveal())...); names != nil {
		t.Errorf("local tokens were forwarded in %q", names)
	}
}

func TestHeaderFamiliesAreRemovedFromResponses(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		header := w.Header()
		set := func(prefix, value string) {
			for _, name := range stopped {
				if name != "Content_Length" || prefix == "" {
					header[prefix+name] = []string{value, req.Header.Get(wire.HeaderSessionToken)}
				}
			}
			header[prefix+http.CanonicalHeaderKey(wire.HeaderSessionToken)] = []string{req.Header.Get(wire.HeaderSessionToken)}
			header[prefix+"X-Mark"] = []string{"forwarded"}
		}
		set("", mark)
		header.Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		clear(header)
		set("", mark)
		header.Set("Trailer", "X-Sum, Vz_M2m_Token, X-Session-Token, X-Secret-Copy")
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, "body")
		_ = http.NewResponseController(w).Flush()
		header.Set("X-Sum", "42")
		header["Vz_M2m_Token"] = []string{mark}
		header.Set("X-Session-Token", req.Header.Get(wire.HeaderSessionToken))
		set(http.TrailerPrefix, mark)
	}, nil)
	for _, second := range []bool{false, true} {
		if second {
			r.useHTTP2()
		}
		var hints http.Header
		req := r.request("GET", "/api/m2m/v1/devices", http.NoBody)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				if code == http.StatusEarlyHints {
					hints = http.Header(header)
				}
				return nil
			},
		}))
		req.Header.Set(wire.HeaderRequestID, "request-7")
		p := r.do(req)
		if p.StatusCode != http.StatusOK || p.text != "body" || (p.ProtoMajor == 2) != second {
			t.Fatalf("the response is %d %s over %s", p.StatusCode, p.text, p.Proto)
		}
		for what, header := range map[string]http.Header{"the 103": hints, "the header": p.Header,
			"the trailers": p.Trailer} {
			for name := range header {
				if wire.FamilyOf(name) != wire.Ordinary {
					t.Errorf("%s was returned to the caller in %s", name, what)
				}
			}
			if names := find(header, mark); names != nil {
				t.Errorf("returned to the caller in %s: %q", what, names)
			}
			if header.Get("X-Mark") != "forwarded" {
				t.Errorf("an ordinary header is not in %s", what)
			}
		}
		if hints.Get("Link") == "" || p.Trailer.Get("X-Sum") != "42" {
			t.Errorf("103 %v, trailers %v", hints, p.Trailer)
		}
		if ids := p.Header.Values(wire.HeaderRequestID); len(ids) != 1 || ids[0] != "request-7" {
			t.Errorf("after a 103 the request ID is %q", ids)
		}
	}
}

// If the upstream repeats the gateway's own tokens, no caller receives them under any name.
func TestTheUpstreamsTokensAreNotReturnedInAnyHeader(t *testing.T) {
	t.Parallel()
	var session, bearer string
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		session, bearer = req.Header.Get(wire.HeaderSessionToken), strings.TrimPrefix(req.Header.Get("Authorization"),
			"Bearer ")
		set := func(prefix string) {
			w.Header()[prefix+"X-Debug"] = []string{"fine", "the session is " + session + "."}
			w.Header()[prefix+"X-Trace"] = []string{`{"authorization":"Bearer ` + bearer + `"}`}
			w.Header()[prefix+"X-Kept"] = []string{strings.Repeat("kept ", 20)}
		}
		set("")
		w.Header().Set("Link", "</api/x?token="+session+">; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		clear(w.Header())
		set("")
		w.Header().Set("Location", "/api/next?token="+bearer)
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		set(http.TrailerPrefix)
	}, nil)
	var hints http.Header
	req := r.request("GET", "/api/m2m/v1/devices", http.NoBody)
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, header textproto.MIMEHeader) error { hints = http.Header(header); return nil },
	}))
	p := r.do(req)
	if session == "" || bearer == "" || p.StatusCode != http.StatusOK {
		t.Fatalf("the response is %d %s", p.StatusCode, p.text)
	}
	for what, header := range map[string]http.Header{"the 103": hints, "the header": p.Header, "the trailers": p.Trailer} {
		if names := append(find(header, session), find(header, bearer)...); names != nil {
			t.Errorf("tokens of the gateway came back in %s: %q", what, names)
		}
		if header.Get("X-Kept") == "" {
			t.Errorf("an ordinary header is not in %s", what)
		}
	}
}
