package codec

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/uuid"
	"github.com/sdp2p/p2p/internal/bench/codec/pb"
	"github.com/vmihailenco/msgpack/v5"
	"google.golang.org/protobuf/proto"
)

// Others returns the other usual codecs, the generated ones first.
func Others(m *Request) []Codec {
	return []Codec{
		&vtCodec{m: toProtobuf(m)}, &protobufCodec{m: toProtobuf(m)},
		newGob(m), &cborCodec{m: m}, newMsgpack(m), &jsonCodec{m: m.withUUID()},
	}
}

// protobufCodec is google.golang.org/protobuf with generated code.
type protobufCodec struct {
	m   *pb.Request
	buf []byte
}

func (c *protobufCodec) Name() string { return "protobuf" }
func (c *protobufCodec) Size() int    { return len(c.buf) }

func (c *protobufCodec) Encode() (err error) {
	c.buf, err = proto.MarshalOptions{}.MarshalAppend(c.buf[:0], c.m)
	return err
}

func (c *protobufCodec) Decode() (*Request, error) {
	var got pb.Request
	if err := proto.Unmarshal(c.buf, &got); err != nil {
		return nil, err
	}
	return fromProtobuf(&got)
}

func (c *protobufCodec) RoundTrip() error {
	if err := c.Encode(); err != nil {
		return err
	}
	var got pb.Request
	return proto.Unmarshal(c.buf, &got)
}

// vtCodec is protobuf with the methods that vtprotobuf generates. It neither
// takes messages from a pool nor leaves strings in the buffer, which vtprotobuf
// can: the others do not either.
type vtCodec struct {
	m   *pb.Request
	buf []byte
}

func (c *vtCodec) Name() string { return "vtprotobuf" }
func (c *vtCodec) Size() int    { return len(c.buf) }

func (c *vtCodec) Encode() error {
	size := c.m.SizeVT()
	c.buf = slices.Grow(c.buf[:0], size)[:size]
	_, err := c.m.MarshalToSizedBufferVT(c.buf)
	return err
}

func (c *vtCodec) Decode() (*Request, error) {
	var got pb.Request
	if err := got.UnmarshalVT(c.buf); err != nil {
		return nil, err
	}
	return fromProtobuf(&got)
}

func (c *vtCodec) RoundTrip() error {
	if err := c.Encode(); err != nil {
		return err
	}
	var got pb.Request
	return got.UnmarshalVT(c.buf)
}

func toProtobuf(m *Request) *pb.Request {
	to := &pb.Request{Id: m.ID[:], BlockSize: pb.BlockSize(m.BlockSize)}
	for _, f := range m.Files {
		file := &pb.File{Name: f.Name, Size: f.Size}
		if f.Range.Kind == Partial {
			file.Range = &pb.Range{Start: f.Range.Start, End: f.Range.End}
		}
		to.Files = append(to.Files, file)
	}
	return to
}

func fromProtobuf(m *pb.Request) (*Request, error) {
	to := &Request{BlockSize: BlockSize(m.BlockSize)}
	if n := copy(to.ID[:], m.Id); n != len(m.Id) || n != len(to.ID) {
		return nil, fmt.Errorf("id of %d bytes", len(m.Id))
	}
	for _, f := range m.Files {
		file := File{Name: f.Name, Size: f.Size}
		if f.Range != nil {
			file.Range = Range{Kind: Partial, Start: f.Range.Start, End: f.Range.End}
		}
		to.Files = append(to.Files, file)
	}
	return to, nil
}

// uuidRequest is a Request for the codecs that write an array number by number,
// and a UUID as bytes or text.
type uuidRequest struct {
	ID        uuid.UUID
	BlockSize BlockSize
	Files     []File
}

func (m *Request) withUUID() *uuidRequest { return &uuidRequest{m.ID, m.BlockSize, m.Files} }

func (m *uuidRequest) request() *Request {
	return &Request{ID: m.ID, BlockSize: m.BlockSize, Files: m.Files}
}

// gobCodec is encoding/gob on one stream of many messages, which it is made
// for: the types are sent once, with the first, and not counted after that.
type gobCodec struct {
	m    *uuidRequest
	buf  bytes.Buffer // what was not decoded yet
	size int
	enc  *gob.Encoder
	dec  *gob.Decoder
}

func newGob(m *Request) *gobCodec {
	c := &gobCodec{m: m.withUUID()}
	c.enc, c.dec = gob.NewEncoder(&c.buf), gob.NewDecoder(&c.buf)
	return c
}

func (c *gobCodec) Name() string { return "encoding/gob" }
func (c *gobCodec) Size() int    { return c.size }

func (c *gobCodec) Encode() error {
	before := c.buf.Len()
	err := c.enc.Encode(c.m)
	c.size = c.buf.Len() - before
	return err
}

func (c *gobCodec) Decode() (*Request, error) {
	var got uuidRequest
	err := c.dec.Decode(&got)
	return got.request(), err
}

func (c *gobCodec) RoundTrip() error {
	if err := c.Encode(); err != nil {
		return err
	}
	var got uuidRequest
	return c.dec.Decode(&got)
}

// cborCodec is fxamacker/cbor with structs as arrays, as the tags of Request
// say.
type cborCodec struct {
	m   *Request
	buf bytes.Buffer
}

func (c *cborCodec) Name() string { return "fxamacker/cbor" }
func (c *cborCodec) Size() int    { return c.buf.Len() }

func (c *cborCodec) Encode() error {
	c.buf.Reset()
	return cbor.MarshalToBuffer(c.m, &c.buf)
}

func (c *cborCodec) Decode() (*Request, error) {
	m := new(Request)
	return m, cbor.Unmarshal(c.buf.Bytes(), m)
}

func (c *cborCodec) RoundTrip() error {
	if err := c.Encode(); err != nil {
		return err
	}
	_, err := c.Decode()
	return err
}

// msgpackCodec is vmihailenco/msgpack with an encoder and a decoder that are
// kept, and with structs as arrays and short integers, as msgp writes them.
type msgpackCodec struct {
	m   *Request
	buf bytes.Buffer
	src *bytes.Reader
	enc *msgpack.Encoder
	dec *msgpack.Decoder
}

func newMsgpack(m *Request) *msgpackCodec {
	c := &msgpackCodec{m: m, src: bytes.NewReader(nil)}
	c.enc, c.dec = msgpack.NewEncoder(&c.buf), msgpack.NewDecoder(c.src)
	c.enc.UseArrayEncodedStructs(true)
	c.enc.UseCompactInts(true)
	return c
}

func (c *msgpackCodec) Name() string { return "vmihailenco/msgpack" }
func (c *msgpackCodec) Size() int    { return c.buf.Len() }

func (c *msgpackCodec) Encode() error {
	c.buf.Reset()
	return c.enc.Encode(c.m)
}

func (c *msgpackCodec) Decode() (*Request, error) {
	c.src.Reset(c.buf.Bytes())
	m := new(Request)
	return m, c.dec.Decode(m)
}

func (c *msgpackCodec) RoundTrip() error {
	if err := c.Encode(); err != nil {
		return err
	}
	_, err := c.Decode()
	return err
}

// jsonCodec is encoding/json.
type jsonCodec struct {
	m   *uuidRequest
	buf []byte
}

func (c *jsonCodec) Name() string { return "encoding/json" }
func (c *jsonCodec) Size() int    { return len(c.buf) }

func (c *jsonCodec) Encode() (err error) {
	c.buf, err = json.Marshal(c.m)
	return err
}

func (c *jsonCodec) Decode() (*Request, error) {
	var got uuidRequest
	err := json.Unmarshal(c.buf, &got)
	return got.request(), err
}

func (c *jsonCodec) RoundTrip() error {
	if err := c.Encode(); err != nil {
		return err
	}
	var got uuidRequest
	return json.Unmarshal(c.buf, &got)
}
