package hashworker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"
)

var (
	errLate  = errors.New("the process is late")
	errEnded = errors.New("the process ended")
)

// process is one that starts or runs.
type process struct {
	log     *slog.Logger
	alive   context.Context
	kill    context.CancelFunc
	ready   chan struct{} // closed when it takes requests
	ended   chan struct{} // closed when it can give no more sums
	reaped  chan struct{} // closed when it is gone
	command *exec.Cmd     // set when it is ready, as is input
	input   io.WriteCloser

	writing sync.Mutex // held while a request is written

	mu      sync.Mutex
	last    uint64
	callers int // of ask
	hashes  map[uint64]hash
	room    chan struct{} // closed and replaced when a hash ends
}

// hash is one that the process makes. Its sum may be late.
type hash struct {
	sum  chan []byte
	lost *time.Timer
}

func newProcess(log *slog.Logger) *process {
	p := &process{
		log: log, ready: make(chan struct{}), ended: make(chan struct{}), reaped: make(chan struct{}),
		hashes: map[uint64]hash{}, room: make(chan struct{}),
	}
	p.alive, p.kill = context.WithCancel(context.Background())
	return p
}

// run runs the process until its end, and reports whether it became ready.
func (p *process) run() (started bool, err error) {
	defer p.kill()
	defer close(p.ended)
	path, err := executable()
	if err != nil {
		return false, err
	}
	command := exec.CommandContext(p.alive, path, Name) //nolint:gosec // ourselves
	command.Args[0] = os.Args[0]
	command.Env = []string{} // it needs no setting, and must see no secret
	command.SysProcAttr = apart()
	command.Stderr = lineLog{p.log}
	command.WaitDelay = longestEnd
	input, err := command.StdinPipe()
	if err != nil {
		return false, err
	}
	output, err := command.StdoutPipe()
	if err != nil {
		return false, errors.Join(err, input.Close())
	}
	if err := command.Start(); err != nil {
		return false, err
	}
	p.command, p.input = command, input
	responses := bufio.NewReader(output)
	if err := greeted(responses, p.kill); err != nil {
		p.kill()
		return false, errors.Join(err, command.Wait())
	}
	close(p.ready)
	p.receive(responses)
	p.kill()
	return true, command.Wait()
}

// executable returns the path of this program, even if its file was replaced since it was
// started.
func executable() (string, error) {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self, nil
	}
	return os.Executable()
}

// greeted reads the greeting. It calls kill if that takes too long.
func greeted(r io.Reader, kill func()) error {
	limit := time.AfterFunc(longestStart, kill)
	defer limit.Stop()
	first := make([]byte, len(greeting))
	if _, err := io.ReadFull(r, first); err != nil {
		return err
	}
	if string(first) != greeting {
		return errors.New("it is another version")
	}
	return nil
}

// ask returns the sum that a request asks for. It returns errEnded, or errLate after the
// patience.
func (p *process) ask(request []byte, patience time.Duration) ([]byte, error) {
	late := time.After(patience)
	select {
	case <-p.ready:
	case <-p.ended:
		return nil, errEnded
	case <-late:
		return nil, errLate
	}
	p.mu.Lock()
	p.callers++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.callers--
		p.mu.Unlock()
	}()
	for {
		sum, room := p.begin(request, lostFactor*patience)
		select {
		case s := <-sum:
			return s, nil
		case <-room:
		case <-p.ended:
			return nil, errEnded
		case <-late:
			return nil, errLate
		}
	}
}

// begin sends a request and returns where its sum arrives. But while sums are late, the process
// makes as many hashes as there are callers: then begin returns what is closed when one ends.
func (p *process) begin(request []byte, lost time.Duration) (sum <-chan []byte, room <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.hashes) >= p.callers {
		return nil, p.room
	}
	p.last++
	binary.BigEndian.PutUint64(request[4:], p.last)
	h := hash{sum: make(chan []byte, 1), lost: time.AfterFunc(lost, p.kill)}
	p.hashes[p.last] = h
	go p.send(bytes.Clone(request)) // which waits if the process does not read
	return h.sum, nil
}

// send writes a request and clears it.
func (p *process) send(request []byte) {
	defer clear(request)
	p.writing.Lock()
	defer p.writing.Unlock()
	if _, err := p.input.Write(request); err != nil {
		p.kill()
	}
}

// receive hands out the sums until the process ends.
func (p *process) receive(r io.Reader) {
	for {
		id, sum, err := readResponse(r)
		if err != nil {
			break
		}
		p.mu.Lock()
		if h, ok := p.hashes[id]; ok {
			h.lost.Stop()
			delete(p.hashes, id)
			h.sum <- sum
			close(p.room)
			p.room = make(chan struct{})
		}
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.hashes {
		h.lost.Stop()
	}
}

// lineLog writes what the process reports to the log.
type lineLog struct{ log *slog.Logger }

func (l lineLog) Write(text []byte) (int, error) {
	const most = 1000
	shown := bytes.TrimSpace(text)
	l.log.Warn("the process that hashes passwords reports", "text", string(shown[:min(len(shown), most)]))
	return len(text), nil
}
