package block

import (
	"fmt"

	"github.com/sdp2p/p2p/proto"
)

// A verdict says which part of an entry the receiver wants.
type verdict uint8

const (
	verdictNo    verdict = iota // not wanted
	verdictWhole                // from its first byte on; of a folder: wanted
	verdictHave                 // the receiver has it already
	verdictName                 // its name cannot be used
	verdictFrom                 // count of chunks, their hashes: the receiver has these
	verdictPart                 // start, end: only these bytes
)

// A wish is a verdict with its parameters.
//
//	size  field
//	1     verdict  00 no, 01 whole, 02 have, 03 unsafe name, 04 from a chunk on, 05 part
//	4     count    04 only: of chunks that the receiver has, at least 1; at most 65,536 in an answer
//	32 n  hashes   04 only: of these chunks
//	8     start    05 only
//	8     end      05 only; not before start, not beyond the file's end
type wish struct {
	verdict    verdict
	claims     []hash
	start, end int64
	unchanged  bool // not on the wire: the receiver has it by size and time alone
	changed    bool // not on the wire: the receiver has an earlier version, whose chunks may be reused
}

func (m *wish) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, byte(m.verdict))
	switch m.verdict {
	case verdictFrom:
		b = proto.AppendUint32(b, uint32(len(m.claims)))
		for i := range m.claims {
			b = append(b, m.claims[i][:]...)
		}
	case verdictPart:
		b = proto.AppendUint64(b, uint64(m.start))
		b = proto.AppendUint64(b, uint64(m.end))
	}
	return b, nil
}

// decode decodes the wish for a file of that size, or for a folder if size is
// negative. At most limit chunks may be claimed.
func (m *wish) decode(d *proto.Decoder, size int64, limit int) error {
	*m = wish{verdict: proto.DecodeEnum(d, "verdict", verdictNo, verdictWhole, verdictHave, verdictName, verdictFrom, verdictPart)}
	switch {
	case m.verdict > verdictName && size < 0:
		d.Fail(fmt.Errorf("%w verdict on a folder: %d", proto.ErrInvalid, m.verdict))
	case m.verdict == verdictFrom:
		n := d.Count32(limit)
		m.claims = proto.DecodeList(d, n, func(h *hash, d *proto.Decoder) error {
			d.Fixed(h[:])
			return d.Err()
		})
		if d.Err() == nil && (n == 0 || int64(n) > chunkCount(size, blockSize(size))) {
			d.Fail(fmt.Errorf("%w claim of %d chunks", proto.ErrInvalid, n))
		}
	case m.verdict == verdictPart:
		m.start, m.end = int64(d.Uint64()), int64(d.Uint64())
		if d.Err() == nil && (m.start < 0 || m.end < m.start || m.end > size) {
			d.Fail(fmt.Errorf("%w part: %d to %d of %d", proto.ErrInvalid, m.start, m.end, size))
		}
	}
	return d.Err()
}
