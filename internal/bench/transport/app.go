package transport

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/internal/bench/relay"
)

// A listener serves streams on loopback, with [serve].
type listener interface {
	addr() netip.AddrPort
	// dialer prepares one who has never connected to the listener, and who
	// reaches it through an address, its own or that of a proxy.
	dialer(ctx context.Context, via netip.AddrPort) (dialer, error)
	close()
}

// A dialer opens streams to one listener, and connects when it has to.
type dialer interface {
	open(ctx context.Context) (stream, error)
	close()
}

// A stream is closed once its end was read.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// A transport is one of those that are compared.
type transport struct {
	name   string
	listen func(ctx context.Context) (listener, error)
}

const (
	// bulk is the first byte of a stream that goes on with any number of
	// messages, each an uint64 and as many bytes, and each answered with an
	// uint64: how many bytes it had. Another byte is sent back once the stream
	// has ended.
	bulk = 0

	// chunk is what Write and Read are called with, in bytes.
	chunk = 256 << 10

	// patience limits what happens on loopback.
	patience = 20 * time.Second
)

// serve is the application, the same on all transports. The caller closes the
// stream, or resets it if there is an error.
func serve(s io.ReadWriter) error {
	var first [2]byte
	if _, err := io.ReadFull(s, first[:1]); err != nil {
		return err
	}
	if first[0] == bulk {
		return serveBulk(s)
	}
	if n, err := s.Read(first[1:]); n > 0 || err != io.EOF {
		return errors.Join(errors.New("more than a byte"), err)
	}
	_, err := s.Write(first[:1])
	return err
}

func serveBulk(s io.ReadWriter) error {
	buf := make([]byte, chunk)
	for {
		if _, err := io.ReadFull(s, buf[:8]); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		got, want := uint64(0), binary.LittleEndian.Uint64(buf)
		for got < want {
			n, err := s.Read(buf[:min(want-got, chunk)])
			if got += uint64(n); err != nil && got < want {
				return err
			}
		}
		if _, err := s.Write(binary.LittleEndian.AppendUint64(nil, got)); err != nil {
			return err
		}
	}
}

// exchange opens a stream, sends a byte, and gets it back.
func exchange(ctx context.Context, d dialer) error { return exchangeThen(ctx, d, func() {}) }

// exchangeThen is exchange that calls back when the byte is there.
func exchangeThen(ctx context.Context, d dialer, back func()) error {
	s, err := d.open(ctx)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer s.Close()
	var sent [1]byte
	for sent[0] == bulk {
		rand.Read(sent[:])
	}
	if _, err := s.Write(sent[:]); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := s.CloseWrite(); err != nil {
		return fmt.Errorf("close for writing: %w", err)
	}
	var got [1]byte
	if _, err := io.ReadFull(s, got[:]); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	back()
	if got != sent {
		return fmt.Errorf("sent %x and got %x back", sent, got)
	}
	if n, err := s.Read(got[:]); n > 0 || err != io.EOF {
		return fmt.Errorf("instead of the end: %d bytes, %w", n, err)
	}
	return nil
}

// A bulkStream sends messages.
type bulkStream struct {
	stream
	buf []byte
}

func openBulk(ctx context.Context, d dialer) (*bulkStream, error) {
	s, err := d.open(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.Write([]byte{bulk}); err != nil {
		s.Close()
		return nil, err
	}
	return &bulkStream{s, make([]byte, chunk)}, nil
}

// send sends a message of n bytes, and waits until all were read.
func (b *bulkStream) send(n int) error {
	if _, err := b.Write(binary.LittleEndian.AppendUint64(nil, uint64(n))); err != nil {
		return err
	}
	for left := n; left > 0; {
		written, err := b.Write(b.buf[:min(left, len(b.buf))])
		if err != nil {
			return err
		}
		left -= written
	}
	var answer [8]byte
	if _, err := io.ReadFull(b, answer[:]); err != nil {
		return err
	}
	if got := binary.LittleEndian.Uint64(answer[:]); got != uint64(n) {
		return fmt.Errorf("%d bytes were sent and %d read", n, got)
	}
	return nil
}

// A link is a listener and a dialer.
type link struct {
	listener
	dialer
	proxy *relay.Relay // nil: there is none between them
}

// newLink starts a transport, with a proxy in between if delay is not zero.
// Nobody has connected yet.
func newLink(ctx context.Context, t transport, delay time.Duration) (l *link, err error) {
	l = &link{}
	defer func() {
		if err != nil {
			l.close()
			l, err = nil, fmt.Errorf("%s: %w", t.name, err)
		}
	}()
	if l.listener, err = t.listen(ctx); err != nil {
		return l, err
	}
	via := l.addr()
	if delay > 0 {
		if l.proxy, err = relay.New(via, delay); err != nil {
			return l, err
		}
		via = l.proxy.Addr()
	}
	l.dialer, err = l.listener.dialer(ctx, via)
	return l, err
}

func (l *link) close() {
	if l.dialer != nil {
		l.dialer.close()
	}
	if l.listener != nil {
		l.listener.close()
	}
	if l.proxy != nil {
		l.proxy.Close()
	}
}
