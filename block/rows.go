package block

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/sdp2p/p2p/proto"
)

// A row records that a file was placed, and how it was offered. It is valid
// only as long as the file has the same ident.
//
//	offered   2+n   path, as it was offered
//	here      2+n   path in the destination
//	seconds   8     of the time of modification, as it was offered
//	nanos     4
//	device    8     of the file, in its place; 0 is that of the destination
//	file      8
//	size      8
//	time      8     of modification, in nanoseconds since 1970
//	before    8     offset of the row of the same path that this one supersedes; 0 if none
//	hashes    32 n  of the chunks
type row struct {
	offered, here string
	seconds       int64
	nanos         uint32
	ident         ident
	before        int64
	hashes        []hash
}

// A rowKind is the first byte of a row in an index.
type rowKind uint8

const (
	rowFile   rowKind = iota + 1 // a file: see row
	rowFolder                    // a folder that was the first component of paths: offered, here, device, file
	rowSpent                     // bytes that the sender has sent, bytes that were hashed for it, and when: seconds since 1970
)

const (
	indexMagic = "sdp2p index 1\n"
	maxRow     = 3*maxPath + maxChunks*len(hash{}) // bytes
	rowFrame   = 1 + 4 + 4                         // bytes around a row: kind, length, checksum
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errRow     = errors.New("block: no row")
)

// appendRow appends content with its frame.
func appendRow(b []byte, k rowKind, content []byte) []byte {
	start := len(b)
	b = append(b, byte(k))
	b = append(proto.AppendUint32(b, uint32(len(content))), content...)
	return proto.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// readRow reads a row and returns its kind and content. It uses b if that is
// large enough. An incomplete or corrupted row ends the index.
func readRow(r io.Reader, b []byte) (rowKind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, b, errRow
	}
	n := int(binary.LittleEndian.Uint32(head[1:]))
	if n > maxRow {
		return 0, b, errRow
	}
	if cap(b) < n+4 {
		b = make([]byte, n+4)
	}
	b = b[:n+4]
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, b, errRow
	}
	if binary.LittleEndian.Uint32(b[n:]) != crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, b[:n]) {
		return 0, b, errRow
	}
	return rowKind(head[0]), b[:n], nil
}

// appendTo appends a row with the given device.
func (m *row) appendTo(b []byte, device uint64) ([]byte, error) {
	b, err := proto.AppendStringMax(b, m.offered, maxPath)
	if err != nil {
		return b, err
	}
	if b, err = proto.AppendStringMax(b, m.here, maxPath+maxName); err != nil {
		return b, err
	}
	b = proto.AppendUint32(proto.AppendUint64(b, uint64(m.seconds)), m.nanos)
	for _, n := range []uint64{device, m.ident.file, uint64(m.ident.size), uint64(m.ident.time), uint64(m.before)} {
		b = proto.AppendUint64(b, n)
	}
	for i := range m.hashes {
		b = append(b, m.hashes[i][:]...)
	}
	return b, nil
}

// decodeRow decodes a row, with its hashes if hashes is set.
func decodeRow(content []byte, hashes bool) (*row, error) {
	in := bytes.NewReader(content)
	d := proto.NewDecoder(in)
	m := &row{offered: d.String(maxPath), here: d.String(maxPath + maxName)}
	m.seconds, m.nanos = int64(d.Uint64()), d.Uint32()
	m.ident = ident{device: d.Uint64(), file: d.Uint64(), size: int64(d.Uint64()), time: int64(d.Uint64()), kind: regularKind}
	m.before = int64(d.Uint64())
	n := int64(in.Len() / len(hash{}))
	switch {
	case d.Err() != nil:
		return nil, d.Err()
	case m.ident.size < 0 || n > 0 && n != chunkCount(m.ident.size, blockSize(m.ident.size)):
		return nil, errRow
	case hashes:
		m.hashes = make([]hash, n)
		for i := range m.hashes {
			d.Fixed(m.hashes[i][:])
		}
	}
	return m, d.Err()
}

// unchanged reports whether e has the size and the time of modification of the
// file of m. A zero time never matches.
func (m *row) unchanged(e *entry) bool {
	return m.ident.size == e.size && m.seconds == e.seconds && m.nanos == e.nanos && !e.modTime().IsZero()
}
