package main

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"slices"
)

// Wanted returns the authors whose operations count, and how many of each.
func (s *Store) Wanted() map[Author]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[Author]uint64{}
	for a, is := range s.standing {
		if is.member || len(s.standing) <= MaxAuthors {
			all[a] = is.counts
		}
	}
	return all
}

// Have returns the number of operations here of each of the authors.
func (s *Store) Have(authors map[Author]uint64) (all []Have) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range slices.SortedFunc(maps.Keys(authors), func(a, b Author) int { return bytes.Compare(a[:], b[:]) }) {
		h := Have{Author: a}
		if known := s.authors[a]; known != nil {
			h.Count = uint64(len(known.at))
		}
		all = append(all, h)
	}
	return all
}

// A Cursor is the position of a device that gets operations from this one. The
// zero Cursor gets none; see [Store.Want].
type Cursor struct {
	next   map[Author]uint64 // the number of the operation to be given next
	counts map[Author]uint64 // how many counted here when it was last given some
	at     int64             // in the log: all operations asked for and not given come after it
}

// Want sets the operations that a device asks for, the first time or again.
func (s *Store) Want(c *Cursor, have []Have) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.next == nil {
		c.next, c.counts, c.at = map[Author]uint64{}, map[Author]uint64{}, s.end
	}
	for _, w := range have {
		if next, asked := c.next[w.Author]; asked || len(c.next) < MaxAuthors {
			c.next[w.Author] = max(next, min(w.Count, math.MaxUint64-1)+1)
		}
	}
}

// Next appends operations that a device has asked for and not been given, about
// size bytes of them; none if it has been given all. They are read from the
// log, so that they take no memory, however many there are.
func (s *Store) Next(c *Cursor, b []byte, size int) ([]byte, error) {
	if c.next == nil {
		return b, nil
	}
	s.mu.Lock()
	end := s.end
	for a, next := range c.next {
		counts := s.standing[a].counts
		if h := s.authors[a]; h != nil && counts > c.counts[a] && next <= uint64(len(h.at)) {
			c.at = min(c.at, h.at[next-1]) // it was passed over
		}
		c.counts[a] = counts
	}
	s.mu.Unlock()
	var err error
	c.at, err = s.log.Read(c.at, end, func(_ int64, content []byte) error {
		a, number := Author(content), binary.LittleEndian.Uint64(content[len(Author{}):])
		if next, ok := c.next[a]; ok && number == next && number <= c.counts[a] {
			c.next[a]++
			if b = append(b, content...); len(b) >= size {
				return errEnough
			}
		}
		return nil
	})
	return b, err
}
