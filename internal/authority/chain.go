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

// Chain ties an event to all that came before it.
type Chain [sha256.Size]byte

// String is the chain as people compare it.
func (c Chain) String() string { return hex.EncodeToString(c[:]) }

// After returns the chain of an event whose predecessor has the chain prev; that
// of the first is zero. Each part is preceded by its length, so that no two events
// read alike. Seq is not part of it: the order is.
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

// AuditProof is what a look at the whole trail has found.
type AuditProof struct {
	Events int   // that were looked at
	First  int64 // Seq; 0 where there are none
	Last   int64
	Head   Chain // of the last; who keeps it can tell later whether the end was cut off
	// Broken is the first event that is not what was written, or not where it was;
	// 0 where all are.
	Broken  int64
	Problem string
	// Unproven is set if the trail begins after events that were removed, and the
	// event that says so carries no seal of this server's key. It is of a version
	// that made no seals, of another key, or forged.
	Unproven bool
	// MarkTrimmed is set if the event of the mark is gone, and a seal proves that
	// the retention removed it.
	MarkTrimmed bool
}

// AuditMark is an event that was there once: the Last and the Head of an earlier
// proof. The zero value asks for nothing.
type AuditMark struct {
	Seq   int64
	Chain Chain
}

// trimmedDetail is the Detail of an EventAuditTrimmed, before its seal.
const (
	trimmedDetail = "%d events up to #%d, chain %s"
	trimmedSeal   = ", seal "
)

// trimNote returns the event that takes the place of events that were removed. Its
// seal, under the server's key, proves that the retention of this server removed
// them: who can only write the database cannot make one.
func (a *Authority) trimNote(removed int, seq int64, chain Chain) Event {
	detail := fmt.Sprintf(trimmedDetail, removed, seq, chain)
	return Event{At: a.now(), Kind: EventAuditTrimmed, Detail: detail + trimmedSeal + hex.EncodeToString(a.trimSeal(detail))}
}

func (a *Authority) trimSeal(detail string) []byte {
	mac := hmac.New(sha256.New, a.tokens.key)
	mac.Write([]byte("latchkey audit trimmed\x00" + detail))
	return mac.Sum(nil)
}

// trimmed is what an EventAuditTrimmed says.
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

// VerifyAudit reads the whole trail, and tells whether any event in it was
// changed, removed, added or moved since it was written. That the end was cut off
// only a mark can tell. Whoever can write the database can also forge all of it
// anew: only a mark that is kept elsewhere tells that. A mark whose event is gone
// is broken, unless a seal of this server's key proves that it was trimmed.
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
	trimmed     trimmed // the last that there is; seq is 0 if there is none
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
			v.broken(e.Seq, "it is another event than it was")
		}
	}
}

func (v *verification) end() AuditProof {
	if v.beginsLater {
		if v.trimmed.seq == 0 || v.first.Chain != v.first.After(v.trimmed.chain) {
			problem := v.proof
			v.proof.Broken = 0
			v.broken(v.first.Seq, "what stood before it was removed, and no retention says so")
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
		v.broken(v.trimmed.note, fmt.Sprintf("the event of the head, #%d, is gone; this event says that it was trimmed, but carries "+
			"no seal of this server's key: it is of an older version or of another key, or it is forged", mark))
	case mark < v.proof.First:
		v.broken(v.proof.First, fmt.Sprintf("the event of the head, #%d, is gone, and no retention says so", mark))
	default:
		v.broken(max(v.proof.Last, 1), fmt.Sprintf("the trail went on to #%d once, and ends or has a hole before that", mark))
	}
	return v.proof
}

// trimAfter is how much older than the retention the oldest event gets, so that
// the trail is not full of notes about its own trimming.
const trimAfter = time.Hour

// trimBatch bounds one step of trimming.
const trimBatch = 10_000

// trimAudit removes events that are older than the policy keeps them.
func (a *Authority) trimAudit(ctx context.Context) error {
	keep := a.policy.KeepAudit
	if keep == 0 {
		return nil
	}
	oldest, err := a.stores.Audit.AuditEvents(ctx, AuditQuery{Until: a.now(), Limit: 1}) // no clock that was ahead counts
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
