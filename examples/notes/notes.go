package main

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
)

// A Note is the present state of a note.
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

// A Membership is this device's part in a library: a [library.Library].
type Membership interface {
	ID() uuid.UUID
	Instance() identity.RemoteIdentity
	Roster() *roster.View // another one whenever it has changed
	Sign(purpose string, message []byte) [ed25519.SignatureSize]byte
}

// A Store stores the operations of a library in its log, and holds the
// resulting notes. Its methods may be called concurrently.
//
// Notes depend only on which operations there are, not on the order in which
// they arrived: field decides which of several values is shown, and stand whose
// operations count. The operations of removed members stay in the log, in case
// the roster admits them again.
type Store struct {
	library Membership
	self    Author
	changed broadcast // told when there are new operations, or others count

	adding sync.Mutex // held while operations are added; taken before mu
	log    *Log

	mu       sync.Mutex // guards what follows; it changes only while adding is held
	clock    *Clock
	notes    map[uuid.UUID]*note
	authors  map[Author]*history
	roster   *roster.View // from which standing was derived
	said     []revocation
	standing map[Author]standing
	settled  map[Author]bool
	end      int64  // of the counted operations in the log
	stale    bool   // notes have to be rebuilt from the log
	began    uint64 // number of our own operations when the store was opened
	known    uint64 // number of these that another device is known to have
}

// A history is the known operations of an author.
type history struct {
	at        []int64   // positions of its operations in the log: number 1 first
	signature Signature // of the last one
	shifts    []span    // disjoint, the earliest first
}

// A span says that an author's operations have stamps that are too early.
type span struct {
	first, last uint64
	ms          int64
}

// OpenStore opens the store in a folder. It returns the number of bytes of an
// unfinished operation that it has cut off; see [Log].
func OpenStore(folder string, l Membership, wall func() time.Time) (s *Store, cut int64, err error) {
	s = &Store{
		library: l, self: author(l.Instance()), clock: NewClock(wall), end: logHeader,
		notes: map[uuid.UUID]*note{}, authors: map[Author]*history{}, roster: l.Roster(),
	}
	s.restand()
	var d proto.Decoder
	s.log, cut, err = OpenLog(filepath.Join(folder, "notes.log"), l.ID(), func(at int64, content []byte) error {
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
	s.began = uint64(len(s.history(s.self).at))
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

// history returns the history of an author. The caller holds mu.
func (s *Store) history(a Author) *history {
	h := s.authors[a]
	if h == nil {
		h = &history{}
		s.authors[a] = h
	}
	return h
}

// restand updates the standing of authors. The caller holds mu, or is the only
// one.
func (s *Store) restand() {
	before := s.standing
	s.standing, s.settled = stand(s.roster, s.said)
	for a, h := range s.authors {
		was, is := before[a], s.standing[a]
		s.stale = s.stale || was.counts != is.counts && min(was.counts, is.counts) < uint64(len(h.at))
	}
	for a := range s.clock.others {
		if !s.standing[a].member {
			s.clock.Forget(a)
		}
	}
}

// Heed applies the present roster.
func (s *Store) Heed() error {
	s.mu.Lock()
	same := s.roster == s.library.Roster()
	s.mu.Unlock()
	if same {
		return nil
	}
	s.adding.Lock()
	defer s.adding.Unlock()
	s.mu.Lock()
	s.roster = s.library.Roster()
	s.restand()
	s.mu.Unlock()
	err := s.renew()
	s.changed.tell()
	return err
}

// count counts an operation that is in the log. The caller holds mu, or is the
// only one.
func (s *Store) count(o *Op, at, size int64) {
	h := s.history(o.Author)
	h.at, h.signature = append(h.at, at), o.Signature
	s.end = at + recordHeader + size
	s.clock.Observe(o.Stamp)
	switch o.Kind {
	case edit:
		if counts := s.standing[o.Author].counts; o.Number <= counts {
			apply(s.notes, o, h, counts)
		}
	case revoke:
		if !slices.ContainsFunc(s.said, func(r revocation) bool { return r.by == o.Author && r.removal == o.Removal }) {
			s.said = append(s.said, revocation{o.Author, o.Number, o.Removal, o.Count})
			s.restand()
		}
	case shift:
		if o.Author == s.self {
			s.clock.Correct(time.Duration(o.MS)*time.Millisecond, o.Sure)
		}
		if n := len(h.shifts); o.First >= o.Number || n > 0 && o.First <= h.shifts[n-1].last || o.MS == 0 {
			return // there is nothing to move, or it was moved before
		}
		h.shifts = append(h.shifts, span{o.First, o.Number, o.MS})
		s.stale = true
	}
}

// apply gives fields the values of an operation that counts.
func apply(notes map[uuid.UUID]*note, o *Op, h *history, counts uint64) {
	stamp := o.Stamp
	i, _ := slices.BinarySearchFunc(h.shifts, o.Number, func(p span, number uint64) int { return cmp.Compare(p.last, number) })
	if i < len(h.shifts) && h.shifts[i].first <= o.Number && h.shifts[i].last <= counts {
		stamp = stamp.Shift(h.shifts[i].ms)
	}
	mark := o.mark()
	for _, e := range o.Edits {
		n := notes[e.Note]
		if n == nil {
			n = &note{}
			notes[e.Note] = n
		}
		n[e.Field-1].set(value{e.Value, stamp, o.Author, o.Number, mark}, e.Over)
	}
}

// renew rebuilds the notes if the operations that count, or their stamps,
// differ from those applied. The caller holds adding, or is the only one.
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
		if counts := s.standing[o.Author].counts; o.Kind == edit && o.Number <= counts {
			apply(notes, &o, s.authors[o.Author], counts)
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

// Notes returns all notes, including deleted ones, ordered by ID.
func (s *Store) Notes() ([]Note, error) {
	if err := s.Heed(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Note, 0, len(s.notes))
	for id, n := range s.notes {
		all = append(all, Note{id, n[Title-1].now().text, n[Body-1].now().text, n[Deleted-1].now().text != ""})
	}
	slices.SortFunc(all, func(a, b Note) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return all, nil
}

// Digest returns a hash of all notes and the authors of their values. It is the
// same on all devices with the same notes.
func (s *Store) Digest() (sum [sha256.Size]byte, err error) {
	if err := s.Heed(); err != nil {
		return sum, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := sha256.New()
	for _, id := range slices.SortedFunc(maps.Keys(s.notes), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }) {
		h.Write(id[:])
		for i := range s.notes[id] {
			v := s.notes[id][i].now()
			fmt.Fprintf(h, "%q %d %x %d\n", v.text, v.stamp, v.author, v.number)
		}
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// errOut is returned to a removed device that wants to write.
var errOut = fmt.Errorf("notes: writes of this device do not count: %w", library.ErrNotMember)

// Set makes changes, all of them or none. When it returns, they are on the disk
// and are being sent to the others.
func (s *Store) Set(changes ...Change) error {
	return s.write(func() (ops []Op) {
		over := map[Change][]Mark{} // by note and field: the values that the next change replaces
		size := MaxOp
		for _, c := range changes {
			field := Change{Note: c.Note, Field: c.Field}
			if _, again := over[field]; !again && s.notes[c.Note] != nil && c.Field >= Title && c.Field <= Deleted {
				over[field] = s.notes[c.Note][c.Field-1].others(s.self)
			}
			e := Edit{c.Note, c.Field, over[field], c.Value}
			over[field] = nil // except for our own
			if size += e.size(); size > MaxOp || len(ops[len(ops)-1].Edits) == MaxEdits {
				ops = append(ops, Op{Kind: edit, Stamp: s.clock.Tick()})
				size = otherBytes + e.size()
			}
			o := &ops[len(ops)-1]
			o.Edits = append(o.Edits, e)
		}
		return ops
	})
}

// Known records how many of our operations another device says it has.
func (s *Store) Known(count uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = max(s.known, min(count, uint64(len(s.history(s.self).at))))
}

// Hear records by how much the clock of another device is ahead of this
// computer's; see [Drift]. It returns the resulting change of the correction.
func (s *Store) Hear(from Author, ahead time.Duration) (change time.Duration, err error) {
	err = s.write(func() []Op {
		if !s.standing[from].member {
			return nil
		}
		var sure, news bool
		if change, sure, news = s.clock.Hear(from, ahead); !news {
			return nil
		}
		h := s.history(s.self)
		first := s.known + 1 // nobody has these: they were stamped since we last met another device
		if !sure {
			first = max(first, s.began+1)
		}
		if n := len(h.shifts); n > 0 {
			first = max(first, h.shifts[n-1].last+1)
		}
		first = min(first, uint64(len(h.at))+1)
		return []Op{{Kind: shift, First: first, MS: change.Milliseconds(), Sure: sure, Stamp: s.clock.Tick()}}
	})
	return change, err
}

// write adds operations of our own. create is called with mu held, and leaves
// out the fields that write fills in.
func (s *Store) write(create func() []Op) error {
	if err := s.Heed(); err != nil {
		return err
	}
	s.adding.Lock()
	defer s.adding.Unlock()
	s.mu.Lock()
	ops := create()
	h := s.history(s.self)
	number, signature, out := uint64(len(h.at)), h.signature, !s.standing[s.self].member
	s.mu.Unlock()
	if out && len(ops) > 0 {
		return errOut
	}
	for i := range ops {
		number++
		ops[i].Author, ops[i].Number = s.self, number
		if err := ops[i].sign(s.library, signature); err != nil {
			return fmt.Errorf("notes: %w", err)
		}
		signature = ops[i].Signature
	}
	// On the disk before it is shared: after a power failure, the numbers must
	// not be used again.
	return s.keep(ops, s.log.Sync)
}

// A StrayError says that an operation cannot be added: its author did not sign
// it, or not as the successor of those that are here.
type StrayError struct {
	Author identity.RemoteIdentity
	Number uint64
	Err    error
}

func (e *StrayError) Error() string {
	return fmt.Sprintf("operation %d of %s: %v", e.Number, e.Author.Fingerprint(), e.Err)
}

func (e *StrayError) Unwrap() error { return e.Err }

// Add adds operations of others, those of each author in the order of their
// numbers. Those that are here, or do not count, are skipped. If one is not
// signed by its author, or there is a gap, it and the author's later ones are
// left out, and the error has a [StrayError] for it; other authors' operations
// are still added.
func (s *Store) Add(ops []Op) error {
	s.adding.Lock()
	defer s.adding.Unlock()
	type last struct {
		standing
		number    uint64
		signature Signature
		stray     bool
	}
	lasts := map[Author]*last{}
	var fresh []Op
	var failed error
	for _, o := range ops {
		l := lasts[o.Author]
		if l == nil {
			s.mu.Lock()
			h := s.authors[o.Author]
			if h == nil {
				h = &history{}
			}
			l = &last{standing: s.standing[o.Author], number: uint64(len(h.at)), signature: h.signature}
			s.mu.Unlock()
			lasts[o.Author] = l
		}
		if l.stray || o.Number <= l.number || o.Number > l.counts {
			continue
		}
		var err error
		if o.Number != l.number+1 {
			err = fmt.Errorf("notes: operation %d follows on %d", o.Number, l.number)
		} else {
			err = o.verify(s.library.ID(), l.id, l.signature)
		}
		if err != nil {
			l.stray = true
			failed = errors.Join(failed, &StrayError{l.id, o.Number, err})
			continue
		}
		l.number, l.signature = o.Number, o.Signature
		fresh = append(fresh, o)
	}
	return errors.Join(s.keep(fresh, nil), failed)
}

// keep appends operations to the log, and counts them. The caller holds adding.
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
