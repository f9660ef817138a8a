package proto

import (
	"encoding/binary"
	"fmt"
	"math"
)

// An Extent is the end of a part of a message that is preceded by its length, a
// u32. It lets a receiver that knows only the part's first fields skip the
// others, and one that knows more fields see where they end. [Decoder.Begin]
// returns it.
type Extent struct{ end uint64 }

// Begin reads the length of a part, 4 bytes. The caller reads the part's fields
// next, optional last ones only if [Decoder.More] is true, and then calls
// [Decoder.End]. A length over limit bytes is a [*LimitError]. Parts may be
// nested.
func (d *Decoder) Begin(limit int) Extent {
	n := d.count(uint64(d.Uint32()), "message", limit)
	return Extent{d.position() + uint64(n)}
}

// More reports whether the part has more bytes.
func (d *Decoder) More(e Extent) bool { return d.err == nil && d.position() < e.end }

// End skips the rest of the part. It also checks, which nothing does before,
// that the fields did not extend beyond the part.
func (d *Decoder) End(e Extent) {
	if d.err != nil {
		return
	}
	if at := d.position(); at > e.end {
		d.Fail(fmt.Errorf("%w message: %d bytes longer than it says", ErrInvalid, at-e.end))
		return
	}
	for d.More(e) {
		d.next(int(min(e.end-d.position(), 4096)))
	}
}

// position returns how many bytes were read since the last Reset.
func (d *Decoder) position() uint64 { return d.past + uint64(d.pos) }

// PutLength stores the length of the rest of p in its first 4 bytes, a u32,
// which the caller has reserved in front of a part that is to be read with
// [Decoder.Begin]. It fails with a [*LimitError] if the length is over limit
// bytes.
func PutLength(p []byte, limit int) error {
	if err := checkSize("message", len(p)-4, limit, math.MaxUint32); err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(p, uint32(len(p)-4))
	return nil
}
