// Package codec compares the SDK's package proto with the other usual codecs,
// on one message: above all with tinylib/msgp, a generated MessagePack codec,
// which like proto can append to a reused buffer and read from a buffered
// stream.
//
// All fill the same Go structs, but for protobuf, which has its own in package
// pb, and for gob and JSON, whose ID is a uuid.UUID. The generated code is
// committed; `go generate ./...` makes it again, with Go alone.
package codec

import (
	"fmt"

	"github.com/sdp2p/p2p/proto"
)

//go:generate go tool msgp -file request.go -o request_gen.go -tests=false

//msgp:tuple Request File Range

// BlockSize is the size of the blocks that a file is sent in.
type BlockSize uint8

// The block sizes.
const (
	Block128K BlockSize = iota
	Block256K
	Block512K
	Block1M
	Block16M
)

// RangeKind tells which part of a file is wanted.
type RangeKind uint8

// The kinds of range.
const (
	Full    RangeKind = iota // all of it
	Partial                  // from Start to End
)

const (
	maxName  = 255 // bytes
	maxFiles = 255
)

// A Request asks a peer for files.
//
//	size  field
//	16    ID
//	1     BlockSize
//	1     count of Files, n ≤ 255
//	…     n × File
type Request struct {
	_ struct{} `cbor:",toarray"`

	ID        [16]byte
	BlockSize BlockSize
	Files     []File
}

// A File is one file of a [Request].
//
//	size  field
//	2+n   Name     n ≤ 255, UTF-8
//	8     Size     bytes
//	1/17  Range
type File struct {
	_ struct{} `cbor:",toarray"`

	Name  string
	Size  uint64
	Range Range
}

// A Range is the wanted part of a file, in bytes.
//
//	size  field
//	1     Kind
//	8     Start    only if Kind is Partial
//	8     End      only if Kind is Partial
type Range struct {
	_ struct{} `cbor:",toarray"`

	Kind       RangeKind
	Start, End uint64
}

// AppendBinary appends the request to b. On error it returns b as it was.
func (m *Request) AppendBinary(b []byte) ([]byte, error) {
	out := proto.AppendUUID(b, m.ID)
	out, err := proto.AppendEnum(out, "block size", m.BlockSize, Block128K, Block256K, Block512K, Block1M, Block16M)
	if err != nil {
		return b, err
	}
	if out, err = proto.AppendCount8(out, len(m.Files), maxFiles); err != nil {
		return b, err
	}
	for i := range m.Files {
		if out, err = m.Files[i].AppendBinary(out); err != nil {
			return b, err
		}
	}
	return out, nil
}

// DecodeFrom reads the request.
func (m *Request) DecodeFrom(d *proto.Decoder) error {
	m.ID = d.UUID()
	m.BlockSize = proto.DecodeEnum(d, "block size", Block128K, Block256K, Block512K, Block1M, Block16M)
	m.Files = proto.DecodeList(d, d.Count8(maxFiles), (*File).DecodeFrom)
	return d.Err()
}

// AppendBinary appends the file to b. On error it returns b as it was.
func (f *File) AppendBinary(b []byte) ([]byte, error) {
	out, err := proto.AppendStringMax(b, f.Name, maxName)
	if err != nil {
		return b, err
	}
	out = proto.AppendUint64(out, f.Size)
	if out, err = f.Range.AppendBinary(out); err != nil {
		return b, err
	}
	return out, nil
}

// DecodeFrom reads the file.
func (f *File) DecodeFrom(d *proto.Decoder) error {
	f.Name = d.String(maxName)
	f.Size = d.Uint64()
	return f.Range.DecodeFrom(d)
}

// AppendBinary appends the range to b. On error it returns b as it was.
func (r *Range) AppendBinary(b []byte) ([]byte, error) {
	out, err := proto.AppendEnum(b, "range", r.Kind, Full, Partial)
	if err == nil && r.Kind == Partial {
		out = proto.AppendUint64(out, r.Start)
		out = proto.AppendUint64(out, r.End)
	}
	return out, err
}

// DecodeFrom reads the range.
func (r *Range) DecodeFrom(d *proto.Decoder) error {
	r.Kind = proto.DecodeEnum(d, "range", Full, Partial)
	if r.Kind == Partial {
		r.Start = d.Uint64()
		r.End = d.Uint64()
	}
	return d.Err()
}

// Sample returns a request for n files, every other one in part. It is the same
// at each call.
func Sample(n int) *Request {
	m := &Request{BlockSize: Block1M}
	for i := range m.ID {
		m.ID[i] = byte(0xA0 + i)
	}
	for i := range n {
		f := File{Name: fmt.Sprintf("IMG_2024_%06d.jpeg", i*7919), Size: 2_400_000 + uint64(i)*7_654_321}
		if i%2 == 1 {
			f.Range = Range{Kind: Partial, Start: f.Size / 3, End: f.Size}
		}
		m.Files = append(m.Files, f)
	}
	return m
}
