package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	tpt "github.com/libp2p/go-libp2p/core/transport"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/carrier"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/metadata"
	"github.com/sdp2p/p2p/internal/multistream"
)

// A conn is one connection with a peer.
type conn struct {
	endpoint *endpoint
	link     tpt.CapableConn // go-libp2p's view of it
	quic     *quicgo.Conn
	id       identity.RemoteIdentity
	path     p2p.Path
	mover    *mover // nil: the peer dialed, and moves it
	fixed    *fixed // nil: the peer dialed
	pulse    pulse  // of the goroutine that looks after streams
	opened   time.Time
	usable   bool    // for streams of ours: the node knows of it; under endpoint.mu
	goes     bool    // it had to make room, and is being closed; under endpoint.mu
	charge   *charge // nil in tests

	streams  atomic.Int32 // application streams that are open
	serving  atomic.Int32 // those of the peer that a handler serves
	used     atomic.Int64 // how long after opened the last stream that counts has ended
	greeted  atomic.Bool  // the peer is no stranger, as this connection knows
	refusals refusals
	said     *metadata.Heard // what the peer says of itself
	received atomic.Uint64   // packets, when a sign of life was asked for
	unnamed  chan struct{}   // places of the peer's streams that have not said what they are for

	ctx    context.Context // done when the connection is gone
	cancel context.CancelFunc
	asked  chan struct{} // closed once the metadata stream has been opened, before any application stream
	known  chan struct{} // closed once version or err is known

	opening chan struct{} // of size 1: held while a stream of version 1 is opened
	misled  atomic.Bool   // the peer does not speak version 2, as a stream has found before the introduction

	mu         sync.Mutex
	version    int       // of the protocol that the peer speaks; 0 while that is not known
	err        error     // why that could not be found out
	lastStream time.Time // when the last application stream ended
	timer      *time.Timer
	retired    bool           // closed for being idle: no more streams
	toldLast   []byte         // of the goroutine that writes to meta: what it wrote last
	tellAnyway bool           // also if that was written last
	meta       *quicgo.Stream // on which this node's metadata is told; nil until the peer has accepted it
	telling    bool           // a goroutine writes to it
	tellAgain  bool           // and what it writes is out of date
	told       bool           // the peer has opened its metadata stream

	seen    p2p.Path   // when that was looked at last
	pin     func()     // undoes unpin; nil if that has not been called
	silence func()     // ends what is telling the peer where this node is
	source  netip.Addr // of this node towards a peer that dialed and is no stranger, when that was looked at last

	identified map[string]string // what a version 1 peer said of itself before it was reported; nil once taken
}

var _ p2p.RawConn = (*conn)(nil)

func newConn(e *endpoint, link tpt.CapableConn, id identity.RemoteIdentity, path p2p.Path) *conn {
	c := &conn{
		endpoint: e, link: link, quic: quicOf(link), id: id, path: path, opened: time.Now(),
		asked: make(chan struct{}), known: make(chan struct{}), unnamed: make(chan struct{}, places(e.limits.Opening)),
		charge: chargeOf(link), opening: make(chan struct{}, 1),
	}
	if path.Dialed {
		c.mover = newMover(path.Remote)
		c.fixed = &fixed{local: c.quic.LocalAddr(), tls: c.quic.ConnectionState().TLS}
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.said = &metadata.Heard{Burst: e.limits.Metadata, PerSecond: e.limits.MetadataPerSecond, State: func(metadata map[string]string) error {
		return e.scope.Stated(id, metadata)
	}}
	return c
}

// Path returns the way that the connection runs. The address follows the
// connection; nothing is granted by it, since any host on the way can change
// it.
func (c *conn) Path() p2p.Path {
	path := c.path
	path.Remote = c.remote()
	switch l := c.endpoint.lanes.at(path.Remote); {
	case l != nil:
		path.Kind = p2p.Relay
		path.Relay, path.Remote = l.through()
	case carrier.IsVirtual(path.Remote.Addr()): // the circuit has ended
		c.mu.Lock()
		path = c.seen
		c.mu.Unlock()
	case path.Kind == p2p.Relay:
		path.Kind, path.Relay = p2p.Direct, identity.RemoteIdentity{}
	}
	return path
}

// remote returns the peer's address.
func (c *conn) remote() netip.AddrPort {
	if c.mover != nil {
		return c.mover.addr()
	}
	if u, ok := c.quic.RemoteAddr().(*net.UDPAddr); ok {
		return unmap(u.AddrPort())
	}
	return c.path.Remote
}

// A fixed is what stays as it is when this node moves a connection. Meanwhile
// quic-go may not be asked for it.
type fixed struct {
	local net.Addr
	tls   tls.ConnectionState
}

func (c *conn) tls() *tls.ConnectionState {
	if c.fixed != nil {
		return &c.fixed.tls
	}
	state := c.quic.ConnectionState().TLS
	return &state
}

// remoteAddr returns the peer's address for streams.
func (c *conn) remoteAddr() net.Addr {
	if c.mover != nil {
		return net.UDPAddrFromAddrPort(c.mover.addr())
	}
	return c.quic.RemoteAddr()
}

func (c *conn) localAddr() net.Addr {
	if c.fixed != nil {
		return c.fixed.local
	}
	return c.quic.LocalAddr()
}

// Opened returns since when the connection is there.
func (c *conn) Opened() time.Time { return c.opened }

// RTT returns the smoothed round-trip time (RFC 9002 §5.3).
func (c *conn) RTT() time.Duration { return c.quic.ConnectionStats().SmoothedRTT }

// Close closes the connection.
func (c *conn) Close() error { return c.close(0) }

// close closes the connection with a code that tells the peer why.
func (c *conn) close(code network.ConnErrorCode) error { return c.link.CloseWithError(code) }

// gone reports whether the connection has ended.
func (c *conn) gone() bool { return c.quic.Context().Err() != nil }

// begin starts what a new connection does by itself.
func (c *conn) begin() {
	c.mu.Lock()
	if wait, ends := c.patience(); !c.retired && (ends || !c.path.Dialed) {
		c.timer = time.AfterFunc(max(wait, tick), c.retire)
	}
	c.mu.Unlock()
	if !c.introduced() {
		c.endpoint.start(c.introduce)
	}
	if !c.endpoint.start(func() { c.endpoint.serve(c) }) {
		c.Close()
		c.endpoint.disconnected(c)
	}
}

// end stops it.
func (c *conn) end() {
	c.cancel()
	c.said.Stop()
	if c.mover != nil {
		c.mover.end()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired = true
	if c.pin != nil {
		c.pin()
	}
	if c.timer != nil {
		c.timer.Stop()
	}
}

// streamBegins counts an application stream, and reports false if the
// connection is being closed.
func (c *conn) streamBegins() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.retired && c.streams.Add(1) == 1 && c.moves() {
		c.endpoint.attendStreams()
	}
	return !c.retired
}

// streamEnded takes it back. The stream may have been of use.
func (c *conn) streamEnded(served bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastStream = time.Now()
	if served || !c.stranger() {
		c.used.Store(int64(c.lastStream.Sub(c.opened)))
	}
	c.streams.Add(-1)
}

func (c *conn) lastStreamEnded() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastStream
}

// patience returns how long the connection is kept while no stream uses it, and
// false if that is for ever. The caller holds mu.
//
// It is for a peer of version 1 that this node knows or has discovered: such a
// peer dials only when it hears something new about us, and could not reach us
// any more.
func (c *conn) patience() (time.Duration, bool) {
	if c.version == 1 && (!c.stranger() || c.discovered()) {
		return 0, false
	}
	if c.stranger() {
		return c.endpoint.limits.StrangerIdle, c.endpoint.limits.StrangerIdle > 0
	}
	idle := c.endpoint.listener.cfg.IdleTimeout
	if !c.path.Dialed {
		return idle + idleGrace, idle > 0
	}
	return idle, idle > 0
}

// discovered reports whether a hook discovers the peer. That it has introduced
// itself does not count.
func (c *conn) discovered() bool {
	peer, known := c.endpoint.scope.Node().Peer(c.id)
	others := func(hook string) bool { return hook != c.endpoint.listener.Name() }
	return known && slices.ContainsFunc(peer.Info().DiscoveredBy, others)
}

// retire closes the connection if it has been idle for long enough, and else
// looks again later: what counts may have changed, with the peer's becoming
// known.
func (c *conn) retire() {
	c.mu.Lock()
	wait, ends := c.patience()
	left := max(wait-c.idleFor(), 0)
	due := ends && left == 0 && !c.inUse() && !c.retired
	c.retired = c.retired || due
	if !ends {
		left = recheck
	}
	if !c.retired {
		c.timer.Reset(max(left, tick))
	}
	c.mu.Unlock()
	if due {
		c.close(network.ConnGarbageCollected)
		return
	}
	c.greet()
}

// introduce opens the metadata stream, which tells which protocol version the
// peer speaks, and then the metadata.
func (c *conn) introduce() {
	version, err := c.ask()
	if err != nil && c.ctx.Err() == nil {
		c.endpoint.log.Debug("no metadata stream", "peer", c.id, "err", err)
	}
	c.mu.Lock()
	c.version, c.err = version, err
	c.mu.Unlock()
	close(c.known)
	switch {
	case err != nil: // it is no peer of any version
		c.close(network.ConnProtocolNegotiationFailed)
	default:
		c.endpoint.listener.remember(c.id, version)
		c.tellMetadata(false)
	}
}

// ask opens the metadata stream. Only the answer "no" means a peer of version
// 1; everything else is an error.
func (c *conn) ask() (version int, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, firstFrame)
	defer cancel()
	s, err := c.quic.OpenStreamSync(ctx)
	if err != nil {
		close(c.asked)
		return 0, streamError(err)
	}
	s.SetDeadline(time.Now().Add(firstFrame))
	_, err = io.WriteString(s, multistream.Question(protocolMeta))
	close(c.asked)
	if err == nil {
		err = multistream.NewSelection(s).Answer(protocolMeta) // the peer says nothing more on this stream
	}
	switch {
	case errors.Is(err, multistream.ErrNotSupported):
		reset(s, 0)
		return 1, nil
	case err != nil:
		reset(s, 0)
		return 0, streamError(err)
	}
	s.SetDeadline(time.Time{})
	c.mu.Lock()
	c.meta = s
	c.mu.Unlock()
	return 2, nil
}

// serve handles a stream that the peer has opened. If it is counted, it has a
// place until it has said what it is for.
func (c *conn) serve(s *quicgo.Stream, counted bool) {
	s.SetDeadline(time.Now().Add(firstFrame))
	supported := []string{protocolStream, protocolMeta, protocolAncestor}
	if !c.stranger() {
		supported = append(supported, protocolMove)
		if c.endpoint.listener.routed() != nil {
			supported = append(supported, junction.Upgrade)
		}
	}
	protocol, rest, err := multistream.Accept(s, supported...)
	if counted {
		c.givePlace()
	}
	if err != nil {
		code := network.StreamProtocolNegotiationFailed
		if errors.Is(err, os.ErrDeadlineExceeded) {
			code = network.StreamErrorCode(p2p.ErrTimeout)
		}
		reset(s, code)
		c.refusals.add()
		return
	}
	s.SetDeadline(time.Time{})
	if protocol == protocolMeta {
		c.readMetadata(s, rest)
		return
	}
	if protocol == protocolMove {
		c.readMove(s, rest)
		return
	}
	if protocol == junction.Upgrade {
		if a := c.endpoint.listener.routed(); a != nil {
			a.punch(c, s, rest)
		}
		return
	}
	c.greet()
	if !c.streamBegins() {
		reset(s, network.StreamErrorCode(p2p.ErrShuttingDown))
		return
	}
	if protocol == protocolAncestor {
		c.serveAncestor(newStream(c, s, 1, rest))
		return
	}
	c.endpoint.scope.Accept(c.id, newStream(c, s, 2, rest))
}

// open opens an application stream. If the peer is known, or said, to speak
// version 2, that takes no round trip.
func (c *conn) open(ctx context.Context, said int) (p2p.RawStream, error) {
	select {
	case <-c.asked: // the metadata stream comes first
	case <-c.ctx.Done():
		return nil, errLost
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	version, err := c.speaks()
	if version == 0 && (said != 2 || c.misled.Load()) {
		version, err = c.awaitVersion(ctx)
	}
	if err != nil {
		return nil, err
	}
	if !c.streamBegins() {
		return nil, errRetired
	}
	s, err := c.newStream(ctx, creditTime)
	if err != nil {
		c.streamEnded(false)
		return nil, streamError(err)
	}
	switch version {
	case 0:
		return newHinted(c, s), nil
	case 1:
		return c.openAncestor(ctx, s)
	}
	return newLazyStream(c, s), nil
}

// newStream opens a stream of QUIC. Where the peer has as many open as it
// takes, it waits for one of them to end, so long.
func (c *conn) newStream(ctx context.Context, patience time.Duration) (*quicgo.Stream, error) {
	s, err := c.quic.OpenStream()
	var full *quicgo.StreamLimitReachedError
	if !errors.As(err, &full) {
		return s, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errFull)
	defer cancel()
	if s, err = c.quic.OpenStreamSync(ctx); err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return s, err
}

// creditTime is how long a new stream waits for the peer to take one more.
const creditTime = 15 * time.Second

var (
	errFull    = fmt.Errorf("quic: the peer has as many streams open as it takes: %w", p2p.ErrBusy)
	errRetired = fmt.Errorf("%w: it was idle and is being closed", p2p.ErrConnectionLost)
	errLost    = fmt.Errorf("quic: %w", p2p.ErrConnectionLost)
)

// vanished tells whether the connection, which is gone, ended because nothing
// was heard of the peer any more.
func (c *conn) vanished() bool {
	var silent *quicgo.IdleTimeoutError
	return errors.As(context.Cause(c.quic.Context()), &silent)
}

const (
	recheck = 10 * time.Second      // how often a connection that is kept for ever is looked at: whether it still may
	tick    = 10 * time.Millisecond // the least that the idle timer waits
)

// endedIdle tells whether the connection, which is gone, was closed because
// nobody used it, by either side.
func (c *conn) endedIdle() bool {
	var closed *quicgo.ApplicationError
	return errors.As(context.Cause(c.quic.Context()), &closed) && closed.ErrorCode == quicgo.ApplicationErrorCode(network.ConnGarbageCollected)
}
