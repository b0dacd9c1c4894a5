package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store"
)

// useLog holds uses of sessions that the table does not cover yet, so that a killed process
// loses none: the table is written within seconds (lastuse.go), and the log at once. A record
// in the operating system's cache survives the process, so nothing waits for the disk. It is
// safe for concurrent use.
//
// There are two files. Records go to one of them for one round of flushLastUses. When the
// next round has ended without an error, the table has everything that is in it.
type useLog struct {
	path string // of the database

	mu      sync.Mutex
	files   [2]*os.File // both nil: nothing is logged
	current int
	size    int64
}

const (
	useRecord  = len(authority.SessionKey{}) + 8 + crc32.Size
	maxUseLog  = 64 << 20 // bytes in a file
	useLogName = "-uses"  // behind the path of the database, and 0 or 1
)

var errUseLogFull = errors.New("the log of uses is full")

// openUseLog opens the log of the database at path and returns the uses that are in it.
func openUseLog(path string) (*useLog, map[authority.SessionKey]int64, error) {
	l := &useLog{path: path}
	uses := map[authority.SessionKey]int64{}
	for i := range l.files {
		file, err := os.OpenFile(l.name(i), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, nil, errors.Join(err, l.close())
		}
		l.files[i] = file
		if err := readUses(file, uses); err != nil {
			return nil, nil, errors.Join(err, l.close())
		}
	}
	return l, uses, nil
}

func (l *useLog) name(i int) string { return l.path + useLogName + strconv.Itoa(i) }

// readUses adds the records of a file, up to the first that is not whole.
func readUses(file io.Reader, uses map[authority.SessionKey]int64) error {
	data, err := io.ReadAll(io.LimitReader(file, int64(maxUseLog+useRecord)))
	if err != nil {
		return err
	}
	for ; len(data) >= useRecord; data = data[useRecord:] {
		record := data[:useRecord-crc32.Size]
		if crc32.ChecksumIEEE(record) != binary.BigEndian.Uint32(data[len(record):]) {
			break
		}
		key := authority.SessionKey(record[:len(authority.SessionKey{})])
		uses[key] = max(uses[key], int64(binary.BigEndian.Uint64(record[len(key):]))) //nolint:gosec // as it was written
	}
	return nil
}

// add records that a session counts as used until then.
func (l *useLog) add(key authority.SessionKey, until int64) error {
	record := make([]byte, 0, useRecord)
	record = append(record, key[:]...)
	record = binary.BigEndian.AppendUint64(record, uint64(until)) //nolint:gosec // only its bits matter
	record = binary.BigEndian.AppendUint32(record, crc32.ChecksumIEEE(record))
	l.mu.Lock()
	defer l.mu.Unlock()
	file := l.files[l.current]
	if file == nil {
		return nil
	}
	if l.size+int64(useRecord) > maxUseLog {
		return errUseLogFull
	}
	n, err := file.Write(record)
	if err != nil {
		if n > 0 { // half a record would hide those behind it
			err = errors.Join(err, file.Truncate(l.size))
		}
		return err
	}
	l.size += int64(n)
	return nil
}

// turn begins a round. The table has the records from before the round that has just ended,
// so turn removes them.
func (l *useLog) turn() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := 1 - l.current
	if l.files[next] == nil {
		return nil
	}
	if err := l.files[next].Truncate(0); err != nil {
		return err
	}
	l.current, l.size = next, 0
	return nil
}

// empty removes every record.
func (l *useLog) empty() error { return errors.Join(l.turn(), l.turn()) }

// close closes the files, and removes those that are empty.
func (l *useLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var failed error
	for i, file := range l.files {
		if file == nil {
			continue
		}
		info, err := file.Stat()
		failed = errors.Join(failed, err, file.Close())
		if err == nil && info.Size() == 0 {
			err := os.Remove(l.name(i))
			if !errors.Is(err, fs.ErrNotExist) {
				failed = errors.Join(failed, err)
			}
		}
		l.files[i] = nil
	}
	return failed
}

// recoverUses opens the log and writes the uses in it, which a killed process left, to the
// table. A database in memory has no log.
func (db *DB) recoverUses(ctx context.Context) error {
	db.uses = &useLog{}
	if db.path == "" {
		return nil
	}
	log, uses, err := openUseLog(db.path)
	if err != nil {
		return err
	}
	db.uses = log
	for some := range slices.Chunk(slices.Collect(maps.Keys(uses)), lastUseBatch) {
		err := db.write(ctx, func(t store.Tx) error {
			for _, key := range some {
				if _, err := t.Exec(`UPDATE sessions SET last_used = ? WHERE session_key = ? AND ended_at = 0 AND last_used < ?`,
					uses[key], key[:], uses[key]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return log.empty()
}

// keepUse records a use that the table does not cover. It only logs errors: the session is
// good, and the table is written soon.
func (db *DB) keepUse(key authority.SessionKey, now time.Time) {
	until := now.Add(db.ahead).UnixMicro()
	err := db.uses.add(key, until)
	if err == nil {
		db.sessions.SetLogged(key, until)
		return
	}
	if db.saidUses.due(time.Now()) {
		db.log.Error("the last use of sessions could not be stored at once; "+
			"a crash within seconds may expire them early", "error", plain(err))
	}
}
