package block

import (
	"fmt"
	"time"

	"github.com/sdp2p/p2p/proto"
)

// A hello is the sender's first message.
//
//	size  field
//	1     'B'
//	1     version  2
//	16    ID       of the offer
type hello struct {
	id [16]byte
}

func (m *hello) AppendBinary(b []byte) ([]byte, error) {
	return proto.AppendUUID(append(b, 'B', version), m.id), nil
}

func (m *hello) DecodeFrom(d *proto.Decoder) error {
	if d.Uint8() != 'B' || d.Uint8() != version {
		d.Fail(fmt.Errorf("%w: %w", proto.ErrInvalid, ErrVersion))
	}
	m.id = d.UUID()
	return d.Err()
}

// An entry of an offer is a file, a folder, a file or folder that the sender
// had to leave out, or the end of the offer.
//
//	size  field
//	1     kind     01 folder, 02 file, 03 end, 0F left out
//	2+n   path     at most 4096 bytes, slashes between components; not of an end
//
//	      of a folder and a file:
//	2     mode     the nine bits of permission
//	8     seconds  of the time of modification, since 1970, signed
//	4     nanoseconds  below 1,000,000,000
//
//	      of a file:
//	16    ID
//	8     size     below 2^63
//	8     stored   bytes of it that are not holes, as far as known; at most size
//
//	      of an entry that is left out:
//	1     code     why
//
//	      of an end: totals
type entry struct {
	kind    kind
	path    string
	mode    uint16
	seconds int64
	nanos   uint32
	id      [16]byte
	size    int64
	stored  int64
	code    code
	totals  totals
}

// Totals are those of a whole transfer, which may have many offers.
//
//	size  field
//	4     files
//	4     folders
//	4     left out
//	8     bytes    of all files; below 2^63
//	8     stored   of these; at most bytes
type totals struct {
	files, folders, leftOut uint32
	bytes, stored           int64
}

// add counts an entry. It reports false if the totals overflow.
func (t *totals) add(e *entry) bool {
	switch e.kind {
	case kindFolder:
		t.folders++
		return t.folders > 0
	case kindLeftOut:
		t.leftOut++
		return t.leftOut > 0
	}
	t.files++
	t.bytes += e.size
	t.stored += e.stored
	return t.files > 0 && t.bytes >= 0 && t.stored >= 0
}

// within reports whether no total of t exceeds that of all.
func (t *totals) within(all *totals) bool {
	return t.files <= all.files && t.folders <= all.folders && t.leftOut <= all.leftOut &&
		t.bytes <= all.bytes && t.stored <= all.stored
}

func (m *entry) AppendBinary(b []byte) ([]byte, error) {
	n := len(b)
	b, err := proto.AppendEnum(b, "entry", m.kind, kindFolder, kindFile, kindOffered, kindLeftOut)
	if err != nil {
		return b, err
	}
	if err := m.valid(); err != nil {
		return b[:n], err
	}
	if m.kind == kindOffered {
		b = proto.AppendUint32(b, m.totals.files)
		b = proto.AppendUint32(b, m.totals.folders)
		b = proto.AppendUint32(b, m.totals.leftOut)
		b = proto.AppendUint64(b, uint64(m.totals.bytes))
		return proto.AppendUint64(b, uint64(m.totals.stored)), nil
	}
	if b, err = proto.AppendStringMax(b, m.path, maxPath); err != nil {
		return b[:n], err
	}
	if m.kind == kindLeftOut {
		return append(b, byte(m.code)), nil
	}
	b = proto.AppendUint16(b, m.mode)
	b = proto.AppendUint64(b, uint64(m.seconds))
	b = proto.AppendUint32(b, m.nanos)
	if m.kind == kindFile {
		b = proto.AppendUUID(b, m.id)
		b = proto.AppendUint64(b, uint64(m.size))
		b = proto.AppendUint64(b, uint64(m.stored))
	}
	return b, nil
}

func (m *entry) DecodeFrom(d *proto.Decoder) error {
	k := proto.DecodeEnum(d, "entry", kindFolder, kindFile, kindOffered, kindLeftOut)
	return m.fields(k, d)
}

// fields decodes the fields after the kind.
func (m *entry) fields(k kind, d *proto.Decoder) error {
	*m = entry{kind: k}
	if d.Err() != nil {
		return d.Err()
	}
	if k == kindOffered {
		t := &m.totals
		t.files, t.folders, t.leftOut = d.Uint32(), d.Uint32(), d.Uint32()
		t.bytes, t.stored = int64(d.Uint64()), int64(d.Uint64())
	} else {
		m.path = d.String(maxPath)
	}
	switch k {
	case kindFolder, kindFile:
		m.mode = d.Uint16()
		m.seconds = int64(d.Uint64())
		m.nanos = d.Uint32()
	case kindLeftOut:
		m.code = code(d.Uint8())
	}
	if k == kindFile {
		m.id = d.UUID()
		m.size, m.stored = int64(d.Uint64()), int64(d.Uint64())
	}
	if d.Err() == nil {
		d.Fail(m.valid())
	}
	return d.Err()
}

func (m *entry) valid() error {
	t := &m.totals
	switch {
	case m.mode > 0o777 || m.nanos >= 1e9 || m.size < 0 || m.stored < 0 || m.stored > m.size:
		return fmt.Errorf("%w entry: mode %#o, %d ns, %d of %d bytes stored", proto.ErrInvalid, m.mode, m.nanos, m.stored, m.size)
	case t.bytes < 0 || t.stored < 0 || t.stored > t.bytes:
		return fmt.Errorf("%w totals: %d of %d bytes stored", proto.ErrInvalid, t.stored, t.bytes)
	}
	return nil
}

func (m *entry) modTime() time.Time { return time.Unix(m.seconds, int64(m.nanos)) }

// isLarge reports whether a file has more than one chunk, so that chunks of an
// earlier version may be reused.
func isLarge(e *entry) bool { return e.size > blockSize(e.size) }
