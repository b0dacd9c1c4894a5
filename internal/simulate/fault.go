package simulate

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

// Kind names what goes wrong.
type Kind string

// The kinds of faults. DropAfter, DropBefore, Fail, Throttle, ForbidXML and RefuseAs
// respond in place of the service; the others let the request through to it.
const (
	DropAfter      Kind = "drop-after"      // executed, and the connection cut before the answer
	DropBefore     Kind = "drop-before"     // the connection cut, and nothing executed
	Delay          Kind = "delay"           // executed after Fault.Delay, or as soon as the caller leaves
	Fail           Kind = "fail"            // Fault.Status, and nothing executed
	Throttle       Kind = "throttle"        // 429 with Fault.RetryAfter, and nothing executed
	ForbidXML      Kind = "forbid-xml"      // 403 with a fault in XML, and nothing executed
	RefuseAs       Kind = "refuse-as"       // Fault.Form, and nothing executed
	LockUser       Kind = "lock-user"       // the request's user is locked before it is executed
	ExpireSessions Kind = "expire-sessions" // all sessions of the request's user end before it is executed
	RevokeBearer   Kind = "revoke-bearer"   // the request's access token ends before it is executed
)

var kinds = []Kind{DropAfter, DropBefore, Delay, Fail, Throttle, ForbidXML, RefuseAs, LockUser, ExpireSessions,
	RevokeBearer}

// Fault is what goes wrong with the next requests of an operation.
type Fault struct {
	Kind       Kind
	Operation  Operation     // Any: of whatever operation
	Times      int           // requests it is for; 0: one
	Status     int           // of Fail; 0: 503
	Form       string        // of RefuseAs: the name of a form in wire.Refusals
	Delay      time.Duration // of Delay, in real time; 0: until the caller leaves
	RetryAfter time.Duration // of Throttle and Fail, told in whole seconds; 0: one second for Throttle, none for Fail
}

const (
	maxTimes = 1_000_000
	maxDelay = 10 * time.Minute
	maxRetry = 24 * time.Hour
	maxQueue = 1000
)

// resolve fills in the defaults, or says what is wrong.
func (f Fault) resolve() (Fault, error) {
	if f.Times == 0 {
		f.Times = 1
	}
	if f.Kind == Fail && f.Status == 0 {
		f.Status = 503
	}
	if f.Kind == Throttle && f.RetryAfter == 0 {
		f.RetryAfter = time.Second
	}
	switch {
	case !slices.Contains(kinds, f.Kind):
		return f, fmt.Errorf("there is no fault %q; there are %q", f.Kind, kinds)
	case !f.Operation.known():
		return f, fmt.Errorf("there is no operation %q; there are %q", f.Operation, operations[1:])
	case f.needsBearer() && !f.Operation.carriesBearer():
		return f, fmt.Errorf("the fault %s needs a request with an access token, and those of the operation %s have none",
			f.Kind, f.Operation)
	case f.Times < 0 || f.Times > maxTimes:
		return f, fmt.Errorf("a fault %d times over is not between 1 and %d", f.Times, maxTimes)
	case f.Kind == Fail && (f.Status < 500 || f.Status > 599), f.Kind != Fail && f.Status != 0:
		return f, fmt.Errorf("the status %d does not go with the fault %s; %s takes 500 to 599, others none", f.Status,
			f.Kind, Fail)
	case f.Kind == RefuseAs && !isForm(f.Form), f.Kind != RefuseAs && f.Form != "":
		return f, fmt.Errorf("the form %q does not go with the fault %s; %s takes one of %q, others none", f.Form, f.Kind,
			RefuseAs, forms())
	case f.Delay < 0 || f.Delay > maxDelay, f.Kind != Delay && f.Delay != 0:
		return f, fmt.Errorf("a delay of %v does not go with the fault %s; %s takes up to %v, others none", f.Delay, f.Kind,
			Delay, maxDelay)
	case f.RetryAfter < 0 || f.RetryAfter > maxRetry, f.Kind != Throttle && f.Kind != Fail && f.RetryAfter != 0:
		return f, fmt.Errorf("trying again after %v does not go with the fault %s; %s and %s take up to %v, others none",
			f.RetryAfter, f.Kind, Throttle, Fail, maxRetry)
	}
	return f, nil
}

func isForm(name string) bool {
	_, ok := wire.FindRefusal(name)
	return ok
}

// forms lists the names of the published forms.
func forms() (names []string) {
	for _, form := range wire.Refusals {
		names = append(names, form.Name)
	}
	return names
}

// responds reports whether the fault responds in place of the service.
func (f Fault) responds() bool {
	return f.Kind == Fail || f.Kind == Throttle || f.Kind == ForbidXML || f.Kind == RefuseAs
}

func (f Fault) needsBearer() bool {
	return f.Kind == LockUser || f.Kind == ExpireSessions || f.Kind == RevokeBearer
}

func (f Fault) meets(operation Operation) bool {
	return (f.Operation == Any || f.Operation == operation) && (!f.needsBearer() || operation.carriesBearer())
}

// faults are those still to come. A request meets the first that is for it.
type faults struct {
	mu    sync.Mutex
	queue []Fault
}

func (q *faults) add(fault Fault) error {
	fault, err := fault.resolve()
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) >= maxQueue {
		return fmt.Errorf("%d faults are waiting already; clear them first", maxQueue)
	}
	q.queue = append(q.queue, fault)
	return nil
}

// pending reports whether the next request of the operation meets a fault.
func (q *faults) pending(operation Operation) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.ContainsFunc(q.queue, func(f Fault) bool { return f.meets(operation) })
}

func (q *faults) take(operation Operation) (Fault, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.queue, func(f Fault) bool { return f.meets(operation) })
	if i < 0 {
		return Fault{}, false
	}
	fault := q.queue[i]
	if q.queue[i].Times--; q.queue[i].Times == 0 {
		q.queue = slices.Delete(q.queue, i, i+1)
	}
	return fault, true
}

func (q *faults) list() []Fault {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.queue)
}

func (q *faults) clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = nil
}
