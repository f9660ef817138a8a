package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

// A Note is one as it is now.
type Note struct {
	ID          uuid.UUID
	Title, Body string
	Deleted     bool
}

// A Change is a new value for a field.
type Change struct {
	Note  uuid.UUID
	Field Field
	Value string
}

// A Store keeps the operations of a library in its log, and the notes that they come to. Its methods may be called
// concurrently.
//
// Notes depend on which operations there are, and not on the order in which they came: of the values that a field was
// given, the one with the greatest stamp counts; of equal stamps, the one of the greatest author, and of that the last.
// Not counted is what an author did after it was revoked: a revocation says how many of its operations its founder, who
// revoked it, had by then. Those stay; all others are void on every device that hears of the revocation, even where they came
// first. Only the founder can revoke: if anybody could, a stolen device that was revoked would revoke the others, and
// no rule that looks at stamps could tell which of the two was first.
type Store struct {
	library uuid.UUID
	self    identity.Identity
	founder func(Author) bool
	changed broadcast // there are new operations

	adding sync.Mutex // held while operations are added; taken before mu
	log    *Log

	mu      sync.Mutex // guards what follows; it changes only while adding is held
	clock   *Clock
	notes   map[uuid.UUID]*note
	authors map[Author]*history
	end     int64  // of the operations that are counted, in the log
	stale   bool   // notes have to be made anew from the log
	known   uint64 // how many of our operations some other device has, as far as we have heard since we were started
}

// A history is what is known of an author.
type history struct {
	at        []int64   // where its operations are in the log: number 1 first
	signature Signature // of the last one
	counts    uint64    // how many of them count
	shifts    []span    // disjoint, the earliest first
}

// A span says that an author's operations have stamps that are too early.
type span struct {
	first, last uint64
	ms          int64
}

// A note has the present values of the fields.
type note [Deleted]value

type value struct {
	text   string
	stamp  Stamp // corrected, and later than that of the value that it replaced
	author Author
	number uint64
}

// before reports whether another value of the field counts rather than v.
func (v *value) before(o *value) bool {
	return cmp.Or(cmp.Compare(v.stamp, o.stamp), bytes.Compare(v.author[:], o.author[:]), cmp.Compare(v.number, o.number)) < 0
}

// Founded returns the UUID of the library that an instance founds. It names the founder, so that nobody else can claim to be
// it: the first bits of a hash of its key, in a UUID of version 8 (RFC 9562 §5.8).
func Founded(instance identity.RemoteIdentity) uuid.UUID {
	key := instance.Bytes()
	sum := sha256.Sum256(append([]byte("sdp2p-notes-library\x00"), key[:]...))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// OpenStore opens the store in a folder. It returns how many bytes of an operation it has cut off that was being written
// when the program ended; see [Log].
func OpenStore(folder string, library uuid.UUID, self identity.Identity, wall func() time.Time) (s *Store, cut int64, err error) {
	s = &Store{
		library: library, self: self, clock: NewClock(wall), end: logHeader,
		founder: func(a Author) bool {
			id, err := identity.FromBytes(a[:])
			return err == nil && Founded(id) == library
		},
		notes: map[uuid.UUID]*note{}, authors: map[Author]*history{},
	}
	var d proto.Decoder
	s.log, cut, err = OpenLog(filepath.Join(folder, "notes.log"), library, func(at int64, content []byte) error {
		var o Op
		if err := decode(&d, &o, content); err != nil {
			return err
		}
		s.count(&o, at, int64(len(content)))
		return nil
	})
	if err == nil {
		err = s.renew()
	}
	if err != nil {
		return nil, 0, fmt.Errorf("notes: %w", err)
	}
	return s, cut, nil
}

// Close closes the log. No other method may be called then.
func (s *Store) Close() error { return s.log.Close() }

// decode decodes an operation that fills b.
func decode(d *proto.Decoder, o *Op, b []byte) error {
	r := bytes.NewReader(b)
	d.Reset(r)
	if err := o.DecodeFrom(d); err != nil {
		return err
	}
	if r.Len() > 0 {
		return fmt.Errorf("%w operation: %d bytes too many", proto.ErrInvalid, r.Len())
	}
	return nil
}

// history returns what is known of an author. The caller holds mu.
func (s *Store) history(a Author) *history {
	h := s.authors[a]
	if h == nil {
		h = &history{counts: math.MaxUint64}
		s.authors[a] = h
	}
	return h
}

// count counts an operation that is in the log. The caller holds mu, or is the only one.
func (s *Store) count(o *Op, at, size int64) {
	h := s.history(o.Author)
	h.at, h.signature = append(h.at, at), o.Signature
	s.end = at + recordHeader + size
	s.clock.Observe(o.Stamp)
	switch o.Kind {
	case edit:
		if o.Number <= h.counts {
			s.apply(s.notes, o, h)
		}
	case revoke:
		if !s.founder(o.Author) || s.founder(o.Who) {
			return // it means nothing
		}
		delete(s.clock.others, o.Who)
		who := s.history(o.Who)
		who.counts = min(who.counts, o.Count)
		s.stale = s.stale || uint64(len(who.at)) > who.counts
	case shift:
		if o.Author == author(s.self.Remote()) {
			s.clock.correction += time.Duration(o.MS) * time.Millisecond
			s.clock.sure = o.Sure
		}
		if n := len(h.shifts); o.First >= o.Number || n > 0 && o.First <= h.shifts[n-1].last || o.MS == 0 {
			return // there is nothing to be moved, or it was moved before
		}
		h.shifts = append(h.shifts, span{o.First, o.Number, o.MS})
		s.stale = true
	}
}

// apply gives fields the operation's values, where those count.
func (s *Store) apply(notes map[uuid.UUID]*note, o *Op, h *history) {
	stamp := o.Stamp
	i, _ := slices.BinarySearchFunc(h.shifts, o.Number, func(p span, number uint64) int { return cmp.Compare(p.last, number) })
	if i < len(h.shifts) && h.shifts[i].first <= o.Number && h.shifts[i].last <= h.counts {
		stamp = stamp.Shift(h.shifts[i].ms)
	}
	for _, e := range o.Edits {
		n := notes[e.Note]
		if n == nil {
			n = &note{}
			notes[e.Note] = n
		}
		v := value{e.Value, max(stamp, e.Over.Next()), o.Author, o.Number}
		if f := &n[e.Field-1]; !v.before(f) { // of one operation the last edit counts
			*f = v
		}
	}
}

// renew makes the notes anew if operations that were applied do not count any more, or otherwise. The caller holds adding, or
// is the only one.
func (s *Store) renew() error {
	if !s.stale {
		return nil
	}
	notes := map[uuid.UUID]*note{}
	var d proto.Decoder
	_, err := s.log.Read(logHeader, s.end, func(_ int64, content []byte) error {
		var o Op
		if err := decode(&d, &o, content); err != nil {
			return err
		}
		if h := s.authors[o.Author]; o.Kind == edit && o.Number <= h.counts {
			s.apply(notes, &o, h)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes, s.stale = notes, false
	return nil
}

// Notes returns all notes, the deleted ones too, ordered by id.
func (s *Store) Notes() []Note {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Note, 0, len(s.notes))
	for id, n := range s.notes {
		all = append(all, Note{id, n[Title-1].text, n[Body-1].text, n[Deleted-1].text != ""})
	}
	slices.SortFunc(all, func(a, b Note) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return all
}

// Digest returns a hash of all notes, with who has written what. It is the same on all devices that have the same.
func (s *Store) Digest() [32]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := sha256.New()
	for _, id := range slices.SortedFunc(maps.Keys(s.notes), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }) {
		h.Write(id[:])
		for _, v := range s.notes[id] {
			fmt.Fprintf(h, "%q %d %x %d\n", v.text, v.stamp, v.author, v.number)
		}
	}
	return [32]byte(h.Sum(nil))
}

// ErrRevoked is returned where a device wants to write that knows that it was revoked.
var ErrRevoked = errors.New("notes: this device was revoked; what it writes counts nowhere")

// Set makes changes, all of them or none. When it returns, they are on the disk, and on their way to the others.
func (s *Store) Set(changes ...Change) error {
	return s.author(func() (ops []Op) {
		over := map[Change]Stamp{} // by note and field: what the changes so far have made of it
		size := MaxOp
		for _, c := range changes {
			field := Change{Note: c.Note, Field: c.Field}
			if n := s.notes[c.Note]; n != nil && over[field] == 0 && c.Field >= Title && c.Field <= Deleted {
				over[field] = n[c.Field-1].stamp
			}
			e := Edit{c.Note, c.Field, over[field], c.Value}
			if size += e.size(); size > MaxOp || len(ops[len(ops)-1].Edits) == MaxEdits {
				ops = append(ops, Op{Kind: edit, Stamp: s.clock.Tick()})
				size = otherBytes + e.size()
			}
			o := &ops[len(ops)-1]
			o.Edits = append(o.Edits, e)
			over[field] = max(o.Stamp, e.Over.Next())
		}
		return ops
	})
}

// ErrNotFounder is returned where somebody else than the founder wants to revoke, or the founder itself.
var ErrNotFounder = errors.New("notes: only the device that made the notebook can revoke others")

// Revoke says that what an author does from now on does not count.
func (s *Store) Revoke(who Author) error {
	if !s.founder(author(s.self.Remote())) || s.founder(who) {
		return ErrNotFounder
	}
	return s.author(func() []Op {
		return []Op{{Kind: revoke, Who: who, Count: uint64(len(s.history(who).at)), Stamp: s.clock.Tick()}}
	})
}

// Known takes note of how many of our operations some other device has.
func (s *Store) Known(count uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = max(s.known, count)
}

// Hear takes note of by how much the clock of another device is ahead of this computer's; see [Drift]. It returns how the
// correction of this one changes by that.
func (s *Store) Hear(from Author, ahead time.Duration) (change time.Duration, err error) {
	err = s.author(func() []Op {
		var sure, news bool
		if change, sure, news = s.clock.Hear(from, ahead); !news {
			return nil
		}
		h := s.history(author(s.self.Remote()))
		first := s.known + 1 // nobody has these: they were stamped since we met somebody last
		if n := len(h.shifts); n > 0 {
			first = max(first, h.shifts[n-1].last+1)
		}
		first = min(first, uint64(len(h.at))+1)
		return []Op{{Kind: shift, First: first, MS: change.Milliseconds(), Sure: sure, Stamp: s.clock.Tick()}}
	})
	return change, err
}

// author adds operations of our own. They are made while mu is held, and lack what all of them have.
func (s *Store) author(create func() []Op) error {
	s.adding.Lock()
	defer s.adding.Unlock()
	s.mu.Lock()
	ops := create()
	self := author(s.self.Remote())
	h := s.history(self)
	number, signature, revoked := uint64(len(h.at)), h.signature, h.counts != math.MaxUint64
	s.mu.Unlock()
	if revoked && len(ops) > 0 {
		return ErrRevoked
	}
	key := s.self.PrivateKey()
	for i := range ops {
		number++
		ops[i].Author, ops[i].Number = self, number
		if err := ops[i].sign(s.library, signature, key); err != nil {
			return fmt.Errorf("notes: %w", err)
		}
		signature = ops[i].Signature
	}
	// On the disk before anybody hears of it: after a power failure, the numbers must not be used once more.
	return s.keep(ops, s.log.Sync)
}

// Add adds operations of others that came in the order of their numbers, if known says that they are members or were. Those
// that are here are skipped. It fails if one is not signed by its author, or there is a gap; those before it are added.
func (s *Store) Add(ops []Op, known func(Author) bool) error {
	s.adding.Lock()
	defer s.adding.Unlock()
	type last struct {
		number    uint64
		signature Signature
	}
	lasts := map[Author]last{}
	var fresh []Op
	var failed error
	for _, o := range ops {
		l, ok := lasts[o.Author]
		if !ok {
			if !known(o.Author) {
				continue
			}
			s.mu.Lock()
			h := s.history(o.Author)
			l = last{uint64(len(h.at)), h.signature}
			s.mu.Unlock()
			lasts[o.Author] = l
		}
		if o.Number <= l.number || o.Number > s.authors[o.Author].counts {
			continue
		}
		if o.Number != l.number+1 {
			failed = fmt.Errorf("notes: operation %d follows on %d", o.Number, l.number)
			break
		}
		if failed = o.verify(s.library, l.signature); failed != nil {
			break
		}
		lasts[o.Author] = last{o.Number, o.Signature}
		fresh = append(fresh, o)
	}
	return errors.Join(s.keep(fresh, nil), failed)
}

// keep writes operations to the log, and counts them. The caller holds adding.
func (s *Store) keep(ops []Op, sync func() error) error {
	if len(ops) == 0 {
		return nil
	}
	contents := make([][]byte, len(ops))
	var err error
	for i := range ops {
		if contents[i], err = ops[i].AppendBinary(nil); err != nil {
			return fmt.Errorf("notes: %w", err)
		}
	}
	at, err := s.log.Append(contents...)
	if err == nil && sync != nil {
		err = sync()
	}
	if err != nil {
		return fmt.Errorf("notes: %w", err)
	}
	s.mu.Lock()
	for i := range ops {
		s.count(&ops[i], at[i], int64(len(contents[i])))
	}
	s.mu.Unlock()
	err = s.renew()
	s.changed.tell()
	return err
}

// Revoked returns the authors that were revoked.
func (s *Store) Revoked() (all []Author) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a, h := range s.authors {
		if h.counts != math.MaxUint64 {
			all = append(all, a)
		}
	}
	return all
}

// Have says how many operations of each of the authors are here.
func (s *Store) Have(authors map[Author]bool) (all []Have) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range authors {
		h := Have{Author: a}
		if known := s.authors[a]; known != nil {
			h.Count = uint64(len(known.at))
		}
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b Have) int { return bytes.Compare(a.Author[:], b.Author[:]) })
	return all
}

// A Cursor is where a device is that gets operations from this one. The zero Cursor gets none; see [Store.Want].
type Cursor struct {
	next map[Author]uint64 // the number of the operation to be given next
	at   int64             // in the log: all that was asked for and not given is behind
}

// Want takes in what a device asks for, the first time or again.
func (s *Store) Want(c *Cursor, have []Have) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.next == nil {
		c.next, c.at = map[Author]uint64{}, s.end
	}
	for _, w := range have {
		next, asked := c.next[w.Author]
		c.next[w.Author] = max(next, w.Count+1)
		if h := s.authors[w.Author]; !asked && h != nil && w.Count < uint64(len(h.at)) {
			c.at = min(c.at, h.at[w.Count])
		}
	}
}

// Next appends operations that a device has asked for and not been given, about so many bytes of them; none if it has been given
// all. They are read from the log: however many there are, they take no memory.
func (s *Store) Next(c *Cursor, b []byte, size int) ([]byte, error) {
	if c.next == nil {
		return b, nil
	}
	s.mu.Lock()
	end, counts := s.end, map[Author]uint64{}
	for a := range c.next {
		if h := s.authors[a]; h != nil {
			counts[a] = h.counts
		}
	}
	s.mu.Unlock()
	var err error
	c.at, err = s.log.Read(c.at, end, func(_ int64, content []byte) error {
		a, number := Author(content), binary.LittleEndian.Uint64(content[len(Author{}):])
		if next, ok := c.next[a]; ok && number == next && number <= counts[a] {
			c.next[a]++
			if b = append(b, content...); len(b) >= size {
				return errEnough
			}
		}
		return nil
	})
	return b, err
}
