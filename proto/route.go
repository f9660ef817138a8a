package proto

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// MaxRoute is the size in bytes of the longest [Route].
const MaxRoute = 255

// ErrRoute is wrapped by the errors for a [Route] that is not 1 to 255 bytes of
// printable UTF-8. It wraps [ErrInvalid].
var ErrRoute = fmt.Errorf("%w route", ErrInvalid)

// A Route names the service that a stream is for. The opener of a routed
// /sdp2p/2 stream sends it first.
//
//	size  field
//	1     length n, 1 ≤ n ≤ 255
//	n     name, printable UTF-8
//
// Printable characters are those of unicode.IsPrint: letters, marks, numbers,
// punctuation, symbols and the space U+0020. They exclude control characters,
// line ends, invisible characters, and those that change the writing direction,
// so that a name can be logged as received.
type Route string

// Validate returns nil if r can be sent, and otherwise an error that wraps
// [ErrRoute].
func (r Route) Validate() error {
	if r == "" || len(r) > MaxRoute {
		return fmt.Errorf("%w: %d bytes, not 1 to %d", ErrRoute, len(r), MaxRoute)
	}
	if !utf8.ValidString(string(r)) {
		return fmt.Errorf("%w: not UTF-8", ErrRoute)
	}
	for _, c := range r {
		if !unicode.IsPrint(c) {
			return fmt.Errorf("%w: %U is not printable", ErrRoute, c)
		}
	}
	return nil
}

// AppendBinary appends r to b. It fails as [Route.Validate] does, and then
// returns b unchanged.
func (r Route) AppendBinary(b []byte) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return b, err
	}
	return append(AppendUint8(b, uint8(len(r))), r...), nil
}

// DecodeFrom replaces r with a name read from d. It fails as [Route.Validate]
// and the Decoder do; r is then unchanged.
func (r *Route) DecodeFrom(d *Decoder) error {
	n := int(d.Uint8())
	got := Route(d.next(n))
	if d.err == nil {
		d.Fail(got.Validate())
	}
	if err := d.Err(); err != nil {
		return err
	}
	*r = got
	return nil
}
