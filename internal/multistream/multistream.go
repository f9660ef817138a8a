// Package multistream selects the protocol of a stream as libp2p does, with
// multistream-select 1.0.0: both sides send a header, the opener then names
// protocols until one is echoed. A token is a length (an unsigned varint, here
// always one byte), the text, and a newline that the length includes.
//
// It is done here because go-multistream takes a goroutine for each lazily
// opened stream and a packet for each token: here, the opener's header, its
// choice and the first bytes of what follows leave in one write, and so does the
// answer.
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
	maxToken     = 0x7F // bytes of a token: no protocol of ours is as long
)

// ErrSelection says that the other side's part of a selection is none.
var ErrSelection = errors.New("protocol selection")

// ErrNotSupported says that the peer does not speak the protocol that it was
// asked for.
var ErrNotSupported = errors.New("the peer does not speak the protocol")

func token(protocol string) string { return string(rune(len(protocol)+1)) + protocol + "\n" }

// A Selection reads tokens from a stream, and what comes in the same reads
// behind them. After an error of the stream, a deadline for example, it can go
// on where it was.
type Selection struct {
	r       io.Reader
	buf     []byte    // read and not consumed
	first   [128]byte // of buf: as much as a selection usually takes
	max     int       // bytes that may still be read
	greeted bool      // the header was read
}

// NewSelection returns one that has read nothing yet.
func NewSelection(r io.Reader) *Selection {
	s := &Selection{r: r, max: maxSelection}
	s.buf = s.first[:0]
	return s
}

// token returns the next token's text, until the next call.
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

// buffered takes a token out of the buffer, if a whole one is there.
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

// Accept lets the other side choose one of the supported protocols.
// What it returns as rest is to be read before the stream.
func Accept(s io.ReadWriter, supported ...string) (protocol string, rest []byte, err error) {
	sel := NewSelection(s)
	if err := sel.header(); err != nil {
		return "", nil, err
	}
	said, answer := false, "" // whether our header was; the answers since it
	say := func(more string) error {
		if !said {
			more = header + more
		}
		said, answer = true, ""
		_, err := io.WriteString(s, more)
		return err
	}
	for {
		text, ok, err := sel.buffered()
		if err != nil {
			return "", nil, err
		}
		if !ok { // the opener may be waiting for what is to be said so far
			if !said || answer != "" {
				if err := say(answer); err != nil {
					return "", nil, err
				}
			}
			if text, err = sel.token(); err != nil {
				return "", nil, err
			}
		}
		for _, one := range supported {
			if string(text) != one {
				continue
			}
			if !said && answer == "" {
				said, answer = true, Question(one) // which an answer at once looks like
			} else {
				answer += token(one)
			}
			// An opener that needs no answer may have stopped
			// reading: then there is a stream all the same.
			_ = say(answer)
			return one, sel.buf, nil
		}
		answer += no
	}
}

// Select asks the other side for one protocol and waits for the answer:
// ErrNotSupported if that is no.
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

// SelectOne asks the other side for one protocol after the other, until it speaks
// one: [ErrNotSupported] if it speaks none. What it returns as rest is to be read
// before the stream.
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

// Rest returns what was read behind the last token.
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

// Question is what an opener sends to ask for one protocol.
func Question(protocol string) string { return header + token(protocol) }
