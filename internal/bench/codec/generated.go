package codec

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/sdp2p/p2p/internal/bench/codec/protogen"
	"github.com/sdp2p/p2p/internal/bench/race"
	"github.com/sdp2p/p2p/internal/bench/report"
	"github.com/sdp2p/p2p/proto"
)

// protogenCodec is package proto with generated code. It does what protoCodec
// does.
type protogenCodec struct {
	m   *protogen.Request
	buf []byte
	src *bytes.Reader
	r   *bufio.Reader
	d   *proto.Decoder
}

func newProtogen(m *Request) *protogenCodec {
	c := &protogenCodec{m: toProtogen(m), src: bytes.NewReader(nil)}
	c.r = bufio.NewReaderSize(c.src, bufferSize)
	c.d = proto.NewDecoder(c.r)
	return c
}

func (c *protogenCodec) Name() string { return "proto, generated" }
func (c *protogenCodec) Size() int    { return len(c.buf) }

func (c *protogenCodec) Encode() (err error) {
	c.buf, err = c.m.AppendBinary(c.buf[:0])
	return err
}

func (c *protogenCodec) Decode() (*Request, error) {
	var m protogen.Request
	if err := c.decode(&m); err != nil {
		return nil, err
	}
	return fromProtogen(&m), nil
}

func (c *protogenCodec) decode(m *protogen.Request) error {
	c.src.Reset(c.buf)
	c.r.Reset(c.src)
	c.d.Reset(c.r)
	return m.DecodeFrom(c.d)
}

func (c *protogenCodec) RoundTrip() error {
	if err := c.Encode(); err != nil {
		return err
	}
	var got protogen.Request
	return c.decode(&got)
}

func toProtogen(m *Request) *protogen.Request {
	to := &protogen.Request{ID: m.ID, BlockSize: protogen.BlockSize(m.BlockSize)}
	for _, f := range m.Files {
		file := protogen.File{Name: f.Name, Size: f.Size}
		if f.Range.Kind == Partial {
			file.Range = proto.Some(protogen.Range{Start: f.Range.Start, End: f.Range.End})
		}
		to.Files = append(to.Files, file)
	}
	return to
}

func fromProtogen(m *protogen.Request) *Request {
	to := &Request{ID: m.ID, BlockSize: BlockSize(m.BlockSize)}
	for _, f := range m.Files {
		file := File{Name: f.Name, Size: f.Size}
		if r, ok := f.Range.Get(); ok {
			file.Range = Range{Kind: Partial, Start: r.Start, End: r.End}
		}
		to.Files = append(to.Files, file)
	}
	return to
}

// compareGenerated measures generated code against the same by hand, and
// against msgp.
func compareGenerated(ctx context.Context, t *report.Table, files int, r race.Race) error {
	m := Sample(files)
	codecs := []Codec{newProtogen(m), newProto(m), newMsgp(m), newMsgpStream(m)}
	all, err := together(ctx, codecs, r)
	if err != nil {
		return err
	}
	for i := range all {
		all[i].allocs = report.Sample{testing.AllocsPerRun(100, func() { err = codecs[i].RoundTrip() })}
		if err != nil {
			return err
		}
	}
	for i, peer := range all[1:] {
		goal := 0.75
		if i == 0 {
			goal = 1.02
		}
		name := peer.codec.Name()
		if i == 0 {
			name = "proto, by hand"
		}
		t.Add(report.Figure{
			What: fmt.Sprintf("%d files: generated: encode and decode", files), Unit: "ns",
			Peer: name, Theirs: peer.both, Ours: all[0].both, Ratio: goal,
		})
		t.Add(report.Figure{
			What: fmt.Sprintf("%d files: generated: allocations to encode and decode", files),
			Peer: name, Theirs: peer.allocs, Ours: all[0].allocs,
		})
	}
	return nil
}
