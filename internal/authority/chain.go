package authority

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Chain ties an event to all events before it.
type Chain [sha256.Size]byte

// String returns the chain in hex.
func (c Chain) String() string { return hex.EncodeToString(c[:]) }

// After returns the chain of an event whose predecessor has the chain prev, or zero for the
// first event. Each part is preceded by its length, so that no two events have the same
// encoding. Seq is not part of it, because the order is.
func (e Event) After(prev Chain) Chain {
	h := sha256.New()
	h.Write(prev[:])
	part := func(text string) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(text)))
		h.Write(length[:])
		h.Write([]byte(text))
	}
	part(e.At.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano))
	for _, text := range []string{
		string(e.Kind), e.User, e.SessionID, e.Client, e.Address, e.RequestID, e.Detail, e.Method, e.Host, e.Path,
		strconv.Itoa(e.Status), strconv.FormatInt(e.Duration.Microseconds(), 10), e.UpstreamID, strconv.Itoa(e.Count),
	} {
		part(text)
	}
	return Chain(h.Sum(nil))
}

// AuditProof is the result of verifying the whole trail.
type AuditProof struct {
	Events int   // that were verified
	First  int64 // Seq; 0 if there are none
	Last   int64
	Head   Chain // of the last event; a kept copy shows later whether the end was cut off
	// Broken is the first event that was changed or moved; 0: none.
	Broken  int64
	Problem string
	// Unproven is set if the trail begins after removed events, and the event that says so
	// carries no seal of this server's key. It was made with another key, or is forged.
	Unproven bool
	// MarkTrimmed is set if the event of the mark was removed, and a seal proves that the
	// retention did that.
	MarkTrimmed bool
}

// AuditMark is an event that was in the trail: the Last and the Head of an earlier proof.
// The zero value is no mark.
type AuditMark struct {
	Seq   int64
	Chain Chain
}

// trimmedDetail is the Detail of an EventAuditTrimmed, before its seal.
const (
	trimmedDetail = "%d events up to #%d, chain %s"
	trimmedSeal   = ", seal "
)

// trimNote returns the event that replaces removed events. Its seal, under the server's
// key, proves that the retention of this server removed them: write access to the database
// is not enough to make one.
func (a *Authority) trimNote(removed int, seq int64, chain Chain) Event {
	detail := fmt.Sprintf(trimmedDetail, removed, seq, chain)
	seal := hex.EncodeToString(a.trimSeal(detail))
	return Event{At: a.now(), Kind: EventAuditTrimmed, Detail: detail + trimmedSeal + seal}
}

func (a *Authority) trimSeal(detail string) []byte {
	mac := hmac.New(sha256.New, a.tokens.key)
	mac.Write([]byte("latchkey audit trimmed\x00" + detail))
	return mac.Sum(nil)
}

// trimmed is the content of an EventAuditTrimmed.
type trimmed struct {
	note   int64 // its own Seq
	seq    int64 // of the last event that was removed
	chain  Chain // of the same
	sealed bool  // by this server's key
}

func (a *Authority) parseTrimmed(e Event) (t trimmed, ok bool) {
	detail, seal, _ := strings.Cut(e.Detail, trimmedSeal)
	var n int
	var text string
	if got, err := fmt.Sscanf(detail, trimmedDetail, &n, &t.seq, &text); err != nil || got != 3 {
		return trimmed{}, false
	}
	sum, err := hex.DecodeString(text)
	if err != nil || len(sum) != len(t.chain) {
		return trimmed{}, false
	}
	made, err := hex.DecodeString(seal)
	t.note, t.chain, t.sealed = e.Seq, Chain(sum), err == nil && hmac.Equal(made, a.trimSeal(detail))
	return t, true
}

// VerifyAudit reads the whole trail and reports whether any event was changed, removed,
// added or moved. Only a mark shows that the end was cut off. An attacker with write access
// to the database can also replace the whole trail: only a mark that is kept elsewhere shows
// that. If the event of the mark is gone, the trail is broken unless a seal of this server's
// key proves that the event was trimmed.
func (a *Authority) VerifyAudit(ctx context.Context, mark AuditMark) (AuditProof, error) {
	v := verification{authority: a, mark: mark}
	for after := int64(0); ; {
		events, err := a.stores.Audit.AuditEvents(ctx, AuditQuery{After: after, Limit: 1000})
		if err != nil {
			return v.proof, unavailable(err)
		}
		for _, event := range events {
			v.next(event)
			after = event.Seq
		}
		if len(events) < 1000 {
			return v.end(), nil
		}
	}
}

type verification struct {
	authority   *Authority
	proof       AuditProof
	mark        AuditMark
	marked      bool
	first       Event   // whose predecessor was removed
	trimmed     trimmed // the last note; seq is 0 if there is none
	provenSeq   int64   // up to which seals prove that events were trimmed
	beginsLater bool
}

func (v *verification) broken(seq int64, problem string) {
	if v.proof.Broken == 0 {
		v.proof.Broken, v.proof.Problem = seq, problem
	}
}

func (v *verification) next(e Event) {
	if v.proof.Events++; v.proof.First == 0 {
		v.proof.First = e.Seq
	}
	if e.Kind == EventAuditTrimmed {
		if t, ok := v.authority.parseTrimmed(e); ok {
			v.trimmed = t
			if t.sealed {
				v.provenSeq = max(v.provenSeq, t.seq)
			}
		}
	}
	switch {
	case v.proof.Events == 1 && e.Seq > 1:
		v.first, v.beginsLater = e, true // judged in the end
	case e.Chain != e.After(v.proof.Head):
		v.broken(e.Seq, "it is not what was written, or the event before it was changed or removed")
	}
	v.proof.Last, v.proof.Head = e.Seq, e.Chain
	if e.Seq == v.mark.Seq {
		v.marked = true
		if e.Chain != v.mark.Chain {
			v.broken(e.Seq, "it is not the event that the head names")
		}
	}
}

func (v *verification) end() AuditProof {
	if v.beginsLater {
		if v.trimmed.seq == 0 || v.first.Chain != v.first.After(v.trimmed.chain) {
			problem := v.proof
			v.proof.Broken = 0
			v.broken(v.first.Seq, "the events before it were removed, and no event of a retention says so")
			if problem.Broken != 0 && problem.Broken < v.proof.Broken {
				v.proof = problem
			}
		}
		v.proof.Unproven = v.trimmed.seq != 0 && !v.trimmed.sealed
	}
	switch mark := v.mark.Seq; {
	case mark == 0 || v.marked:
	case mark <= v.provenSeq:
		v.proof.MarkTrimmed = true
	case mark <= v.trimmed.seq:
		v.broken(v.trimmed.note, fmt.Sprintf("the event of the head, #%d, is gone; this event says "+
			"that it was trimmed, but carries "+
			"no seal of this server's key: it was made with another key, or it is forged", mark))
	case mark < v.proof.First:
		v.broken(v.proof.First, fmt.Sprintf("the event of the head, #%d, is gone, and no event of a retention says so", mark))
	default:
		v.broken(max(v.proof.Last, 1), fmt.Sprintf("the trail reached #%d, and now ends or has a gap before it", mark))
	}
	return v.proof
}

// trimAfter is how much older than the retention the oldest event becomes before it is
// trimmed, so that the trail has few notes about its own trimming.
const trimAfter = time.Hour

// trimBatch is how many events one step of trimming removes.
const trimBatch = 10_000

// trimAudit removes events that are older than the policy keeps them.
func (a *Authority) trimAudit(ctx context.Context) error {
	keep := a.policy.KeepAudit
	if keep == 0 {
		return nil
	}
	// Events of a clock that was ahead do not count.
	oldest, err := a.stores.Audit.AuditEvents(ctx, AuditQuery{Until: a.now(), Limit: 1})
	if err != nil || len(oldest) == 0 || !oldest[0].At.Before(a.now().Add(-keep-trimAfter)) {
		return unavailable(err)
	}
	for ctx.Err() == nil {
		n, err := a.stores.Audit.TrimAudit(ctx, a.now().Add(-keep), a.now(), trimBatch, a.trimNote)
		if err != nil {
			return unavailable(err)
		}
		if n < trimBatch {
			return nil
		}
	}
	return nil
}
