package quic

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// Protocols, in the order in which they are asked for.
const (
	protocolMeta     = "/sdp2p/2/meta"
	protocolMove     = "/sdp2p/2/move"
	protocolStream   = "/sdp2p/2"
	protocolAncestor = "/sdp2p/1"
)

// Protocol selection is multistream-select 1.0.0, as libp2p has it: both sides
// send a header, the opener then names protocols until one is echoed. A token
// is a length (an unsigned varint, here always one byte), the text, and a
// newline that the length includes.
//
// It is done here because go-multistream takes a goroutine for each lazily
// opened stream and a packet for each token: here, the opener's header, its
// choice and the application's first bytes leave in one write, and so does the
// answer.
const (
	multistreamHeader = "\x13/multistream/1.0.0\n"
	multistreamNo     = "\x03na\n"

	maxSelection = 1024 // bytes that a selection may take
	maxToken     = 0x7F // bytes of a token: no protocol of ours is as long
)

// errSelection says that the other side's part of a selection is none.
var errSelection = errors.New("quic: protocol selection")

// errNotSupported says that the peer does not speak the protocol that it was
// asked for.
var errNotSupported = errors.New("quic: the peer does not speak the protocol")

func multistreamToken(protocol string) string { return string(rune(len(protocol)+1)) + protocol + "\n" }

// A selection reads tokens from a stream, and what comes in the same reads
// behind them. After an error of the stream, a deadline for example, it can go
// on where it was.
type selection struct {
	r       io.Reader
	buf     []byte    // read and not consumed
	first   [128]byte // of buf: as much as a selection usually takes
	max     int       // bytes that may still be read
	greeted bool      // the header was read
}

func newSelection(r io.Reader) *selection {
	s := &selection{r: r, max: maxSelection}
	s.buf = s.first[:0]
	return s
}

// token returns the next token's text, until the next call.
func (s *selection) token() ([]byte, error) {
	for {
		if text, ok, err := s.buffered(); ok || err != nil {
			return text, err
		}
		if s.max == 0 {
			return nil, fmt.Errorf("%w: longer than %d bytes", errSelection, maxSelection)
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
func (s *selection) buffered() (text []byte, ok bool, err error) {
	if len(s.buf) == 0 {
		return nil, false, nil
	}
	length := int(s.buf[0])
	if length == 0 || length > maxToken {
		return nil, false, fmt.Errorf("%w: a token of length %#x", errSelection, length)
	}
	if len(s.buf) < 1+length {
		return nil, false, nil
	}
	token := s.buf[1 : 1+length]
	if token[length-1] != '\n' {
		return nil, false, fmt.Errorf("%w: a token without a newline", errSelection)
	}
	s.buf = s.buf[1+length:]
	return token[:length-1], true, nil
}

func (s *selection) header() error {
	if s.greeted {
		return nil
	}
	text, err := s.token()
	if err != nil {
		return err
	}
	if string(text) != multistreamHeader[1:len(multistreamHeader)-1] {
		return fmt.Errorf("%w: %q instead of a multistream header", errSelection, text)
	}
	s.greeted = true
	return nil
}

// acceptProtocol lets the other side choose one of the supported protocols.
// What it returns as rest is to be read before the stream.
func acceptProtocol(s io.ReadWriter, supported ...string) (protocol string, rest []byte, err error) {
	sel := newSelection(s)
	if err := sel.header(); err != nil {
		return "", nil, err
	}
	said, answer := false, "" // whether our header was; the answers since it
	say := func(more string) error {
		if !said {
			more = multistreamHeader + more
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
				said, answer = true, question(one) // which an answer at once looks like
			} else {
				answer += multistreamToken(one)
			}
			// An opener that needs no answer may have stopped
			// reading: then there is a stream all the same.
			_ = say(answer)
			return one, sel.buf, nil
		}
		answer += multistreamNo
	}
}

// selectProtocol asks the other side for one protocol and waits for the answer:
// errNotSupported if that is no.
func selectProtocol(s io.ReadWriter, protocol string) (rest []byte, err error) {
	if _, err := io.WriteString(s, question(protocol)); err != nil {
		return nil, err
	}
	sel := newSelection(s)
	if err := sel.answer(protocol); err != nil {
		return nil, err
	}
	return sel.buf, nil
}

// answer reads the answer to an opening with one protocol.
func (s *selection) answer(protocol string) error {
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
		return fmt.Errorf("%w %s", errNotSupported, protocol)
	}
	return fmt.Errorf("%w: %q in answer to %s", errSelection, text, protocol)
}

// question is what an opener sends to ask for one protocol.
func question(protocol string) string {
	if protocol == protocolStream {
		return streamQuestion
	}
	return multistreamHeader + multistreamToken(protocol)
}

// streamQuestion is asked and answered on every stream.
const streamQuestion = multistreamHeader + "\x09" + protocolStream + "\n"
