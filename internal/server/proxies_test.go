package server_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/testsupport"
	"github.com/latchkey/latchkey/internal/wire"
)

// printed returns the code blocks of a section of docs/proxies.md, unchanged except for
// their addresses.
func (s *service) printed(section, listen, backend string) (blocks []string) {
	s.t.Helper()
	text, err := os.ReadFile("../../docs/proxies.md")
	s.must(err)
	_, rest, found := strings.Cut(string(text), "\n## "+section+"\n")
	if !found {
		s.t.Fatalf("docs/proxies.md has no section %s", section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	for _, block := range regexp.MustCompile(`(?m)(^    .*\n|^\n)+`).FindAllString(rest, -1) {
		block = strings.TrimSpace(strings.ReplaceAll("\n"+block, "\n    ", "\n")) + "\n"
		if block == "\n" {
			continue
		}
		for _, address := range [][2]string{
			{"127.0.0.1:8080", s.address}, {"127.0.0.1:3000", backend},
			{"listen 80;", "listen " + listen + ";"}, {"bind :80\n", "bind " + listen + "\n"}, {"example.org {",
				"http://" + listen + " {"},
		} {
			block = strings.ReplaceAll(block, address[0], address[1])
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// proxies are those that can be run here: how their configuration is completed with
// what has nothing to do with the session check, and how they are started.
var proxies = map[string]struct {
	section   string
	configure func(t *testing.T, directory string, blocks []string) string
	arguments func(directory, config string) []string
}{
	"nginx": {"nginx", func(_ *testing.T, directory string, blocks []string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "daemon off; pid %s/pid; worker_processes 1;\n"+
			"events { worker_connections 64; }\nhttp {\naccess_log off;\n", directory)
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			fmt.Fprintf(&b, "%s_temp_path %s/%s;\n", kind, directory, kind)
		}
		return b.String() + blocks[0] + "}\n"
	}, func(directory, config string) []string {
		return []string{"-c", config, "-p", directory, "-e", filepath.Join(directory, "error")}
	}},
	"caddy": {"Caddy", func(_ *testing.T, _ string, blocks []string) string {
		return "{\n\tadmin off\n\tauto_https off\n}\n" + blocks[0]
	}, func(_, config string) []string { return []string{"run", "--config", config, "--adapter", "caddyfile"} }},
	"haproxy": {"HAProxy", func(t *testing.T, directory string, blocks []string) string {
		t.Helper()
		script := filepath.Join(directory, "latchkey.lua")
		if err := os.WriteFile(script, []byte(blocks[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(blocks[0], "/etc/haproxy/latchkey.lua", script)
	}, func(_, config string) []string { return []string{"-db", "-f", config} }},
}

// proxy runs a proxy as docs/proxies.md has it, before the service and a backend, and
// returns its address. listen follows the address in nginx's listen directive.
func (s *service) proxy(t *testing.T, name, backend string, listen ...string) string {
	t.Helper()
	return s.launch(t, name, func(directory, address string) string {
		proxy := proxies[name]
		text := proxy.configure(t, directory, s.printed(proxy.section, address, backend))
		for _, more := range listen {
			text = strings.Replace(text, "listen "+address+";", "listen "+address+more, 1)
		}
		return text
	})
}

// launch runs a proxy with a configuration, and returns its address.
func (s *service) launch(t *testing.T, name string, configure func(directory, address string) string) string {
	t.Helper()
	binary, err := exec.LookPath(name)
	if err != nil {
		if binary = "/usr/sbin/" + name; !exists(binary) {
			if os.Getenv("LATCHKEY_TEST_ENGINES") == "required" {
				t.Fatalf("%s is not here; sh scripts/packages.sh installs it", name)
			}
			t.Skipf("%s is not here; sh scripts/packages.sh installs it", name)
		}
	}
	proxy, directory, address := proxies[name], t.TempDir(), freeAddress(t)
	config := filepath.Join(directory, "config")
	s.must(os.WriteFile(config, []byte(configure(directory, address)), 0o600))
	log := &testsupport.Log{}
	command := exec.CommandContext(t.Context(), binary, proxy.arguments(directory, config)...)
	command.Env = append(os.Environ(), "XDG_DATA_HOME="+directory, "XDG_CONFIG_HOME="+directory, "HOME="+directory)
	command.Stdout, command.Stderr = log, log
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	s.must(command.Start())
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Logf("%s said: %s", name, log)
		}
	})
	deadline := time.After(30 * time.Second)
	for {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return address
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", name, log)
		case <-deadline:
			t.Fatalf("%s does not listen: %s", name, log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}

// freeAddress returns a loopback address without a listener. Other tests choose their ports on
// 127.0.0.1. If the proxy had one of those, their server could take it before the proxy
// listens, and receive the proxy's requests.
func freeAddress(t *testing.T) string {
	t.Helper()
	ip := net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254))).String()
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil { // not Linux
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// behind is a backend behind a proxy, and what reached it.
type behind struct {
	s       *service
	proxy   string
	mu      sync.Mutex
	arrived []*http.Request
	bodies  []string
}

func (s *service) behind(t *testing.T, name string, listen ...string) *behind {
	t.Helper()
	b := &behind{s: s}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		body, _ := io.ReadAll(r.Body) // one that breaks off is none
		b.arrived, b.bodies = append(b.arrived, r), append(b.bodies, string(body))
		w.Header().Set("Access-Control-Allow-Origin", "https://app.example.org")
		_, _ = io.WriteString(w, "behind")
	}))
	t.Cleanup(backend.Close)
	b.proxy = s.proxy(t, name, backend.Listener.Addr().String(), listen...)
	return b
}

// send sends lines of a header as they are, and returns the response and the request
// that reached the backend, if one did.
func (b *behind) send(line string, fields []string, body string) (*http.Response, *http.Request) {
	b.s.t.Helper()
	conn, err := net.Dial("tcp", b.proxy)
	b.s.must(err)
	defer func() { _ = conn.Close() }()
	b.s.must(conn.SetDeadline(time.Now().Add(30 * time.Second)))
	_, err = io.WriteString(conn, line+" HTTP/1.1\r\nHost: "+b.proxy+"\r\n"+strings.Join(append(fields, "\r\n"),
		"\r\n")+body)
	b.s.must(err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	b.s.must(err)
	_, _ = io.Copy(io.Discard, response.Body) // only the status matters
	_ = response.Body.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.arrived) == 0 {
		return response, nil
	}
	arrived := b.arrived[len(b.arrived)-1]
	if len(b.arrived) > 1 {
		b.s.t.Errorf("%q reached the backend %d times", line, len(b.arrived))
	}
	b.arrived = nil
	return response, arrived
}

// identity is what a backend reads of a request, which may take underscores for
// hyphens, as WSGI and CGI do.
func identity(r *http.Request) map[string][]string {
	found := map[string][]string{}
	for name, values := range r.Header {
		if name = strings.ToLower(strings.ReplaceAll(name, "_", "-")); strings.HasPrefix(name, "latchkey") {
			found[name] = append(found[name], values...)
		}
	}
	return found
}

// forgeries are spellings of the four headers.
func forgeries() (fields []string) {
	for _, name := range []string{wire.HeaderUser, wire.HeaderSessionID, wire.HeaderClient, wire.HeaderSessionAge} {
		parts := strings.Split(name, "-")
		for mask := range 1 << (len(parts) - 1) {
			spelled := parts[0]
			for i, part := range parts[1:] {
				spelled += string("-_"[mask>>i&1]) + part
			}
			for _, field := range []string{spelled, strings.ToLower(spelled), strings.ToUpper(spelled)} {
				fields = append(fields, field+": forged", field+": forged again")
			}
		}
	}
	return fields
}

func fieldsOf(tokens []string) (fields []string) {
	for i := 0; i < len(tokens); i += 2 {
		fields = append(fields, tokens[i]+": "+tokens[i+1])
	}
	return fields
}

// Behind real proxies, configured as in docs/proxies.md, no request without a live session
// passes, and the service behind them receives the identity of the others, whatever headers
// the caller sends.
func TestProxiesCheckBeforeTheyForward(t *testing.T) {
	t.Parallel()
	for name := range proxies {
		t.Run(name, func(t *testing.T) {
			s := start(t, setup{alone: true})
			b := s.behind(t, name)
			tokens := s.session(user, password)
			refused := func(what string, response *http.Response, arrived *http.Request, status ...int) {
				t.Helper()
				if arrived != nil || len(status) == 1 && response.StatusCode != status[0] ||
					response.StatusCode < http.StatusBadRequest {
					t.Errorf("%s: %d, and the backend got %v", what, response.StatusCode, arrived)
				}
			}
			for _, line := range []string{"GET /some/where?q=1", "POST /some/where", "OPTIONS /some/where"} {
				response, arrived := b.send(line, forgeries(), "")
				refused(line+" without tokens", response, arrived, http.StatusUnauthorized)
				response, arrived = b.send(line, fieldsOf(tokens[:2]), "")
				refused(line+" without a session", response, arrived, http.StatusUnauthorized)
				response, arrived = b.send(line, append(fieldsOf(tokens), tokens[2]+": "+tokens[3]), "")
				refused(line+" with two sessions", response, arrived, http.StatusUnauthorized)
				hops := "Connection: close, Latchkey-User, Latchkey-Session, latchkey-client,Latchkey-Session-Age, Latchkey_User"
				for _, forged := range [][]string{nil, forgeries(), {hops}, append(forgeries(), hops)} {
					response, arrived = b.send(line, append(fieldsOf(tokens), forged...), "")
					if response.StatusCode != http.StatusOK || arrived == nil {
						t.Fatalf("%s with both tokens and %q: %d", line, forged, response.StatusCode)
					}
					got := identity(arrived)
					for header, want := range map[string]string{"latchkey-user": user, "latchkey-client": apiKey,
						"latchkey-session-age": "0", "latchkey-session": ""} {
						if values := got[header]; len(values) != 1 || want != "" && values[0] != want ||
							strings.Contains(values[0], "forged") {
							t.Errorf("%s with %.40q: the service behind learns of %s that it is %q", line, forged, header, values)
						}
					}
					if len(got) != 4 {
						t.Errorf("%s with %.40q: the service behind learns %q", line, forged, got)
					}
				}
			}
			s.clock.advance(20 * time.Minute)
			response, arrived := b.send("GET /", fieldsOf(s.renewed(tokens)), "")
			refused("with a dead session", response, arrived, http.StatusUnauthorized)
			// Without the service, no request passes.
			tokens = s.session(user, password)
			s.must(s.stop())
			response, arrived = b.send("GET /", append(fieldsOf(tokens), forgeries()...), "")
			refused("without the service", response, arrived)
			if response.StatusCode < http.StatusInternalServerError {
				t.Errorf("without the service: %d", response.StatusCode)
			}
		})
	}
}

// A browser's preflight request carries no tokens. Nothing else passes without them.
func TestProxiesLetPreflightsPassAndNothingElse(t *testing.T) {
	t.Parallel()
	origin, method := "Origin: https://app.example.org", "Access-Control-Request-Method: POST"
	for name := range proxies {
		t.Run(name, func(t *testing.T) {
			s := start(t, setup{alone: true})
			b := s.behind(t, name)
			preflight := []string{origin, method, "Access-Control-Request-Headers: authorization,vz-m2m-token"}
			for _, further := range [][]string{nil, forgeries()} {
				response, arrived := b.send("OPTIONS /some/where?q=1", append(preflight, further...), "")
				if response.StatusCode != http.StatusOK || response.Header.Get("Access-Control-Allow-Origin") == "" ||
					arrived == nil || arrived.Method != http.MethodOptions || arrived.Header.Get("Origin") == "" {
					t.Errorf("a preflight: %d, and the backend got %v", response.StatusCode, arrived)
				} else if got := identity(arrived); len(got) != 0 {
					t.Errorf("with a preflight the service behind learns %q", got)
				}
			}
			for what, r := range map[string]struct {
				line   string
				fields []string
				body   string
			}{
				"another method":          {"POST /", preflight, ""},
				"a method spelled other":  {"options /", preflight, ""},
				"GET":                     {"GET /", preflight, ""},
				"a method that begins so": {"OPTIONSX /", preflight, ""},
				"no origin":               {"OPTIONS /", []string{method}, ""},
				"an empty origin":         {"OPTIONS /", []string{"Origin:", method}, ""},
				"no method":               {"OPTIONS /", []string{origin}, ""},
				"an empty method":         {"OPTIONS /", []string{origin, "Access-Control-Request-Method:"}, ""},
				"a body":                  {"OPTIONS /", append([]string{"Content-Length: 4"}, preflight...), "body"},
				"a chunked body": {"OPTIONS /", append([]string{"Transfer-Encoding: chunked"}, preflight...),
					"4\r\nbody\r\n0\r\n\r\n"},
				"a bearer":  {"OPTIONS /", append([]string{"Authorization: Bearer x"}, preflight...), ""},
				"a session": {"OPTIONS /", append([]string{"VZ-M2M-Token: x"}, preflight...), ""},
				"a bearer of bars": {"OPTIONS /", []string{"Authorization: |POST|x",
					"Access-Control-Request-Headers: x"}, ""},
				"an override": {"POST /", append([]string{"X-HTTP-Method-Override: OPTIONS"}, preflight...), ""},
			} {
				if response, arrived := b.send(r.line, r.fields, r.body); arrived != nil ||
					response.StatusCode < http.StatusBadRequest {
					t.Errorf("%s: %d, and the backend got %v", what, response.StatusCode, arrived)
				}
			}
		})
	}
}

// With HTTP/2 no header announces a body.
func TestProxiesSeeTheBodyOfAPreflightOverHTTP2(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"nginx", "haproxy"} {
		t.Run(name, func(t *testing.T) {
			s := start(t, setup{alone: true})
			b := s.behind(t, name, " http2;")
			var protocols http.Protocols
			protocols.SetUnencryptedHTTP2(true)
			transport := &http.Transport{Protocols: &protocols}
			defer transport.CloseIdleConnections()
			for _, body := range []io.Reader{nil, io.MultiReader(strings.NewReader("body"))} {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, "http://"+b.proxy+"/", body)
				s.must(err)
				request.Header.Set("Origin", "https://app.example.org")
				request.Header.Set("Access-Control-Request-Method", "POST")
				response, err := transport.RoundTrip(request)
				s.must(err)
				s.must(response.Body.Close())
				b.mu.Lock()
				for _, text := range b.bodies {
					if text != "" {
						t.Errorf("the backend got the body %q", text)
					}
				}
				if body == nil && (response.StatusCode != http.StatusOK || len(b.bodies) != 1 || response.ProtoMajor != 2) {
					t.Errorf("a preflight: %d over %s, and the backend was reached %d times", response.StatusCode, response.Proto,
						len(b.bodies))
				}
				b.mu.Unlock()
			}
		})
	}
}

func TestVerifyReturnsTheAgeOfTheSession(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	s.clock.advance(90*time.Second + 999*time.Millisecond)
	if got := s.verify(tokens).header.Get("Latchkey-Session-Age"); got != "90" {
		t.Errorf("after 90 seconds the age is %q", got)
	}
}
