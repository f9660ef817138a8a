package proto_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sdp2p/p2p/proto"
)

// BlockSize is the size of the blocks in which files are sent.
type BlockSize uint8

const (
	Block128K BlockSize = iota
	Block1M
	Block16M
)

const (
	MaxFiles = 255
	MaxName  = 255 // bytes
)

// A Request asks for files.
//
//	size  field
//	16    ID
//	1     BlockSize
//	1     count of Files, n ≤ 255
//	…     n × File
type Request struct {
	ID        [16]byte
	BlockSize BlockSize
	Files     []File
}

// A File is one file of a [Request].
//
//	size  field
//	2+n   Name     n ≤ 255, UTF-8
//	8     Size     bytes
//	1/17  Range    optional: start and end, u64 each
type File struct {
	Name  string
	Size  uint64
	Part  bool // only the bytes from Start to End
	Start uint64
	End   uint64
}

func (m *Request) AppendBinary(b []byte) ([]byte, error) {
	out := proto.AppendUUID(b, m.ID)
	out, err := proto.AppendEnum(out, "block size", m.BlockSize, Block128K, Block1M, Block16M)
	if err != nil {
		return b, err
	}
	if out, err = proto.AppendCount8(out, len(m.Files), MaxFiles); err != nil {
		return b, err
	}
	for i := range m.Files {
		if out, err = m.Files[i].AppendBinary(out); err != nil {
			return b, err
		}
	}
	return out, nil
}

func (m *Request) DecodeFrom(d *proto.Decoder) error {
	m.ID = d.UUID()
	m.BlockSize = proto.DecodeEnum(d, "block size", Block128K, Block1M, Block16M)
	m.Files = proto.DecodeList(d, d.Count8(MaxFiles), (*File).DecodeFrom)
	return d.Err()
}

func (f *File) AppendBinary(b []byte) ([]byte, error) {
	out, err := proto.AppendStringMax(b, f.Name, MaxName)
	if err != nil {
		return b, err
	}
	out = proto.AppendUint64(out, f.Size)
	if out = proto.AppendOptional(out, f.Part); f.Part {
		out = proto.AppendUint64(out, f.Start)
		out = proto.AppendUint64(out, f.End)
	}
	return out, nil
}

func (f *File) DecodeFrom(d *proto.Decoder) error {
	f.Name = d.String(MaxName)
	f.Size = d.Uint64()
	if f.Part = d.Optional(); f.Part {
		f.Start = d.Uint64()
		f.End = d.Uint64()
	}
	return d.Err()
}

// A message of your own has its layout in its comment, an AppendBinary that
// validates and appends, and a DecodeFrom that mirrors AppendBinary.
func Example() {
	sent := Request{BlockSize: Block1M, Files: []File{
		{Name: "holiday.jpeg", Size: 2_400_000},
		{Name: "film.mkv", Size: 9_000_000_000, Part: true, Start: 1 << 20, End: 2 << 20},
	}}
	b, err := sent.AppendBinary(nil)
	if err != nil {
		fmt.Println(err)
		return
	}

	var received Request
	stream := bytes.NewBuffer(append(b, "what follows"...))
	if err := received.DecodeFrom(proto.NewDecoder(stream)); err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range received.Files {
		fmt.Println(f.Name, f.Size, f.Part)
	}
	fmt.Println(stream)
	// Output:
	// holiday.jpeg 2400000 false
	// film.mkv 9000000000 true
	// what follows
}

func ExampleMetadata() {
	b, err := proto.Metadata{"name": "Laptop", "operating_system": "linux"}.AppendBinary(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	var m proto.Metadata
	if err := m.DecodeFrom(proto.NewDecoder(bytes.NewReader(b))); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m["name"], "runs", m["operating_system"])
	// Output: Laptop runs linux
}

func ExampleMetadataError() {
	err := proto.Metadata{"name": strings.Repeat("x", 300)}.Validate()
	if e, ok := errors.AsType[*proto.MetadataError](err); ok {
		fmt.Println(e.Key, errors.Is(err, proto.ErrMetadataValue))
	}
	fmt.Println(err)
	// Output:
	// name true
	// proto: invalid metadata value: 305 bytes with its key, over 255: entry "name"
}

func ExampleRoute() {
	b, err := proto.Route("echo").AppendBinary(nil)
	fmt.Printf("%q %v\n", b, err)
	_, err = proto.Route("echo\n").AppendBinary(nil)
	fmt.Println(err)
	// Output:
	// "\x04echo" <nil>
	// proto: invalid route: U+000A is not printable
}

// Several messages on one stream, until it ends.
func ExampleDecoder_Reset() {
	var b []byte
	for _, r := range []proto.Route{"echo", "sync"} {
		b, _ = r.AppendBinary(b)
	}
	stream := bytes.NewReader(b)
	d := proto.NewDecoder(stream)
	for {
		var r proto.Route
		if err := r.DecodeFrom(d); err == io.EOF {
			break
		} else if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(r)
		d.Reset(stream)
	}
	// Output:
	// echo
	// sync
}
