// Package multistream selects the protocol of a stream as libp2p does, with
// multistream-select 1.0.0: both sides send a header, and then the opener names
// protocols until the other side echoes one. A token is a length (an unsigned
// varint, here always one byte), the text, and a newline that the length
// includes.
//
// It replaces go-multistream, which takes a goroutine for each lazily opened
// stream and a packet for each token: here, the opener's header, its choice and
// the first bytes of the stream leave in one write, and so does the answer.
package multistream

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	header = "\x13/multistream/1.0.0\n"
	no     = "\x03na\n"

	maxSelection = 1024 // bytes that a selection may take
	maxToken     = 0x7F // bytes of a token: all our protocols are shorter
)

// ErrSelection is wrapped by errors about bytes that are not part of a
// selection.
var ErrSelection = errors.New("protocol selection")

// ErrNotSupported is wrapped if the peer does not speak any of the requested
// protocols.
var ErrNotSupported = errors.New("the peer does not speak the protocol")

func token(protocol string) string { return string(rune(len(protocol)+1)) + protocol + "\n" }

// A Selection reads tokens from a stream, and buffers the bytes that arrive
// with them. After an error of the stream, such as a deadline, it can continue
// where it was.
type Selection struct {
	r       io.Reader
	buf     []byte    // read and not yet consumed
	first   [128]byte // initial buf, enough for most selections
	max     int       // bytes that may still be read
	greeted bool      // the header was read
}

// NewSelection returns a Selection that has read nothing yet.
func NewSelection(r io.Reader) *Selection {
	s := &Selection{r: r, max: maxSelection}
	s.buf = s.first[:0]
	return s
}

// token returns the next token's text, which is valid until the next call.
func (s *Selection) token() ([]byte, error) {
	for {
		if text, ok, err := s.buffered(); ok || err != nil {
			return text, err
		}
		if s.max == 0 {
			return nil, fmt.Errorf("%w: longer than %d bytes", ErrSelection, maxSelection)
		}
		s.buf = slices.Grow(s.buf, 1)
		n, err := s.r.Read(s.buf[len(s.buf):min(cap(s.buf), len(s.buf)+s.max)])
		s.buf = s.buf[:len(s.buf)+n]
		s.max -= n
		if n == 0 && err != nil {
			if err == io.EOF && len(s.buf) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// buffered takes a token from the buffer, if it holds a complete one.
func (s *Selection) buffered() (text []byte, ok bool, err error) {
	if len(s.buf) == 0 {
		return nil, false, nil
	}
	length := int(s.buf[0])
	if length == 0 || length > maxToken {
		return nil, false, fmt.Errorf("%w: a token of length %#x", ErrSelection, length)
	}
	if len(s.buf) < 1+length {
		return nil, false, nil
	}
	token := s.buf[1 : 1+length]
	if token[length-1] != '\n' {
		return nil, false, fmt.Errorf("%w: a token without a newline", ErrSelection)
	}
	s.buf = s.buf[1+length:]
	return token[:length-1], true, nil
}

func (s *Selection) header() error {
	if s.greeted {
		return nil
	}
	text, err := s.token()
	if err != nil {
		return err
	}
	if string(text) != header[1:len(header)-1] {
		return fmt.Errorf("%w: %q instead of a multistream header", ErrSelection, text)
	}
	s.greeted = true
	return nil
}

// Accept lets the other side choose one of the supported protocols. rest are
// bytes to be read before the stream.
func Accept(s io.ReadWriter, supported ...string) (protocol string, rest []byte, err error) {
	sel := NewSelection(s)
	if err := sel.header(); err != nil {
		return "", nil, err
	}
	answers := answers{to: s, pending: append(make([]byte, 0, 64), header...)}
	for {
		text, ok, err := sel.buffered()
		if err == nil && !ok { // the opener may be waiting for the answers so far
			if err = answers.flush(); err == nil {
				text, err = sel.token()
			}
		}
		if err != nil {
			return "", nil, err
		}
		i := slices.IndexFunc(supported, func(one string) bool { return one == string(text) })
		if i >= 0 {
			answers.pending = append(answers.pending, byte(len(text)+1))
			answers.pending = append(append(answers.pending, text...), '\n')
			// An opener that needs no answer may have stopped reading, which
			// does not affect the stream.
			_ = answers.flush()
			return supported[i], sel.buf, nil
		}
		answers.pending = append(answers.pending, no...)
	}
}

// answers buffers answers, which are written after the header, in as few writes
// as possible.
type answers struct {
	to      io.Writer
	pending []byte
}

func (a *answers) flush() error {
	if len(a.pending) == 0 {
		return nil
	}
	_, err := a.to.Write(a.pending)
	a.pending = a.pending[:0]
	return err
}

// Select asks the other side for one protocol and waits for the answer. It
// fails with [ErrNotSupported] if the other side refuses. rest are bytes to be
// read before the stream.
func Select(s io.ReadWriter, protocol string) (rest []byte, err error) {
	if _, err := io.WriteString(s, Question(protocol)); err != nil {
		return nil, err
	}
	sel := NewSelection(s)
	if err := sel.Answer(protocol); err != nil {
		return nil, err
	}
	return sel.buf, nil
}

// SelectOne asks the other side for one protocol after the other until it
// accepts one. It fails with [ErrNotSupported] if it accepts none. rest are
// bytes to be read before the stream.
func SelectOne(s io.ReadWriter, protocols ...string) (protocol string, rest []byte, err error) {
	sel := NewSelection(s)
	for i, protocol := range protocols {
		q := token(protocol)
		if i == 0 {
			q = header + q
		}
		if _, err := io.WriteString(s, q); err != nil {
			return "", nil, err
		}
		if err = sel.Answer(protocol); err == nil {
			return protocol, sel.buf, nil
		}
		if !errors.Is(err, ErrNotSupported) {
			return "", nil, err
		}
	}
	return "", nil, fmt.Errorf("%w %s", ErrNotSupported, strings.Join(protocols, ", "))
}

// Rest returns the bytes that were read after the last token.
func (s *Selection) Rest() []byte { return s.buf }

// Answer reads the answer to an opening with one protocol.
func (s *Selection) Answer(protocol string) error {
	if err := s.header(); err != nil {
		return err
	}
	text, err := s.token()
	switch {
	case err != nil:
		return err
	case string(text) == protocol:
		return nil
	case string(text) == "na":
		return fmt.Errorf("%w %s", ErrNotSupported, protocol)
	}
	return fmt.Errorf("%w: %q in answer to %s", ErrSelection, text, protocol)
}

// Question returns the text that an opener sends to ask for one protocol.
func Question(protocol string) string { return header + token(protocol) }
