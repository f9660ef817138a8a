package server

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/relay/token"
)

// A note is a line of the journal, about a grant that the relay holds.
type note struct {
	Op      string // "held"; "left": as held, with less unused; "done": settled
	ID      uuid.UUID
	Account token.Account
	Bytes   int64
	Period  Period
	Unused  int64
	Owed    bool `json:",omitempty"`
}

// A journal records the grants that a relay holds. An error is logged and does
// not stop the relay: an unrecorded grant stays counted as used.
type journal struct {
	log *slog.Logger

	mu   sync.Mutex
	file *logFile // nil: none
	live map[uuid.UUID]note
}

// openJournal opens a journal, and returns the grants that an earlier process
// held.
func openJournal(path string, log *slog.Logger) (*journal, []*held, error) {
	j := &journal{log: log, live: map[uuid.UUID]note{}}
	if path == "" {
		return j, nil, nil
	}
	var err error
	j.file, err = openLog(path, func(line []byte) error {
		var n note
		if err := json.Unmarshal(line, &n); err != nil {
			return err
		}
		j.apply(n)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("relay: the journal: %w", err)
	}
	var left []*held
	for _, n := range j.live {
		left = append(left, &held{Grant: Grant{ID: n.ID, Account: n.Account, Bytes: n.Bytes, Period: n.Period}, unused: n.Unused, owed: n.Owed})
	}
	return j, left, nil
}

func (j *journal) apply(n note) {
	if n.Op == "done" {
		delete(j.live, n.ID)
		return
	}
	j.live[n.ID] = n
}

// write writes a note down.
func (j *journal) write(n note) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return
	}
	j.apply(n)
	err := j.file.add(n)
	if err == nil && j.file.crowded(len(j.live)) {
		var lines []any
		for _, n := range j.live {
			lines = append(lines, n)
		}
		err = j.file.rewrite(lines)
	}
	if err != nil {
		j.log.Error("the journal cannot be written", "cause", err)
	}
}

// sync flushes all notes to the disk.
func (j *journal) sync() {
	if err := j.file.sync(); err != nil {
		j.log.Error("the journal cannot be written", "cause", err)
	}
}
