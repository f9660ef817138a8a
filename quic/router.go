package quic

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	tpt "github.com/libp2p/go-libp2p/core/transport"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/multistream"
	"github.com/sdp2p/p2p/internal/netmon"
)

// Circuits is for package relay: it makes the listener dial candidates of kind
// Relay through r, or not at all if r is nil, and returns the interface that a
// relay client needs.
func (l *Listener) Circuits(r junction.Router) junction.Endpoint {
	var a *away
	if r != nil {
		a = &away{
			router: r, dial: (*endpoint).dialThrough, reach: (*endpoint).reach, shorten: (*endpoint).shorten, hear: (*endpoint).hearOthers,
			settle:    (*conn).settle,
			connected: func(c *conn) { r.Connected(c) },
			moved:     func(c *conn) { r.Moved(c) },
			punch:     func(c *conn, s *quicgo.Stream, rest []byte) { r.Punch(c, &side{stream: s, rest: rest}) },
		}
	}
	l.mu.Lock()
	l.router = a
	e := l.endpoint
	l.mu.Unlock()
	switch {
	case e == nil:
	case r != nil:
		e.hearOthers()
	default:
		e.partFromRelays(func(c *conn) {
			c.part()
			c.close(network.ConnShutdown)
		})
	}
	return seam{l}
}

// An away holds the functions of the listener that need a relay client. They
// are called through it, so that a program without a relay client does not link
// them.
type away struct {
	router    junction.Router
	dial      func(e *endpoint, ctx context.Context, relay *try, to identity.RemoteIdentity) (tpt.CapableConn, error)
	reach     func(e *endpoint, ctx context.Context, c *conn, via []netip.AddrPort) (netip.AddrPort, error)
	shorten   func(e *endpoint, id identity.RemoteIdentity, via []p2p.Candidate)
	hear      func(e *endpoint)
	connected func(c *conn) // through a relay
	moved     func(c *conn) // according to the peer
	punch     func(c *conn, s *quicgo.Stream, rest []byte)
	settle    func(c *conn, l *lane, path *quicgo.Path)
}

// routed returns the away; nil without a relay client.
func (l *Listener) routed() *away {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.router
}

// A seam is the listener as seen by a relay client.
type seam struct{ listener *Listener }

func (s seam) Dial(ctx context.Context, addr netip.AddrPort, relay identity.RemoteIdentity) (junction.Session, error) {
	e := s.listener.running()
	if e == nil {
		return nil, ErrNotRunning
	}
	tc, err := e.dial(context.WithValue(ctx, relayKey{}, true), addr, relay)
	if err != nil {
		return nil, err
	}
	n := &session{tc, quicOf(tc), unmap(addr)}
	if !e.sessions.add(n) {
		n.Close()
		return nil, ErrNotRunning
	}
	return n, nil
}

func (s seam) Accept(c junction.Circuit) error {
	e := s.listener.running()
	if e == nil {
		return ErrNotRunning
	}
	_, err := e.openLane(c, nil)
	return err
}

func (s seam) Send(packet []byte, to netip.AddrPort) {
	if e := s.listener.running(); e != nil {
		_, _ = e.quic.WriteTo(packet, net.UDPAddrFromAddrPort(to))
	}
}

func (s seam) Dialable(addr netip.AddrPort) bool {
	e := s.listener.running()
	return e != nil && e.dialable(p2p.Candidate{Kind: p2p.Direct, Addr: addr}) == nil
}

func (s seam) Addrs() []netip.AddrPort {
	if e := s.listener.running(); e != nil {
		return e.ownAddrs()
	}
	return nil
}

func (s seam) Gateway() netip.Addr {
	if e := s.listener.running(); e != nil && e.enabled(netip.IPv4Unspecified()) {
		if state, err := e.listener.cfg.monitor.Snapshot(); err == nil {
			return state.Default[netmon.IPv4].Addr.Unmap()
		}
	}
	return netip.Addr{}
}

func (s seam) Neighbor(ip netip.Addr) bool {
	e := s.listener.running()
	if e == nil {
		return false
	}
	_, neighbor, own := e.circle.knows(ip)
	return neighbor && !own
}

func (s seam) Speaks(id identity.RemoteIdentity) int { return s.listener.recall(id) }

func (s seam) Connect(ctx context.Context, to identity.RemoteIdentity, at []netip.AddrPort) error {
	e := s.listener.running()
	if e == nil {
		return ErrNotRunning
	}
	via := make([]p2p.Candidate, len(at))
	for i, a := range at {
		via[i] = p2p.Candidate{Kind: p2p.Direct, Addr: a}
	}
	_, err := e.connect(ctx, to, via)
	return err
}

// maxOther is the length in bytes of the longest packet other than of QUIC that
// is read.
const maxOther = 256

// hearOthers passes packets other than of QUIC to the relay client, from the
// first call on.
func (e *endpoint) hearOthers() {
	if e.hearing.Swap(true) {
		return
	}
	e.start(func() {
		for {
			b := make([]byte, maxOther)
			n, from, err := e.quic.ReadNonQUICPacket(e.ctx, b)
			if err != nil {
				return
			}
			if addr, ok := from.(interface{ AddrPort() netip.AddrPort }); ok {
				if a := e.listener.routed(); a != nil {
					a.router.Heard(b[:n], unmap(addr.AddrPort()))
				}
			}
		}
	})
}

// relayKey marks the context of a dial to a relay.
type relayKey struct{}

// Windows of connections with relays. The bytes in them wait for a slow peer,
// in front of everything else that is sent to it.
const (
	relayStreamWindow = 1 << 20
	relayWindow       = 1536 << 10
)

// relayTimeout is the silence after which a relay is considered gone. After
// half of it, QUIC asks for a sign of life, unless package relay has done so
// before, at relays that answer it. A connection through a dead relay is
// detected much sooner by its silence.
const relayTimeout = 30 * time.Second

// toRelay returns the configuration of a connection with a relay.
func toRelay(c *quicgo.Config) *quicgo.Config {
	c = c.Clone()
	c.MaxStreamReceiveWindow, c.MaxConnectionReceiveWindow = relayStreamWindow, relayWindow
	c.MaxIdleTimeout, c.KeepAlivePeriod = relayTimeout, relayTimeout/2
	return c
}

// A session is a connection with a relay. It is not reported to the node.
type session struct {
	link tpt.CapableConn
	quic *quicgo.Conn
	addr netip.AddrPort
}

// sessions are the sessions of an endpoint.
type sessions struct {
	mu     sync.Mutex
	all    map[*session]struct{}
	closed bool
}

func (all *sessions) add(s *session) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.closed {
		return false
	}
	if all.all == nil {
		all.all = map[*session]struct{}{}
	}
	all.all[s] = struct{}{}
	context.AfterFunc(s.quic.Context(), func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		delete(all.all, s)
	})
	return true
}

func (all *sessions) close() {
	all.mu.Lock()
	all.closed = true
	open := slices.Collect(maps.Keys(all.all))
	all.mu.Unlock()
	for _, s := range open {
		s.Close()
	}
}

func (s *session) Addr() netip.AddrPort  { return s.addr }
func (s *session) RTT() time.Duration    { return s.quic.ConnectionStats().SmoothedRTT }
func (s *session) Done() <-chan struct{} { return s.quic.Context().Done() }
func (s *session) Close() error          { return s.link.Close() }

func (s *session) Open(ctx context.Context, protocol string) (junction.Stream, error) {
	return openSide(ctx, s.quic, protocol)
}

func (s *session) Accept(ctx context.Context) (junction.Stream, error) {
	stream, err := s.quic.AcceptStream(ctx)
	if err != nil {
		return nil, streamError(err)
	}
	return &side{stream: stream}, nil
}

// Open opens a stream to the peer that does not belong to the application.
func (c *conn) Open(ctx context.Context, protocol string) (junction.Stream, error) {
	return openSide(ctx, c.quic, protocol)
}

func (c *conn) Peer() identity.RemoteIdentity { return c.id }
func (c *conn) Dialed() bool                  { return c.path.Dialed }
func (c *conn) Stranger() bool                { return c.stranger() }
func (c *conn) Context() context.Context      { return c.ctx }

// Move moves the connection to an address at which the peer has answered.
func (c *conn) Move(ctx context.Context, to netip.AddrPort) error { return c.move(ctx, to) }

// Tell sends the peer the present addresses of this node, as a signal to search
// for a direct path.
func (c *conn) Tell(own []netip.AddrPort) {
	if c.elsewhere.Swap(true) {
		return
	}
	told := c.endpoint.start(func() {
		defer c.elsewhere.Store(false)
		s, err := c.openMove(own)
		if err != nil {
			return
		}
		s.SetReadDeadline(time.Now().Add(moveTime))
		_, _ = io.Copy(io.Discard, s) // until the peer has read it and resets the stream
		reset(s, 0)
	})
	if !told {
		c.elsewhere.Store(false)
	}
}

// openSide opens a stream and selects its protocol.
func openSide(ctx context.Context, q *quicgo.Conn, protocol string) (junction.Stream, error) {
	s, err := q.OpenStreamSync(ctx)
	if err != nil {
		return nil, streamError(err)
	}
	stop := context.AfterFunc(ctx, func() { reset(s, 0) })
	rest, err := multistream.Select(s, protocol)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		reset(s, 0)
		return nil, fmt.Errorf("%s: %w", protocol, streamError(err))
	}
	return &side{stream: s, rest: rest}, nil
}

// A side is a stream that does not belong to the application.
type side struct {
	stream  *quicgo.Stream
	rest    []byte       // read and not yet consumed
	writing atomic.Int32 // pending calls of Write
}

func (s *side) Read(b []byte) (int, error) {
	if len(s.rest) > 0 {
		n := copy(b, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	}
	n, err := s.stream.Read(b)
	if err != nil && err != io.EOF {
		err = streamError(err)
	}
	return n, err
}

func (s *side) Write(b []byte) (int, error) {
	s.writing.Add(1)
	defer s.writing.Add(-1)
	n, err := s.stream.Write(b)
	return n, streamError(err)
}

func (s *side) CloseWrite() error                  { return s.stream.Close() }
func (s *side) SetDeadline(t time.Time) error      { return s.stream.SetDeadline(t) }
func (s *side) SetReadDeadline(t time.Time) error  { return s.stream.SetReadDeadline(t) }
func (s *side) SetWriteDeadline(t time.Time) error { return s.stream.SetWriteDeadline(t) }

// Close ends both directions. Bytes already written arrive. It interrupts a
// pending Write, which quic-go would leave waiting for the other side.
func (s *side) Close() error {
	s.stream.CancelRead(0)
	err := s.stream.Close()
	if s.writing.Load() > 0 {
		s.stream.CancelWrite(0)
	}
	return err
}
