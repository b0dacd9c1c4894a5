package server

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// How many lines about connections are logged one by one in a while. Anybody can cause
// any number of them.
const (
	connectionLines  = 10
	connectionWindow = 10 * time.Second
)

// connectionLog logs what http.Server says of connections, which is an io.Writer of
// lines: at level Debug what a health check of the port causes, and the rest (failed TLS
// handshakes, connections that do not begin as HTTP/2 does) as warnings up to a rate.
type connectionLog struct {
	log *slog.Logger

	mu      sync.Mutex
	since   time.Time // when the window began
	lines   int       // in the window
	omitted int       // since the last line
}

// Write implements io.Writer.
func (l *connectionLog) Write(line []byte) (int, error) {
	text := strings.TrimSuffix(string(line), "\n")
	handshake, saidNothing := strings.HasPrefix(text, "http: TLS handshake error"), strings.HasSuffix(text, ": "+errSaidNothing.Error())
	if handshake && saidNothing {
		l.log.Debug(text)
	} else {
		l.warn(text)
	}
	return len(line), nil
}

func (l *connectionLog) warn(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.since) > connectionWindow {
		l.since, l.lines = now, 0
	}
	if l.lines++; l.lines > connectionLines {
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
