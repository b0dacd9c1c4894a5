package hashworker

// inspect calls use with the process, if one is current.
func (w *Worker) inspect(use func(p *process)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		return
	}
	w.current.mu.Lock()
	defer w.current.mu.Unlock()
	use(w.current)
}

// Pid returns the number of the process, or 0 if none runs.
func (w *Worker) Pid() (pid int) {
	w.inspect(func(p *process) {
		select {
		case <-p.ready:
			pid = p.command.Process.Pid
		default:
		}
	})
	return pid
}

// Hashes returns how many hashes the process makes, late ones included.
func (w *Worker) Hashes() (n int) {
	w.inspect(func(p *process) { n = len(p.hashes) })
	return n
}

// Sums returns how many sums the process has returned.
func (w *Worker) Sums() (n int) {
	w.inspect(func(p *process) { n = int(p.last) - len(p.hashes) })
	return n
}

// Retry lets the next hash start a process at once.
func (w *Worker) Retry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pause, w.next = 0, w.next.Add(-longestPause)
}
