package simulate

import (
	"net/http"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// echo is what stands in for the rest of the API: it says what it was asked, and
// by whom.
type echo struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	User   string `json:"user"`
}

func standIn(w http.ResponseWriter, r *http.Request, session authority.Session) {
	writeJSON(w, http.StatusOK, echo{Method: r.Method, Path: r.URL.Path, User: session.User})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", wire.MediaTypeJSON)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	text, _ := wire.Marshal(body)      // plain fields only: it cannot fail
	_, _ = w.Write(append(text, '\n')) // a caller who left needs no answer
}
