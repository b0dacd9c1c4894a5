package sessionindex

import (
	"encoding/binary"
	"math/bits"

	"github.com/latchkey/latchkey/internal/authority"
)

// table is an open-addressed hash table with linear probing. An entry is beside its key, so
// that a lookup among a million sessions costs one cache miss, or two. The table holds no
// pointer, so that the garbage collector need not visit its entries. A removal moves entries
// back, so it leaves nothing behind that later lookups have to pass.
type table struct {
	slots []slot
	used  int
}

type slot struct {
	entry
	key  authority.SessionKey
	live bool
}

// At most maxLoad of ten slots are used. A full table grows by a quarter, and one with few
// entries shrinks.
const (
	minSlots = 8
	maxLoad  = 7
)

// home returns where the search for a key begins. The first byte of the key selects the shard.
func (t *table) home(key *authority.SessionKey) int {
	hash := binary.LittleEndian.Uint64(key[1:]) ^ binary.LittleEndian.Uint64(key[24:])
	high, _ := bits.Mul64(hash*0x9e3779b97f4a7c15, uint64(len(t.slots)))
	return int(high) //nolint:gosec // below len(t.slots)
}

func (t *table) next(i int) int {
	if i++; i < len(t.slots) {
		return i
	}
	return 0
}

// find returns the entry of a key, or nil. It is valid until the table changes.
func (t *table) find(key *authority.SessionKey) *entry {
	if t.used == 0 {
		return nil
	}
	for i := t.home(key); t.slots[i].live; i = t.next(i) {
		if t.slots[i].key == *key {
			return &t.slots[i].entry
		}
	}
	return nil
}

// add returns a new entry, which is zero, for a key that is not in the table.
func (t *table) add(key *authority.SessionKey) *entry {
	if (t.used+1)*10 > len(t.slots)*maxLoad {
		t.resize(max(minSlots, len(t.slots)+len(t.slots)/4))
	}
	t.used++
	return &t.free(key).entry
}

// free returns an empty slot for the key, and marks it as used.
func (t *table) free(key *authority.SessionKey) *slot {
	i := t.home(key)
	for t.slots[i].live {
		i = t.next(i)
	}
	s := &t.slots[i]
	s.key, s.live = *key, true
	return s
}

func (t *table) resize(size int) {
	old := t.slots
	t.slots = make([]slot, size)
	for i := range old {
		if old[i].live {
			t.free(&old[i].key).set(&old[i].entry)
		}
	}
}

// remove removes the entry of a key that is in the table.
func (t *table) remove(key *authority.SessionKey) {
	i := t.home(key)
	for t.slots[i].key != *key || !t.slots[i].live {
		i = t.next(i)
	}
	for j := t.next(i); t.slots[j].live; j = t.next(j) {
		// The entry at j may move to i unless its home is behind i: then no search for it
		// would pass i.
		home := t.home(&t.slots[j].key)
		if behind := i < home && home <= j || j < i && (home > i || home <= j); behind {
			continue
		}
		t.slots[i].set(&t.slots[j].entry)
		t.slots[i].key = t.slots[j].key
		i = j
	}
	t.slots[i].set(&entry{})
	t.slots[i].key, t.slots[i].live = authority.SessionKey{}, false
	if t.used--; len(t.slots) > 8*minSlots && t.used*8 < len(t.slots) {
		t.resize(len(t.slots) / 4)
	}
}
