package tunnel

import (
	"context"
	"crypto/cipher"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/bench/race"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tunnel"
)

// chunk is what a Write sends, in bytes.
const chunk = 256 << 10

// A sink is a stream, and what reads at its other end.
type sink struct {
	conn net.Conn
	want chan int   // bytes to read
	read chan error // once they are
}

func newSink() *sink { return &sink{want: make(chan int, 1), read: make(chan error, 1)} }

// serve reads what is wanted, until nothing more will be, or the node shuts
// down.
func (s *sink) serve(ctx context.Context, r io.Reader) error {
	buf := make([]byte, chunk)
	for {
		select {
		case left, more := <-s.want:
			if !more {
				return nil
			}
			for left > 0 {
				n, err := r.Read(buf[:min(left, len(buf))])
				if left -= n; err != nil && left > 0 {
					s.read <- err
					return err
				}
			}
			s.read <- nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// contender sends n chunks, and tells how long that took until all were read.
func (s *sink) contender(ctx context.Context, name string) race.Contender {
	buf := make([]byte, chunk)
	return race.Contender{Name: name, Run: func(n int) (time.Duration, error) {
		defer context.AfterFunc(ctx, func() { s.conn.Close() })()
		began := time.Now()
		s.want <- n * len(buf)
		for range n {
			if _, err := s.conn.Write(buf); err != nil {
				return 0, err
			}
		}
		select {
		case err := <-s.read:
			return time.Since(began), err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}}
}

// streams are a bare stream, one on which the two ends do nothing but use the
// cipher, and a tunnel, all between the same two nodes over the same QUIC
// connection.
type streams struct {
	bare, cipher, tunnel *sink
	nodes                []*node
}

type node struct {
	*p2p.P2P
	libraries *library.Libraries
	id        identity.Identity
	instance  identity.Identity
}

// A ciphered is a stream whose ends seal and open what passes with a cipher, as
// a tunnel does, and no more: there is no other key and no other nonce, and
// nothing says how long a record is.
type ciphered struct {
	net.Conn
	aead  cipher.AEAD
	nonce [chacha20poly1305.NonceSize]byte
	buf   [together * (recordData + chacha20poly1305.Overhead)]byte
}

// together is how many records one Write of a stream gets, as in a tunnel.
const together = 4

func newCiphered(c net.Conn) *ciphered {
	aead, err := chacha20poly1305.New(make([]byte, chacha20poly1305.KeySize))
	if err != nil {
		panic(err) // the key has its length
	}
	return &ciphered{Conn: c, aead: aead}
}

// Write writes whole records.
func (c *ciphered) Write(p []byte) (written int, err error) {
	for written < len(p) {
		b, taken := c.buf[:0], 0
		for ; taken < together*recordData && written+taken < len(p); taken += recordData {
			b = c.aead.Seal(b, c.nonce[:], p[written+taken:][:recordData], nil)
		}
		if _, err := c.Conn.Write(b); err != nil {
			return written, err
		}
		written += taken
	}
	return written, nil
}

// Read reads a record, for which p has room.
func (c *ciphered) Read(p []byte) (int, error) {
	b := c.buf[:recordData+chacha20poly1305.Overhead]
	if _, err := io.ReadFull(c.Conn, b); err != nil {
		return 0, err
	}
	plaintext, err := c.aead.Open(p[:0], c.nonce[:], b, nil)
	return len(plaintext), err
}

// openTime limits how long it takes until the nodes have found each other and
// opened the streams.
const openTime = 10 * time.Second

func newStreams(ctx context.Context) (s *streams, err error) {
	s = &streams{bare: newSink(), cipher: newSink(), tunnel: newSink()}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	network := p2ptest.NewNetwork(p2ptest.Config{}) // tells addresses
	for range 2 {
		n, err := s.start(ctx, network)
		if err != nil {
			return s, err
		}
		s.nodes = append(s.nodes, n)
	}
	from, to := s.nodes[0], s.nodes[1]
	theirs, err := to.libraries.Found("", library.RecoveryKey{})
	if err != nil {
		return s, err
	}
	theirs.Handle("sink", func(ctx context.Context, c *tunnel.Conn) error { return s.tunnel.serve(ctx, c) })
	r := theirs.Record()
	first, err := r.First(from.id, from.instance)
	if err != nil {
		return s, err
	}
	if _, err := theirs.Admit(first, library.RoleMember, "", library.RecoveryKey{}); err != nil {
		return s, err
	}
	lib, err := from.libraries.Add(theirs.Record(), from.instance)
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	var peer *p2p.Peer
	for p := range from.Available(ctx) {
		peer = p
		break
	}
	if peer == nil {
		return s, errors.New("the nodes do not find each other")
	}
	if s.bare.conn, err = peer.Open(ctx, "sink"); err != nil {
		return s, err
	}
	c, err := peer.Open(ctx, "cipher")
	if err != nil {
		return s, err
	}
	s.cipher.conn = newCiphered(c)
	s.tunnel.conn, err = lib.Open(ctx, theirs.Instance(), "sink")
	return s, err
}

func (s *streams) start(ctx context.Context, network *p2ptest.Network) (*node, error) {
	n := &node{libraries: library.New(library.Config{}), id: identity.New(), instance: identity.New()}
	var mux p2p.Mux
	mux.HandleFunc("sink", p2p.Anyone, func(ctx context.Context, c *p2p.Stream) error { return s.bare.serve(ctx, c) })
	mux.HandleFunc("cipher", p2p.Anyone, func(ctx context.Context, c *p2p.Stream) error { return s.cipher.serve(ctx, newCiphered(c)) })
	mux.Handle(library.Route, p2p.Anyone, n.libraries)
	var err error
	n.P2P, err = p2p.Start(ctx, p2p.Config{
		App: "bench", Identity: n.id, Handler: &mux, Logger: slog.New(slog.DiscardHandler),
		Hooks: []p2p.Hook{quic.New(quic.Config{}), network.Discovery(), n.libraries},
	})
	return n, err
}

// close closes the streams and shuts the nodes down.
func (s *streams) close() {
	for _, k := range []*sink{s.bare, s.cipher, s.tunnel} {
		close(k.want)
		if k.conn != nil {
			k.conn.Close()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTime)
	defer cancel()
	for _, n := range s.nodes {
		n.Shutdown(ctx)
	}
}
