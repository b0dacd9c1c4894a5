package hashworker

// Pid returns the number of the process, or 0 if none runs.
func (w *Worker) Pid() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		return 0
	}
	select {
	case <-w.current.ready:
		return w.current.command.Process.Pid
	default:
		return 0
	}
}

// Hashes returns how many hashes the process makes, late ones included.
func (w *Worker) Hashes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		return 0
	}
	w.current.mu.Lock()
	defer w.current.mu.Unlock()
	return len(w.current.hashes)
}

// Retry lets the next hash start a process at once.
func (w *Worker) Retry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pause, w.next = 0, w.next.Add(-longestPause)
}

// Sums returns how many sums the process has returned.
func (w *Worker) Sums() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		return 0
	}
	w.current.mu.Lock()
	defer w.current.mu.Unlock()
	return int(w.current.last) - len(w.current.hashes)
}
