package codec

import (
	"bufio"
	"bytes"

	"github.com/sdp2p/p2p/proto"
	"github.com/tinylib/msgp/msgp"
)

// bufferSize is the size in bytes of the buffers that streams are read through,
// the default of bufio.
const bufferSize = 4096

// A Codec encodes one request into a buffer of its own that it reuses if its
// library can, and decodes it again. It keeps its readers, as a program does
// that reads message after message, and must not be used by two goroutines at
// once.
type Codec interface {
	Name() string
	Encode() error
	Decode() (*Request, error) // what was encoded last
	RoundTrip() error          // Encode, and decode into a new message
	Size() int                 // the size in bytes of what was encoded last
}

// Codecs returns the codecs that are compared in all respects: proto, and msgp
// in each of the ways that it offers. The first of msgp's is its fastest that
// decodes from a stream, as proto does; the last one has the whole message in
// memory.
func Codecs(m *Request) []Codec {
	return []Codec{newProto(m), newMsgp(m), newMsgpStream(m), &msgpBytes{m: m}}
}

// protoCodec is package proto: it appends to a buffer, and decodes from a
// bufio.Reader.
type protoCodec struct {
	m   *Request
	buf []byte
	src *bytes.Reader
	r   *bufio.Reader
	d   *proto.Decoder
}

func newProto(m *Request) *protoCodec {
	c := &protoCodec{m: m, src: bytes.NewReader(nil)}
	c.r = bufio.NewReaderSize(c.src, bufferSize)
	c.d = proto.NewDecoder(c.r)
	return c
}

func (c *protoCodec) Name() string { return "proto" }
func (c *protoCodec) Size() int    { return len(c.buf) }

func (c *protoCodec) Encode() (err error) {
	c.buf, err = c.m.AppendBinary(c.buf[:0])
	return err
}

func (c *protoCodec) Decode() (*Request, error) {
	m := new(Request)
	return m, c.decode(m)
}

func (c *protoCodec) decode(m *Request) error {
	c.src.Reset(c.buf)
	c.r.Reset(c.src)
	c.d.Reset(c.r)
	return m.DecodeFrom(c.d)
}

func (c *protoCodec) RoundTrip() error {
	if err := c.Encode(); err != nil {
		return err
	}
	var got Request
	return c.decode(&got)
}

// msgpCodec is msgp that appends to a buffer, and decodes from a msgp.Reader,
// which is a buffered one.
type msgpCodec struct {
	m   *Request
	buf []byte
	src *bytes.Reader
	r   *msgp.Reader
}

func newMsgp(m *Request) *msgpCodec {
	src := bytes.NewReader(nil)
	return &msgpCodec{m: m, src: src, r: msgp.NewReaderSize(src, bufferSize)}
}

func (c *msgpCodec) Name() string { return "msgp MarshalMsg, DecodeMsg" }
func (c *msgpCodec) Size() int    { return len(c.buf) }

func (c *msgpCodec) Encode() (err error) {
	c.buf, err = c.m.MarshalMsg(c.buf[:0])
	return err
}

func (c *msgpCodec) Decode() (*Request, error) {
	m := new(Request)
	return m, c.decode(m)
}

func (c *msgpCodec) decode(m *Request) error {
	c.src.Reset(c.buf)
	c.r.Reset(c.src)
	return m.DecodeMsg(c.r)
}

func (c *msgpCodec) RoundTrip() error {
	if err := c.Encode(); err != nil {
		return err
	}
	var got Request
	return c.decode(&got)
}

// msgpStream is msgp that encodes to a msgp.Writer, and decodes from a
// msgp.Reader.
type msgpStream struct {
	m   *Request
	buf bytes.Buffer
	w   *msgp.Writer
	src *bytes.Reader
	r   *msgp.Reader
}

func newMsgpStream(m *Request) *msgpStream {
	c := &msgpStream{m: m, src: bytes.NewReader(nil)}
	c.w = msgp.NewWriterSize(&c.buf, bufferSize)
	c.r = msgp.NewReaderSize(c.src, bufferSize)
	return c
}

func (c *msgpStream) Name() string { return "msgp EncodeMsg, DecodeMsg" }
func (c *msgpStream) Size() int    { return c.buf.Len() }

func (c *msgpStream) Encode() error {
	c.buf.Reset()
	c.w.Reset(&c.buf)
	if err := c.m.EncodeMsg(c.w); err != nil {
		return err
	}
	return c.w.Flush()
}

func (c *msgpStream) Decode() (*Request, error) {
	m := new(Request)
	return m, c.decode(m)
}

func (c *msgpStream) decode(m *Request) error {
	c.src.Reset(c.buf.Bytes())
	c.r.Reset(c.src)
	return m.DecodeMsg(c.r)
}

func (c *msgpStream) RoundTrip() error {
	if err := c.Encode(); err != nil {
		return err
	}
	var got Request
	return c.decode(&got)
}

// msgpBytes is msgp without a stream: it appends to a buffer, and decodes from
// it.
type msgpBytes struct {
	m   *Request
	buf []byte
}

func (c *msgpBytes) Name() string { return "msgp MarshalMsg, UnmarshalMsg" }
func (c *msgpBytes) Size() int    { return len(c.buf) }

func (c *msgpBytes) Encode() (err error) {
	c.buf, err = c.m.MarshalMsg(c.buf[:0])
	return err
}

func (c *msgpBytes) Decode() (*Request, error) {
	m := new(Request)
	return m, c.decode(m)
}

func (c *msgpBytes) decode(m *Request) error {
	_, err := m.UnmarshalMsg(c.buf)
	return err
}

func (c *msgpBytes) RoundTrip() error {
	if err := c.Encode(); err != nil {
		return err
	}
	var got Request
	return c.decode(&got)
}
