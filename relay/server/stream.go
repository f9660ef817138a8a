package server

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
)

// A hopStream is a caller's stream as go-libp2p's relay sees it: a message in
// each direction, followed by the bytes of the circuit, which are counted,
// paced and bounded.
type hopStream struct {
	network.Stream
	ctx    context.Context
	cancel context.CancelFunc

	head   []byte // the message, which was read already
	status head   // of the answer

	account  *account // nil: no circuit
	answered func()
	closed   func()
	once     sync.Once
}

// Read reads the rest of the message, then the circuit.
func (s *hopStream) Read(p []byte) (int, error) {
	if len(s.head) > 0 {
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	if s.account == nil {
		return s.Stream.Read(p)
	}
	n, err := s.Stream.Read(p[:s.account.rate.step(len(p))])
	if n > 0 {
		if charged := s.charge(n); charged != nil {
			return 0, charged
		}
		s.account.bytes.Add(int64(n))
	}
	return n, err
}

// Write writes the answer, then the circuit.
func (s *hopStream) Write(p []byte) (n int, err error) {
	if s.account == nil {
		return s.Stream.Write(p)
	}
	if rest := s.status.skip(p); rest < len(p) {
		s.answered()
		if rest > 0 {
			if n, err = s.Stream.Write(p[:rest]); err != nil {
				return n, err
			}
		}
	} else {
		n, err = s.Stream.Write(p)
		if s.status.done {
			s.answered()
		}
		return n, err
	}
	for n < len(p) {
		part := p[n : n+s.account.rate.step(len(p)-n)]
		if err := s.charge(len(part)); err != nil {
			return n, err
		}
		w, err := s.Stream.Write(part)
		n += w
		s.account.bytes.Add(int64(w))
		if err != nil {
			s.account.purse.refund(int64(len(part) - w))
			return n, err
		}
	}
	return n, nil
}

// charge takes bytes from the account's quota and rate.
func (s *hopStream) charge(n int) error {
	if err := s.account.purse.spend(s.ctx, int64(n)); err != nil {
		return err
	}
	return s.account.rate.wait(s.ctx, n)
}

// Close closes the stream. The relay calls it when a circuit has ended.
func (s *hopStream) Close() error {
	s.finish()
	return s.Stream.Close()
}

// Reset resets the stream.
func (s *hopStream) Reset() error {
	s.finish()
	return s.Stream.Reset()
}

// ResetWithError resets the stream with a code.
func (s *hopStream) ResetWithError(code network.StreamErrorCode) error {
	s.finish()
	return s.Stream.ResetWithError(code)
}

// finish frees the circuit's place.
func (s *hopStream) finish() {
	s.once.Do(func() {
		s.cancel()
		if s.account != nil {
			s.answered()
			s.closed()
		}
	})
}

// A head finds the end of a length-prefixed message that arrives in pieces.
type head struct {
	done   bool
	length [2]byte // the part seen so far: a varint of at most two bytes
	seen   int
	left   int
}

// skip returns the number of p's bytes that belong to the message.
func (h *head) skip(p []byte) (n int) {
	for !h.done && n < len(p) && h.left == 0 {
		h.length[h.seen] = p[n]
		h.seen++
		n++
		if v, size := binary.Uvarint(h.length[:h.seen]); size > 0 || h.seen == len(h.length) {
			h.left = int(v)
			h.done = h.left == 0
		}
	}
	if h.done {
		return n
	}
	part := min(h.left, len(p)-n)
	h.left -= part
	h.done = h.left == 0 && h.seen > 0 && part > 0
	return n + part
}
