package simulate

import (
	"io"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// echo replaces the rest of the API: it returns the request's method and path, and the
// user.
type echo struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	User   string `json:"user"`
}

// deviceList is an echo in the form of the API's list of devices.
type deviceList struct {
	echo

	HasMoreData bool    `json:"hasMoreData"`
	Devices     []*echo `json:"devices"`
}

func standIn(w http.ResponseWriter, r *http.Request, session authority.Session) {
	drain(r)
	answer := echo{Method: r.Method, Path: r.URL.Path, User: session.User}
	switch {
	case isList(r):
		writeJSON(w, http.StatusOK, []echo{answer})
	case r.Method == http.MethodPost && r.URL.Path == pathDevices:
		writeJSON(w, http.StatusOK, deviceList{echo: answer, Devices: []*echo{}})
	default:
		writeJSON(w, http.StatusOK, answer)
	}
}

const pathDevices = "/api/m2m/v1/devices/actions/list"

// isList reports whether the API responds to a request with an array: the callbacks and
// the service plans of an account. Programs that expect one cannot read an object.
func isList(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	for _, list := range []string{"/api/m2m/v1/callbacks/", "/api/m2m/v1/plans/"} {
		if account, ok := strings.CutPrefix(r.URL.Path, list); ok && account != "" && !strings.Contains(account, "/") {
			return true
		}
	}
	return false
}

// maxDrained bounds how much of an unused body is read.
const maxDrained = 64 << 20

// drain reads the body to its end. A response to a request whose body is still on its
// way would end the connection, and the caller might never see it.
func drain(r *http.Request) {
	_, _ = io.CopyN(io.Discard, r.Body, maxDrained) // the error of a caller that stops sending is ignored
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", wire.MediaTypeJSON)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	text, _ := wire.Marshal(body)      // plain fields only: it cannot fail
	_, _ = w.Write(append(text, '\n')) // a caller who left needs no answer
}
