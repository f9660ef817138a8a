package codec

import (
	"bufio"
	"bytes"

	"github.com/sdp2p/p2p/proto"
	"github.com/tinylib/msgp/msgp"
)

// bufferSize is the size in bytes of the buffers that streams are read through, the default of bufio.
const bufferSize = 4096

// A Codec encodes requests into a buffer of its own that it reuses, and decodes them again. It keeps its readers, as a
// program does that reads message after message, and must not be used by two goroutines at once.
type Codec interface {
	Name() string
	Encode(m *Request) error
	Decode(m *Request) error    // what was encoded last
	RoundTrip(m *Request) error // Encode, and Decode into a new Request
	Size() int                  // the size in bytes of what was encoded last
}

// Codecs returns the codecs that are compared: proto, and msgp in each of the ways that it offers. The first of msgp's
// is its fastest that decodes from a stream, as proto does; the last one has the whole message in memory.
func Codecs() []Codec {
	return []Codec{newProto(), newMsgp(), newMsgpStream(), new(msgpBytes)}
}

// protoCodec is package proto: it appends to a buffer, and decodes from a bufio.Reader.
type protoCodec struct {
	buf []byte
	src *bytes.Reader
	r   *bufio.Reader
	d   *proto.Decoder
}

func newProto() *protoCodec {
	c := &protoCodec{src: bytes.NewReader(nil)}
	c.r = bufio.NewReaderSize(c.src, bufferSize)
	c.d = proto.NewDecoder(c.r)
	return c
}

func (c *protoCodec) Name() string { return "proto" }
func (c *protoCodec) Size() int    { return len(c.buf) }

func (c *protoCodec) Encode(m *Request) (err error) {
	c.buf, err = m.AppendBinary(c.buf[:0])
	return err
}

func (c *protoCodec) Decode(m *Request) error {
	c.src.Reset(c.buf)
	c.r.Reset(c.src)
	c.d.Reset(c.r)
	return m.DecodeFrom(c.d)
}

func (c *protoCodec) RoundTrip(m *Request) error {
	if err := c.Encode(m); err != nil {
		return err
	}
	var got Request
	return c.Decode(&got)
}

// msgpCodec is msgp that appends to a buffer, and decodes from a msgp.Reader, which is a buffered one.
type msgpCodec struct {
	buf []byte
	src *bytes.Reader
	r   *msgp.Reader
}

func newMsgp() *msgpCodec {
	src := bytes.NewReader(nil)
	return &msgpCodec{src: src, r: msgp.NewReaderSize(src, bufferSize)}
}

func (c *msgpCodec) Name() string { return "msgp MarshalMsg, DecodeMsg" }
func (c *msgpCodec) Size() int    { return len(c.buf) }

func (c *msgpCodec) Encode(m *Request) (err error) {
	c.buf, err = m.MarshalMsg(c.buf[:0])
	return err
}

func (c *msgpCodec) Decode(m *Request) error {
	c.src.Reset(c.buf)
	c.r.Reset(c.src)
	return m.DecodeMsg(c.r)
}

func (c *msgpCodec) RoundTrip(m *Request) error {
	if err := c.Encode(m); err != nil {
		return err
	}
	var got Request
	return c.Decode(&got)
}

// msgpStream is msgp that encodes to a msgp.Writer, and decodes from a msgp.Reader.
type msgpStream struct {
	buf bytes.Buffer
	w   *msgp.Writer
	src *bytes.Reader
	r   *msgp.Reader
}

func newMsgpStream() *msgpStream {
	c := &msgpStream{src: bytes.NewReader(nil)}
	c.w = msgp.NewWriterSize(&c.buf, bufferSize)
	c.r = msgp.NewReaderSize(c.src, bufferSize)
	return c
}

func (c *msgpStream) Name() string { return "msgp EncodeMsg, DecodeMsg" }
func (c *msgpStream) Size() int    { return c.buf.Len() }

func (c *msgpStream) Encode(m *Request) error {
	c.buf.Reset()
	c.w.Reset(&c.buf)
	if err := m.EncodeMsg(c.w); err != nil {
		return err
	}
	return c.w.Flush()
}

func (c *msgpStream) Decode(m *Request) error {
	c.src.Reset(c.buf.Bytes())
	c.r.Reset(c.src)
	return m.DecodeMsg(c.r)
}

func (c *msgpStream) RoundTrip(m *Request) error {
	if err := c.Encode(m); err != nil {
		return err
	}
	var got Request
	return c.Decode(&got)
}

// msgpBytes is msgp without a stream: it appends to a buffer, and decodes from it.
type msgpBytes struct{ buf []byte }

func (c *msgpBytes) Name() string { return "msgp MarshalMsg, UnmarshalMsg" }
func (c *msgpBytes) Size() int    { return len(c.buf) }

func (c *msgpBytes) Encode(m *Request) (err error) {
	c.buf, err = m.MarshalMsg(c.buf[:0])
	return err
}

func (c *msgpBytes) Decode(m *Request) error {
	_, err := m.UnmarshalMsg(c.buf)
	return err
}

func (c *msgpBytes) RoundTrip(m *Request) error {
	if err := c.Encode(m); err != nil {
		return err
	}
	var got Request
	return c.Decode(&got)
}
