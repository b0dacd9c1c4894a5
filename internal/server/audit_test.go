package server_test

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/wire"
)

// verifyTrail verifies the trail over the admin socket, as `latchkey audit verify` does.
func (s *service) verifyTrail(mark *admin.Proof) (proof admin.Proof) {
	s.t.Helper()
	query := url.Values{}
	if mark != nil {
		query.Set("seq", fmt.Sprint(mark.Last))
		query.Set("chain", mark.Head)
	}
	s.must(s.admin.Get(s.t.Context(), admin.PathAuditVerify, query, &proof))
	return proof
}

// tampered returns the result of verifying the trail after a statement has changed the
// database.
func tampered(t *testing.T, statement string) (proof admin.Proof) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "latchkey.db")
	s := start(t, setup{path: path})
	tokens := s.session(user, password)
	for range 3 {
		s.login(tokens[1], user, "a wrong one")
	}
	expect(t, "a login", s.login(tokens[1], user, password), "ok")
	before := s.verifyTrail(nil)
	if before.Broken != 0 || before.Events < 7 || before.Events != int(before.Last) {
		t.Fatalf("an honest trail: %+v", before)
	}
	s.must(s.stop())
	db, err := sql.Open("sqlite", path)
	s.must(err)
	result, err := db.Exec(statement)
	s.must(err)
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		t.Fatalf("nothing was tampered with: %v", err)
	}
	s.must(db.Close())
	return start(t, setup{path: path, keepState: true}).verifyTrail(&before)
}

func TestTamperingWithTheAuditTrailIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		statement string
		broken    int64
	}{
		"a word changed":          {`UPDATE audit SET detail = 'failure 1 of 9' WHERE seq = 5`, 5},
		"a user changed":          {`UPDATE audit SET user_name = 'ford' WHERE seq = 3`, 3},
		"a time changed":          {`UPDATE audit SET at = at + 1 WHERE seq = 4`, 4},
		"one removed":             {`DELETE FROM audit WHERE seq = 4`, 5},
		"the first removed":       {`DELETE FROM audit WHERE seq = 1`, 2},
		"the first three removed": {`DELETE FROM audit WHERE seq <= 3`, 4},
		"the last removed":        {`DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)`, 6},
		"all removed":             {`DELETE FROM audit`, 1},
		"one added at the end": {`INSERT INTO audit
			(seq, at, kind, user_name, session_id, api_key, address, request_id, detail, chain)
			SELECT 99, at, kind, 'ford', session_id, api_key, address, request_id, detail, chain FROM audit WHERE seq = 6`, 99},
		"two changed places":       {`UPDATE audit SET seq = CASE seq WHEN 4 THEN -4 ELSE -5 END WHERE seq IN (4, 5)`, -5},
		"a chain taken from it":    {`UPDATE audit SET chain = x'' WHERE seq = 5`, 5},
		"all chains taken from it": {`UPDATE audit SET chain = x''`, 1},
		"a status changed":         {`UPDATE audit SET status = 200 WHERE seq = 5`, 5},
		"a count changed":          {`UPDATE audit SET event_count = 3 WHERE seq = 5`, 5},
		"a path added":             {`UPDATE audit SET path = '/api/x' WHERE seq = 5`, 5},
		"a field moved": {`UPDATE audit SET user_name = '', session_id = user_name || session_id
			WHERE seq = 3`, 3},
	} {
		t.Run(name, func(t *testing.T) {
			if proof := tampered(t, c.statement); proof.Broken == 0 || c.broken > 0 && proof.Broken != c.broken {
				t.Errorf("the proof is %+v, want broken at %d", proof, c.broken)
			}
		})
	}
}

func TestRetentionTrimsTheTrailAndKeepsItsProof(t *testing.T) {
	t.Parallel()
	s := start(t, setup{policy: authority.Policy{KeepAudit: 30 * 24 * time.Hour}})
	first := s.verifyTrail(nil)
	sweep := func() (n int) {
		s.must(s.authority.Sweep(t.Context()))
		events, err := s.authority.AuditEvents(t.Context(), authority.AuditQuery{Limit: 1000})
		s.must(err)
		return len(events)
	}
	for day := range 60 {
		s.clock.advance(24 * time.Hour)
		s.addUser(fmt.Sprintf("user%d", day), password)
		sweep()
		if proof := s.verifyTrail(&first); proof.Broken != 0 {
			t.Fatalf("day %d: %+v", day, proof)
		}
	}
	if n := sweep(); n < 31 || n > 65 {
		t.Errorf("%d events are left after 60 days of one a day, and a note on each trimming", n)
	}
	if s.verifyTrail(nil).First == 1 {
		t.Error("nothing was trimmed")
	}
}

func TestForwardedRequestsAreOnTheTrail(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "latchkey.db")
	s := start(t, setup{path: path, server: server.Config{Forward: http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request) {
		w.Header().Set(wire.HeaderRequestID, "upstream-7")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.Copy(w, r.Body)
	})}})
	tokens := s.session(user, password)
	s.secrets = append(s.secrets, "secret-in-the-body", "secret-in-the-query")
	// The contract has no such path, so the request bypasses its checks.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://"+s.address+"/api/m2m/v1/devices/7?q=secret-in-the-query", strings.NewReader("secret-in-the-body"))
	s.must(err)
	request.Header.Set(wire.HeaderRequestID, "own-1")
	request.Header.Set(tokens[0], tokens[1])
	request.Header.Set(tokens[2], tokens[3])
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	s.must(err)
	s.must(response.Body.Close())
	s.must(s.stop()) // which writes waiting events
	s = start(t, setup{path: path, keepState: true})
	all, err := s.authority.AuditEvents(t.Context(), authority.AuditQuery{Limit: 1000})
	s.must(err)
	events := slices.DeleteFunc(all, func(e authority.Event) bool { return e.Kind != authority.EventForwarded })
	if len(events) != 1 {
		t.Fatalf("%d events, want one", len(events))
	}
	e := events[0]
	if e.User != user || e.Client != apiKey || e.SessionID == "" || e.Address != "127.0.0.1" || e.RequestID != "own-1" ||
		e.Method != http.MethodPost || e.Path != "/api/m2m/v1/devices/7" || e.Status != http.StatusTeapot ||
		e.Duration <= 0 ||
		e.UpstreamID != "upstream-7" || e.Detail != "" {
		t.Errorf("the event is %+v", e)
	}
	if strings.Contains(fmt.Sprint(e), "secret") || strings.Contains(fmt.Sprint(e), tokens[3]) {
		t.Error("the event holds data that must not be kept")
	}
}

// An event of a trimming proves nothing by itself, because every writer of the database can
// add one. Only the server's key makes a seal.
func TestAForgedTrimmingDoesNotReplaceTheTrail(t *testing.T) {
	t.Parallel()
	// forged replaces the events that statement deletes by one event, chained to the events
	// that it claims were trimmed, and returns the result of verifying the trail.
	forged := func(t *testing.T, seal string) (with, without admin.Proof) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "latchkey.db")
		s := start(t, setup{path: path})
		s.session(user, password)
		before := s.verifyTrail(nil)
		s.must(s.stop())
		db, err := sql.Open("sqlite", path)
		s.must(err)
		last := before.Last + 5
		claimed := authority.Chain{7}
		e := authority.Event{Seq: last + 1, At: s.clock.Now(), Kind: authority.EventAuditTrimmed,
			Detail: fmt.Sprintf("%d events up to #%d, chain %s%s", last, last, claimed, seal)}
		e.Chain = e.After(claimed)
		_, err = db.ExecContext(t.Context(), `DELETE FROM audit`)
		s.must(err)
		_, err = db.ExecContext(t.Context(), `INSERT INTO audit
			(seq, at, kind, user_name, session_id, api_key, address, request_id, detail, chain)
			VALUES (?, ?, ?, '', '', '', '', '', ?, ?)`, e.Seq, e.At.UnixMicro(), string(e.Kind), e.Detail, e.Chain[:])
		s.must(err)
		s.must(db.Close())
		s = start(t, setup{path: path, keepState: true})
		return s.verifyTrail(&before), s.verifyTrail(nil)
	}
	for name, seal := range map[string]string{
		"without a seal": "", "with another seal": ", seal " +
			strings.Repeat("ab", 32), "with an empty seal": ", seal ", "with no hex": ", seal x",
	} {
		t.Run(name, func(t *testing.T) {
			with, without := forged(t, seal)
			if with.Broken == 0 || with.HeadTrimmed || !strings.Contains(with.Problem, "is gone") {
				t.Errorf("with the head: %+v, want broken", with)
			}
			if !without.Unproven {
				t.Errorf("without a head: %+v, want unproven", without)
			}
		})
	}
}

// A seal proves the trimmed events, and not later ones.
func TestAHeadThatWasTrimmedIsProvenAndALaterOneIsNot(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "latchkey.db")
	s := start(t, setup{path: path, policy: authority.Policy{KeepAudit: 24 * time.Hour}})
	first := s.verifyTrail(nil)
	s.clock.advance(48 * time.Hour)
	s.addUser("trillian", password)
	s.must(s.authority.Sweep(t.Context()))
	if proof := s.verifyTrail(&first); proof.Broken != 0 || !proof.HeadTrimmed || proof.Unproven || proof.First == 1 {
		t.Errorf("a head that was trimmed: %+v", proof)
	}
	later := s.verifyTrail(nil)
	s.addUser("ford", password)
	s.must(s.stop())
	// The event of the trimming stays, with a new chain; the rest is deleted.
	db, err := sql.Open("sqlite", path)
	s.must(err)
	var note authority.Event
	var at int64
	s.must(db.QueryRow(`SELECT seq, at, kind, detail FROM audit WHERE kind = 'audit-trimmed'`).Scan(&note.Seq, &at,
		&note.Kind, &note.Detail))
	note.At = time.UnixMicro(at)
	var seq int64
	var text string
	_, err = fmt.Sscanf(note.Detail, "2 events up to #%d, chain %64s", &seq, &text)
	s.must(err)
	sum, err := hex.DecodeString(text)
	s.must(err)
	note.Chain = note.After(authority.Chain(sum))
	_, err = db.ExecContext(t.Context(), `DELETE FROM audit WHERE seq <> ?`, note.Seq)
	s.must(err)
	_, err = db.ExecContext(t.Context(), `UPDATE audit SET chain = ?, seq = seq + 9`, note.Chain[:])
	s.must(err)
	s.must(db.Close())
	s = start(t, setup{path: path, keepState: true})
	if proof := s.verifyTrail(&later); proof.Broken == 0 || proof.HeadTrimmed {
		t.Errorf("a head that came after the trimming: %+v, want broken", proof)
	}
}
