package vault_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// fake implements the HTTP API of KV version 2 and of two logins as Vault documents it.
type fake struct {
	*httptest.Server

	mu      sync.Mutex
	secrets map[string]*entry // by mount/path
	tokens  map[string]bool
	issued  int
	logins  int
	writes  int
	sealed  bool
	denied  bool // by policy
	loseResponse,
	breakResponse bool // of the next write
	namespace string
}

type entry struct {
	versions []json.RawMessage // nil if deleted
}

func newFake(t *testing.T) *fake {
	f := &fake{secrets: map[string]*entry{}, tokens: map[string]bool{"root": true}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// with runs do while no handler runs, so that it can read and change the fields.
func (f *fake) with(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *fake) writeCount() (n int) {
	f.with(func() { n = f.writes })
	return n
}

// put writes a version without the Store.
func (f *fake) put(path string, data any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, _ := json.Marshal(data)
	if f.secrets[path] == nil {
		f.secrets[path] = &entry{}
	}
	f.secrets[path].versions = append(f.secrets[path].versions, text)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	switch {
	case f.sealed:
		refuse(w, 503, "Vault is sealed")
	case !ok || r.Header.Get("X-Vault-Request") != "true" || r.Header.Get("X-Vault-Namespace") != f.namespace:
		refuse(w, 400, "missing X-Vault-Request header or wrong namespace")
	case path == "auth/approle/login" || path == "auth/kubernetes/login":
		f.logIn(w, path, body)
	case !f.tokens[r.Header.Get("X-Vault-Token")] || f.denied:
		refuse(w, 403, "1 error occurred:\n\t* permission denied\n\n")
	default:
		f.secret(w, r, path, body)
	}
}

func refuse(w http.ResponseWriter, status int, errors ...string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": errors})
}

func (f *fake) logIn(w http.ResponseWriter, path string, body []byte) {
	f.logins++
	var given map[string]string
	_ = json.Unmarshal(body, &given)
	if path == "auth/approle/login" && (given["role_id"] != "role" || given["secret_id"] != "secret-id") ||
		path == "auth/kubernetes/login" && (given["role"] != "role" || given["jwt"] != "service-account") {
		refuse(w, 400, "invalid role or secret ID")
		return
	}
	f.issued++
	token := fmt.Sprintf("hvs.%d", f.issued)
	f.tokens[token] = true
	_ = json.NewEncoder(w).Encode(map[string]any{"auth": map[string]any{"client_token": token, "lease_duration": 3600}})
}

func (f *fake) secret(w http.ResponseWriter, r *http.Request, path string, body []byte) {
	mount, name, ok := strings.Cut(path, "/data/")
	if !ok {
		refuse(w, 404)
		return
	}
	kept := f.secrets[mount+"/"+name]
	if r.Method == http.MethodGet {
		f.read(w, kept)
		return
	}
	var given struct {
		Options struct {
			CAS *int `json:"cas"`
		} `json:"options"`
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(body, &given) != nil || len(given.Data) == 0 {
		refuse(w, 400, "no data provided")
		return
	}
	now := 0
	if kept != nil {
		now = len(kept.versions)
	}
	if given.Options.CAS == nil || *given.Options.CAS != now {
		refuse(w, 400, "check-and-set parameter did not match the current version")
		return
	}
	if kept == nil {
		kept = &entry{}
		f.secrets[mount+"/"+name] = kept
	}
	kept.versions = append(kept.versions, given.Data)
	f.writes++
	switch {
	case f.loseResponse:
		f.loseResponse = false
		panic(http.ErrAbortHandler)
	case f.breakResponse:
		f.breakResponse = false
		_, _ = io.WriteString(w, `{"data":`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"version": now + 1}})
}

func (f *fake) read(w http.ResponseWriter, kept *entry) {
	if kept == nil {
		refuse(w, 404)
		return
	}
	n := len(kept.versions)
	data := kept.versions[n-1]
	metadata := map[string]any{"version": n, "deletion_time": "", "destroyed": false}
	if data == nil {
		metadata["deletion_time"] = "2026-11-24T10:00:00Z"
		w.WriteHeader(http.StatusNotFound)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"data": data, "metadata": metadata}})
}
