package block

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"os"
	"slices"
	"strings"
	"time"
)

// openJournal returns the journal that an earlier attempt has left behind, or a
// new one. Without a key, the new one cannot be found again. The journal is
// held until close.
func openJournal(ctx context.Context, vol *volume, key *hash) (*journal, error) {
	if key != nil {
		j, err := findJournals(ctx, vol, *key)
		if j != nil || err != nil {
			return j, err
		}
	}
	j := newJournal(vol, rand.Text())
	if j.keep = key != nil; key == nil {
		key = new(hash)
		rand.Read(key[:])
	}
	if err := j.create(ctx); err != nil {
		return nil, err
	}
	return j, j.append(recordHeader, key[:])
}

// findJournals opens the journal that has that key and is free, or returns nil.
// On a file system without locks, transfers that were killed while they took
// one over may have left several: it adopts the largest, which absorbs the
// others.
func findJournals(ctx context.Context, vol *volume, key hash) (found *journal, err error) {
	names, err := readNames(vol.partial)
	if err != nil {
		return nil, err
	}
	var all []*journal
	for _, name := range names {
		if base, ok := strings.CutSuffix(name, journalEnd); ok {
			if j := findJournal(ctx, vol, base, key); j != nil {
				all = append(all, j)
			}
			if len(all) > 0 && !vol.lacking().Locks {
				return all[0], nil
			}
		}
	}
	slices.SortFunc(all, func(a, b *journal) int { return cmp.Compare(b.size, a.size) })
	for _, j := range all {
		switch {
		case found == nil && j.adopt(ctx) == nil:
			found = j
		case found != nil:
			found.absorb(j)
			j.free()
		default:
			j.file.Close()
			j.free()
		}
	}
	return found, nil
}

// findJournal opens the journal of that name if it has that key and is free.
func findJournal(ctx context.Context, vol *volume, name string, key hash) *journal {
	f, err := vol.partial.OpenFile(name+journalEnd, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	j := newJournal(vol, name)
	j.file, j.keep = f, true
	typ, content, err := readRecord(f)
	if err != nil {
		j.reap()
		return nil
	}
	if typ != recordHeader || !bytes.Equal(content, key[:]) || !j.hold(ctx) {
		f.Close()
		return nil
	}
	if j.lock() && j.load() == nil && f.Truncate(j.size) == nil && j.skipData() == nil {
		j.first = j.next
		return j
	}
	j.file.Close()
	j.free()
	return nil
}

// reap closes a journal without a header, and removes it if the transfer that
// was creating it was killed. On a file system without locks, it is kept, since
// another process may be creating it now.
func (j *journal) reap() {
	owned := !j.lock() || j.vol.lacking().Locks
	if info, err := j.file.Stat(); owned || err != nil || info.Size() >= headerSize {
		j.file.Close()
		return
	}
	removeOpen(j.dir, j.file, j.name+journalEnd)
}

const staleAfter = 7 * 24 * time.Hour // of interrupted transfers
