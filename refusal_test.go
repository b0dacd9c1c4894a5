package latchkey_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

// compressed returns text in a content coding.
func compressed(t testing.TB, coding, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	case "flate":
		w, _ = flate.NewWriter(&b, flate.DefaultCompression)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// inUTF16 returns text in UTF-16, big or little endian, with a mark before it.
func inUTF16(text string, big, mark bool) []byte {
	if mark {
		text = "\ufeff" + text
	}
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		if big {
			b = append(b, byte(unit>>8), byte(unit))
		} else {
			b = append(b, byte(unit), byte(unit>>8))
		}
	}
	return b
}

const (
	expired  = `{"errorCode":"UnifiedWebService.REQUEST_FAILED.SessionToken.Expired","errorMessage":"It is over."}`
	faultXML = `<?xml version="1.0" encoding="UTF-8"?><fault><code>900901</code><message>No.</message></fault>`
)

func TestRefusalsAreParsedInEveryEncoding(t *testing.T) {
	coded := func(name string) http.Header { return http.Header{"Content-Encoding": {name}} }
	for name, test := range map[string]struct {
		header http.Header
		body   []byte
	}{
		"gzip":                        {coded("gzip"), compressed(t, "gzip", expired)},
		"gzip, in upper case":         {coded("GZip"), compressed(t, "gzip", expired)},
		"x-gzip":                      {coded("x-gzip"), compressed(t, "gzip", expired)},
		"deflate":                     {coded("deflate"), compressed(t, "zlib", expired)},
		"deflate, without its header": {coded("Deflate"), compressed(t, "flate", expired)},
		"a list":                      {coded(" gzip , identity"), compressed(t, "gzip", expired)},
		"two header lines": {http.Header{"Content-Encoding": {"deflate", "gzip"}},
			compressed(t, "gzip", string(compressed(t, "zlib", expired)))},
		"identity":                 {coded("identity"), []byte(expired)},
		"empty":                    {coded(""), []byte(expired)},
		"gzip, decoded already":    {coded("gzip"), []byte(expired)},
		"deflate, decoded already": {coded("deflate"), []byte(expired)},
		"br, decoded already":      {coded("br"), []byte(expired)},
		"gzip without its end": {coded("gzip"), compressed(t, "gzip",
			expired)[:len(compressed(t, "gzip", expired))-5]},
		"garbage behind gzip":         {coded("gzip"), append(compressed(t, "gzip", expired), "garbage"...)},
		"byte order mark":             {nil, []byte("\xef\xbb\xbf" + expired)},
		"byte order mark in gzip":     {coded("gzip"), compressed(t, "gzip", "\xef\xbb\xbf"+expired)},
		"UTF-16, little endian":       {nil, inUTF16(expired, false, true)},
		"UTF-16, big endian":          {nil, inUTF16(expired, true, true)},
		"UTF-16 without a mark":       {nil, inUTF16(expired, false, false)},
		"UTF-16, big, without a mark": {nil, inUTF16(expired, true, false)},
		"garbage behind":              {nil, []byte(expired + "\n-- the proxy")},
		"cut off in the message":      {nil, []byte(expired[:len(expired)-8])},
		"cut off behind the code":     {nil, []byte(expired[:strings.Index(expired, `,"errorMessage`)])},
		"blank before":                {nil, []byte("\r\n\t " + expired)},
		"names in another case":       {nil, []byte(`{"ErrorCode":"UnifiedWebService.REQUEST_FAILED.SessionToken.Expired"}`)},
	} {
		err := checkResponse(400, test.header, test.body)
		if !errors.Is(err, latchkey.ErrSessionExpired) {
			t.Errorf("%s: %v, want ErrSessionExpired", name, err)
		}
	}
	for name, body := range map[string][]byte{
		"plain": []byte(faultXML), "with a mark": []byte("\xef\xbb\xbf" + faultXML),
		"UTF-16":         inUTF16(strings.Replace(faultXML, "UTF-8", "UTF-16", 1), true, true),
		"another coding": []byte(strings.Replace(faultXML, "UTF-8", "ISO-8859-1", 1)),
		"cut off":        []byte(faultXML[:strings.Index(faultXML, "<message>")+10]),
	} {
		var fault *latchkey.FaultError
		if err := checkResponse(401, nil, body); !errors.As(err, &fault) || fault.Code != "900901" {
			t.Errorf("fault in XML, %s: %v", name, err)
		}
	}
}

// What cannot be read, or does not say it, is not taken for a refusal of a token.
func TestSimilarErrorsDoNotMatchTheSentinels(t *testing.T) {
	bomb := compressed(t, "gzip", `{"errorMessage":"`+strings.Repeat("x",
		8<<20)+`","errorCode":"A.REQUEST_FAILED.SessionToken.Expired"}`)
	for name, test := range map[string]struct {
		coding string
		body   []byte
	}{
		"an unknown coding":   {"br", compressed(t, "gzip", expired)},
		"no gzip":             {"gzip", []byte("\x00\x01\x02")},
		"too many codings":    {"gzip,gzip,gzip,gzip,gzip", compressed(t, "gzip", expired)},
		"a bomb":              {"gzip", bomb},
		"cut off in the code": {"", []byte(`{"errorCode":"UnifiedWebService.REQUEST_FAILED.SessionToken.Expired`)},
		"only in the message": {"", []byte(`{"errorCode":"A.B","errorMessage":"REQUEST_FAILED.SessionToken.Expired"}`)},
		"another parameter": {"",
			[]byte(`{"errorCode":"INVALID_PARAMETER","errorMessage":"The device is unknown. UWS verification failure"}`)},
		"no message":           {"", []byte(`{"errorCode":"INVALID_PARAMETER"}`)},
		"message without code": {"", []byte(`{"errorMessage":"UWS verification failure"}`)},
		"another code":         {"", []byte(`{"errorCode":"INVALID_DEVICE","errorMessage":"UWS verification failure"}`)},
		"diagnostics, 400": {"",
			[]byte(`{"errorCode":"INVALID_ACCOUNT","errorMessage":"The account has no such device."}`)},
		"access, 400": {"", []byte(`{"responseCode":"INVALID_ACCESS","message":"No."}`)},
		"failure behind UWS": {"",
			[]byte(`{"error":"internal_server_error","error_description":"UWS V1 REST accounts: [500]"}`)},
		"a 400 behind UWS": {"",
			[]byte(`{"error":"internal_server_error","error_description":"UWS V1 REST accounts: [400]"}`)},
	} {
		err := checkResponse(400, http.Header{"Content-Encoding": {test.coding}}, test.body)
		for _, sentinel := range []error{latchkey.ErrSessionExpired, latchkey.ErrSessionTokenInvalid,
			latchkey.ErrUnauthorized} {
			if errors.Is(err, sentinel) {
				t.Errorf("%s: %v matches %q", name, err, sentinel)
			}
		}
	}
}

func TestPublishedRefusalsMatchTheirSentinels(t *testing.T) {
	want := map[wire.Meaning]error{
		wire.MeaningSessionExpired: latchkey.ErrSessionExpired, wire.MeaningSessionInvalid: latchkey.ErrSessionTokenInvalid,
		wire.MeaningSessionMissing: latchkey.ErrSessionTokenMissing, wire.MeaningBearer: latchkey.ErrUnauthorized,
		wire.MeaningToken: latchkey.ErrUnauthorized, wire.MeaningThrottled: latchkey.ErrThrottled,
		wire.MeaningBlocked: latchkey.ErrBlocked, wire.MeaningNoResource: latchkey.ErrNoSuchResource,
	}
	for _, form := range wire.Refusals {
		if got := wire.ParseRefusal(form.Status, []byte(form.Body)); got.Form == wire.FormUnknown ||
			got.Meaning != form.Meaning {
			t.Errorf("%s is read as %+v", form.Name, got)
		}
		err := checkResponse(form.Status, http.Header{"Retry-After": {"7"}}, []byte(form.Body))
		if !errors.Is(err, want[form.Meaning]) {
			t.Errorf("%s: %v does not match %q", form.Name, err, want[form.Meaning])
		}
		if form.Status == http.StatusUnauthorized && !errors.Is(err, latchkey.ErrUnauthorized) {
			t.Errorf("%s: %v does not match ErrUnauthorized", form.Name, err)
		}
		if !strings.Contains(err.Error(), "simulated refusal") {
			t.Errorf("%s: %v does not show the message", form.Name, err)
		}
		var fault *latchkey.FaultError
		if form.Meaning == wire.MeaningBlocked && (!errors.As(err, &fault) || fault.RetryAfter != 0 ||
			errors.Is(err, latchkey.ErrThrottled)) {
			t.Errorf("%s: %v suggests a retry", form.Name, err)
		}
	}
	for code := range 8 {
		err := checkResponse(429, nil, []byte(`{"fault":{"code":"90080`+string(rune('0'+code))+`"}}`))
		if errors.Is(err, latchkey.ErrThrottled) != (code != 5) || errors.Is(err, latchkey.ErrBlocked) != (code == 5) {
			t.Errorf("90080%d is %v", code, err)
		}
	}
}

func TestEvery401IsErrUnauthorized(t *testing.T) {
	for name, body := range map[string]string{
		"empty": "", "page": "<html>Please log in</html>", "text": "no", "other JSON": `{"message":"no"}`, "array": `["no"]`,
		"oauth": `{"error":"access_denied"}`, "code": `{"errorCode":"401"}`, "number": `{"errorCode":401}`,
		"any code":       `{"errorCode":"A.B"}`,
		"wrong password": `{"errorCode":"A.REQUEST_FAILED.Login.InvalidCredentials"}`, "session": expired,
		"status as a number": `{"status":401,"message":"Unauthorized","data":{}}`,
		"spring":             `{"status":401,"error":"Unauthorized","path":"/x"}`,
		"fault":              `{"fault":{"code":"900900"}}`, "client": `{"error":"invalid_client"}`,
	} {
		if err := checkResponse(401, nil, []byte(body)); !errors.Is(err, latchkey.ErrUnauthorized) {
			t.Errorf("%s: %v", name, err)
		}
		if err := checkResponse(403, nil, []byte(body)); errors.Is(err, latchkey.ErrUnauthorized) {
			t.Errorf("%s with status 403: %v matches ErrUnauthorized", name, err)
		}
	}
}

func TestSuccessesAreDecodedWithByteOrderMarkOrCoding(t *testing.T) {
	a := newAPI(t)
	client := after(t, a)
	body := `{"newPassword":"` + newPassword + `"}`
	for name, test := range map[string]struct {
		coding string
		body   []byte
	}{
		"mark": {"", []byte("\xef\xbb\xbf" + body)}, "UTF-16": {"", inUTF16(body, false, true)},
		"gzip": {"gzip", compressed(t, "gzip", body)}, "deflate": {"DEFLATE", compressed(t, "zlib", body)},
		"cut off in the checksum": {"gzip", compressed(t, "gzip", body)[:len(compressed(t, "gzip", body))-3]},
	} {
		a.answer = func(w http.ResponseWriter, _ *http.Request) {
			if test.coding != "" {
				w.Header().Set("Content-Encoding", test.coding)
			}
			_, _ = w.Write(test.body)
		}
		var raw latchkey.Secret
		made, err := client.ResetPassword(t.Context(), sessionID, password, latchkey.ResetOptions{
			OnResponse: func(body latchkey.Secret) { raw = body },
		})
		if err != nil || made.Reveal() != newPassword {
			t.Errorf("%s: %v", name, err)
		}
		if made, err := latchkey.ParseNewPassword(raw); err != nil || made.Reveal() != newPassword {
			t.Errorf("%s, from what was kept: %v", name, err)
		}
	}
}

// A 401 in any form forgets the access token; only a logout is sent again.
func TestEvery401InvalidatesTheAccessToken(t *testing.T) {
	for name, body := range map[string]string{
		"page": "<html>no</html>", "empty": "", "code": `{"errorCode":"401","errorMessage":"no"}`,
		"oauth": `{"error":"Unauthorized","description":"no"}`,
	} {
		for op, want := range map[string]int{"login": 1, "logout": 2} {
			a := newAPI(t)
			client := after(t, a)
			a.answer = func(w http.ResponseWriter, _ *http.Request) { reply(w, 401, body) }
			var err error
			if op == "login" {
				err = logIn(t.Context(), client)
			} else {
				err = logOut(t.Context(), client)
			}
			if !errors.Is(err, latchkey.ErrUnauthorized) {
				t.Errorf("%s, %s: %v", name, op, err)
			}
			sent := len(a.to(wire.PathLogIn)) + len(a.to(wire.PathLogOut))
			if sent != want {
				t.Errorf("%s: the %s was sent %d times, want %d", name, op, sent, want)
			}
			_, _ = client.AccessToken(t.Context())
			if fetched := len(a.to(wire.PathToken)); fetched != want+1 {
				t.Errorf("%s: after a %s %d access tokens were fetched, want %d", name, op, fetched, want+1)
			}
		}
	}
	// A refused session is not the access token's fault.
	a := newAPI(t)
	client := after(t, a)
	a.answer = func(w http.ResponseWriter, _ *http.Request) { reply(w, 401, expired) }
	if err := logOut(t.Context(), client); !errors.Is(err, latchkey.ErrSessionExpired) {
		t.Errorf("a refused session: %v", err)
	}
	if len(a.to(wire.PathLogOut)) != 1 || len(a.to(wire.PathToken)) != 1 {
		t.Error("a refused session cost an access token")
	}
}

func TestCheckResponseLeavesTheBodyReadable(t *testing.T) {
	body := `{"errorCode":"UnifiedWebService.REQUEST_FAILED.SessionToken.Expired","errorMessage":"you sent ` +
		sessionID + `"}`
	closed := false
	request := &http.Request{Header: http.Header{}}
	request.Header.Set(wire.HeaderSessionToken, sessionID)
	request.Header.Set("Authorization", "Bearer "+bearer)
	resp := &http.Response{StatusCode: 400, Request: request, Body: &closeRecorder{strings.NewReader(body), &closed}}
	err := latchkey.CheckResponse(resp)
	if !errors.Is(err, latchkey.ErrSessionExpired) {
		t.Errorf("CheckResponse returned %v, want ErrSessionExpired", err)
	}
	mustNotShow(t, err)
	if closed {
		t.Error("CheckResponse closed the body")
	}
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != body {
		t.Errorf("the body is then %q, %v; want all of it", rest, err)
	}
	if err := resp.Body.Close(); err != nil || !closed {
		t.Errorf("Close returned %v and closed the body: %v", err, closed)
	}

	broken := errors.New("broken \x1b[2J " + sessionID)
	long := strings.Repeat("x", 2<<20)
	for name, test := range map[string]struct {
		body io.Reader
		want string
		err  error
	}{
		"long":   {strings.NewReader(long), long, nil},
		"broken": {io.MultiReader(strings.NewReader("part"), iotest.ErrReader(broken)), "part", broken},
	} {
		resp := &http.Response{StatusCode: 502, Body: io.NopCloser(test.body)}
		err := latchkey.CheckResponse(resp)
		var odd *latchkey.ResponseError
		if !errors.As(err, &odd) || odd.Err == nil || odd.Size > 1<<20 {
			t.Errorf("%s: CheckResponse returned %v, want a ResponseError with a cause and at most 1 MiB", name, err)
		}
		mustNotShow(t, err)
		if rest, err := io.ReadAll(resp.Body); string(rest) != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: the body is then %d bytes, %v; want %d bytes, %v", name, len(rest), err, len(test.want), test.err)
		}
	}

	if err := latchkey.CheckResponse(&http.Response{StatusCode: 204}); err != nil {
		t.Errorf("CheckResponse returned %v for a success", err)
	}
	if err := latchkey.CheckResponse(&http.Response{StatusCode: 401}); !errors.Is(err, latchkey.ErrUnauthorized) {
		t.Errorf("CheckResponse returned %v for a 401 without a body, want ErrUnauthorized", err)
	}
}

// closeRecorder is a body that records its Close.
type closeRecorder struct {
	io.Reader
	closed *bool
}

func (c *closeRecorder) Close() error {
	*c.closed = true
	return nil
}
