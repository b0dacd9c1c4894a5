package sessionindex

import (
	"sync"
	"sync/atomic"
)

// names numbers the user names and API keys of sessions, so that each is in memory once.
// There are as few of them as there are accounts.
type names struct {
	mu      sync.Mutex
	numbers map[string]uint32
	texts   atomic.Pointer[[]string]
}

func (n *names) text(number uint32) string { return (*n.texts.Load())[number] }

func (n *names) number(text string) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	number, ok := n.numbers[text]
	if ok {
		return number
	}
	if n.numbers == nil {
		n.numbers = map[string]uint32{}
	}
	var texts []string
	if old := n.texts.Load(); old != nil {
		texts = *old
	}
	number = uint32(len(texts)) //nolint:gosec // fewer than there are accounts
	n.numbers[text] = number
	// Readers of the old slice never look past its length.
	texts = append(texts, text)
	n.texts.Store(&texts)
	return number
}
