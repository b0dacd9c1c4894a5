package authority

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
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
	for _, text := range []string{string(e.Kind), e.User, e.SessionID, e.Client, e.Address, e.RequestID, e.Detail} {
		part(text)
	}
	return Chain(h.Sum(nil))
}

// AuditProof is what a look at the whole trail has found.
type AuditProof struct {
	Events    int   // that were looked at
	Unchained int   // of them, from before there was a chain; nothing protects these
	First     int64 // Seq; 0 where there are none
	Last      int64
	Head      Chain // of the last; who keeps it can tell later whether the end was cut off
	// Broken is the first event that is not what was written, or not where it was;
	// 0 where all are.
	Broken  int64
	Problem string
}

// AuditMark is an event that was there once: the Last and the Head of an earlier
// proof. The zero value asks for nothing.
type AuditMark struct {
	Seq   int64
	Chain Chain
}

// trimmedDetail is what the event of a retention says.
const trimmedDetail = "%d events up to #%d, chain %s"

// TrimmedDetail is the Detail of the event that stands for n that were removed, up
// to the one of seq and chain.
func TrimmedDetail(n int, seq int64, chain Chain) string {
	return fmt.Sprintf(trimmedDetail, n, seq, chain)
}

func parseTrimmed(detail string) (seq int64, chain Chain, ok bool) {
	var n int
	var text string
	if got, err := fmt.Sscanf(detail, trimmedDetail, &n, &seq, &text); err != nil || got != 3 {
		return 0, Chain{}, false
	}
	sum, err := hex.DecodeString(text)
	if err != nil || len(sum) != len(chain) {
		return 0, Chain{}, false
	}
	return seq, Chain(sum), true
}

// VerifyAudit reads the whole trail, and tells whether any event in it was
// changed, removed, added or moved since it was written. That the end was cut off
// only a mark can tell. Whoever can write the database can also forge all of it
// anew: only a mark that is kept elsewhere tells that.
func (a *Authority) VerifyAudit(ctx context.Context, mark AuditMark) (AuditProof, error) {
	v := verification{mark: mark}
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
	proof       AuditProof
	mark        AuditMark
	marked      bool
	first       Event // whose predecessor was removed
	trimmedSeq  int64
	trimmed     Chain
	wasTrimmed  bool
	chained     bool
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
		if seq, chain, ok := parseTrimmed(e.Detail); ok {
			v.trimmedSeq, v.trimmed, v.wasTrimmed = seq, chain, true
		}
	}
	switch {
	case e.Chain == Chain{} && !v.chained:
		v.proof.Unchained++
	case !v.chained && v.proof.Unchained == 0 && e.Seq > 1:
		v.first, v.beginsLater, v.chained = e, true, true // judged in the end
	case e.Chain != e.After(v.proof.Head):
		v.chained = true
		v.broken(e.Seq, "it is not what was written, or what stood before it was changed or removed")
	default:
		v.chained = true
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
	if v.beginsLater && (!v.wasTrimmed || v.first.Chain != v.first.After(v.trimmed)) {
		problem := v.proof
		v.proof.Broken = 0
		v.broken(v.first.Seq, "what stood before it was removed, and no retention says so")
		if problem.Broken != 0 && problem.Broken < v.proof.Broken {
			v.proof = problem
		}
	}
	if v.mark.Seq > 0 && !v.marked && (!v.wasTrimmed || v.mark.Seq > v.trimmedSeq) {
		v.broken(max(v.proof.Last, 1), fmt.Sprintf("the trail went on to #%d once, and ends or has a hole before that", v.mark.Seq))
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
	oldest, err := a.stores.Audit.AuditEvents(ctx, AuditQuery{Limit: 1})
	if err != nil || len(oldest) == 0 || !oldest[0].At.Before(a.now().Add(-keep-trimAfter)) {
		return unavailable(err)
	}
	for ctx.Err() == nil {
		n, err := a.stores.Audit.TrimAudit(ctx, a.now().Add(-keep), a.now(), trimBatch)
		if err != nil {
			return unavailable(err)
		}
		if n < trimBatch {
			return nil
		}
	}
	return nil
}
