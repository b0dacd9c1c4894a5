package hashworker

// Pid returns the number of the process, or 0 if none runs.
func (w *Worker) Pid() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		return 0
	}
	return w.current.command.Process.Pid
}

// Retry lets the next hash start a process at once.
func (w *Worker) Retry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pause, w.next = 0, w.next.Add(-longestPause)
}
