package block

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// hints judges progress, which may be a hint.
func (r *referee) hints(m *message) error {
	h, entry := hint(m.received>>32), int(uint16(m.received))
	if m.received < 1<<63 || h != hintUnchanged && h != hintChanged {
		return nil
	}
	if r.state[receivers] != rDeciding || entry >= len(r.entries) || int(m.received>>16&0xFFFF) >= len(r.entries) {
		return fmt.Errorf("hint %x", m.received)
	}
	r.entries[entry].changed = h == hintChanged
	return nil
}

// tells judges the hashes at the beginning of a file.
func (r *referee) tells(m *message) (phase, error) {
	i := int(m.entry)
	if i < len(r.entries) && (!r.entries[i].changed || r.entries[i].chunks < 2 || int64(len(m.hashes)) != r.entries[i].chunks) {
		return "", fmt.Errorf("%d hashes of entry %d", len(m.hashes), i)
	}
	if _, err := r.begins(&message{entry: m.entry}); err != nil {
		return "", err
	}
	return sTold, nil
}

// claims judges the receiver's claims about a file whose hashes it was told.
func (r *referee) claims(m *message) (phase, error) {
	e := &r.entries[r.current.entry]
	if r.state[senders] != sTold || int(m.entry) != r.current.entry || int64(len(m.states)) != e.chunks {
		return "", fmt.Errorf("claims of %d chunks of entry %d", len(m.states), m.entry)
	}
	pieces := 0
	for i, s := range m.states {
		if s == 2 {
			size := min(max(e.block/64, 8<<10), 128<<10)
			pieces += int((e.chunk(0, uint32(i)).left + size - 1) / size)
		}
	}
	if pieces != len(m.pieces) {
		return "", fmt.Errorf("%d pieces, not %d", len(m.pieces), pieces)
	}
	e.states = m.states
	r.state[senders] = sFile
	r.skip()
	return rTaking, nil
}

// skip moves on past chunks that the receiver has.
func (r *referee) skip() {
	c := &r.current
	for states := r.entries[c.entry].states; int(c.chunk) < len(states) && states[c.chunk] == 1; {
		*c = r.entries[c.entry].chunk(c.entry, c.chunk+1)
	}
}

// copies judges data for a chunk of which the receiver has pieces.
func (r *referee) copies(m *message) (phase, error) {
	states := r.entries[r.current.entry].states
	if int(r.current.chunk) >= len(states) || states[r.current.chunk] != 2 {
		return "", errors.New("old data of a chunk that has none")
	}
	return r.brings(m)
}

// unpacks judges each entry of a pack.
func (r *referee) unpacks(of side, m *message, in *bytes.Reader) error {
	b := make([]byte, m.size)
	if n, _ := in.Read(b); n < len(b) {
		return io.ErrUnexpectedEOF
	}
	r.seen[fmt.Sprintf("%v %v %d", of, r.state[of], m.kind)]++
	return unpack(b, func(e *entry) error {
		return r.judge(of, &message{kind: e.kind}, e, nil)
	})
}
