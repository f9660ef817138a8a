package block

import (
	"bytes"
	"errors"
	"io"

	"github.com/zeebo/blake3"

	"github.com/sdp2p/p2p/proto"
)

const maxRecord = 2 * (maxPath + 64) // bytes of its content

// A recordType is the type of a record of a journal.
type recordType uint8

const (
	recordHeader recordType = iota + 1 // key
	recordTop                          // offered, here
	recordBegin                        // number, ID, size
	recordChunk                        // number, chunk, hash
	recordPlace                        // number, ID, size, seconds, nanoseconds, path (empty: withdrawn), hold
	recordSwap                         // number, path, device and file of the new file; device, file, size and time of the old one
)

// A begun file is one of which some chunks may have arrived.
type begun struct {
	number uint32
	size   int64
	hashes []hash // of the chunks that were verified when they arrived; zero for others
}

// A place says where a file should be placed.
type place struct {
	number uint32
	entry  entry // ID, size and time of modification as they were offered
	path   string
	hold   bool // an empty file may reserve the name, on file systems without hard links
}

func appendRecord(b []byte, typ recordType, content []byte) []byte {
	start := len(b)
	b = append(b, byte(typ))
	b = append(proto.AppendUint16(b, uint16(len(content))), content...)
	sum := blake3.Sum256(b[start:])
	return append(b, sum[:8]...)
}

// errRecord says that there is no further valid record.
var errRecord = errors.New("block: no record")

func readRecord(r io.Reader) (recordType, []byte, error) {
	d := proto.NewDecoder(r)
	typ, n := d.Uint8(), int(d.Uint16())
	if d.Err() != nil || n > maxRecord {
		return 0, nil, errRecord
	}
	b := append([]byte{typ}, byte(n), byte(n>>8))
	b = append(b, make([]byte, n)...)
	d.Fixed(b[3:])
	var sum [8]byte
	d.Fixed(sum[:])
	if d.Err() != nil {
		return 0, nil, errRecord
	}
	if want := blake3.Sum256(b); !bytes.Equal(sum[:], want[:8]) {
		return 0, nil, errRecord
	}
	return recordType(typ), b[3:], nil
}

func decodePlace(d *proto.Decoder) (p place) {
	p.number = d.Uint32()
	p.entry.id = d.UUID()
	p.entry.size = int64(d.Uint64())
	p.entry.seconds, p.entry.nanos = int64(d.Uint64()), d.Uint32()
	p.path = d.String(maxPath + maxName)
	p.hold = d.Bool()
	return p
}

// A swap describes the replacement of a file.
type swap struct {
	path string
	new  ident // of the data file
	old  ident
}

func decodeSwap(d *proto.Decoder) (number uint32, s swap) {
	number, s.path = d.Uint32(), d.String(maxPath+maxName)
	s.new = ident{device: d.Uint64(), file: d.Uint64(), kind: regularKind}
	s.old = ident{device: d.Uint64(), file: d.Uint64(), size: int64(d.Uint64()), time: int64(d.Uint64()), kind: regularKind}
	return number, s
}
