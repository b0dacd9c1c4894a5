package server

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// At most errorLogLines errors of connections are logged in each errorLogWindow,
// because any caller can cause any number of them.
const (
	errorLogLines  = 10
	errorLogWindow = 10 * time.Second
)

// errorLog is the io.Writer of http.Server.ErrorLog. It logs at level Debug what a
// health check of the port causes. Other errors, such as failed TLS handshakes, become
// warnings up to a rate, and are logged at level Debug beyond it.
type errorLog struct {
	log *slog.Logger

	mu      sync.Mutex
	since   time.Time // when the window began
	lines   int       // in the window
	omitted int       // since the last warning
}

// Write implements io.Writer.
func (l *errorLog) Write(line []byte) (int, error) {
	text := strings.TrimSuffix(string(line), "\n")
	handshake := strings.HasPrefix(text, "http: TLS handshake error")
	if handshake && strings.HasSuffix(text, ": "+errNoData.Error()) {
		l.log.Debug(text)
	} else {
		l.warn(text)
	}
	return len(line), nil
}

func (l *errorLog) warn(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.since) > errorLogWindow {
		l.since, l.lines = now, 0
	}
	if l.lines++; l.lines > errorLogLines {
		l.omitted++
		l.log.Debug(text)
		return
	}
	if l.omitted > 0 {
		l.log.Warn(text, "omitted before", l.omitted)
		l.omitted = 0
		return
	}
	l.log.Warn(text)
}
