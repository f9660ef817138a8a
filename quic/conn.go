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
	mover    *mover // nil if the peer dialed, which then moves it
	fixed    *fixed // nil if the peer dialed
	pulse    pulse  // of the goroutine that watches connections that this node dialed
	opened   time.Time
	usable   bool    // for this node's streams, since the node knows it; under endpoint.mu
	goes     bool    // it makes room for another and is being closed; under endpoint.mu
	charge   *charge // nil in tests
	veiled   bool    // it was made under masks
	pass     *pass   // nil unless the peer was a guest, or the host, when it was made

	streams  atomic.Int32 // application streams that are open
	serving  atomic.Int32 // the peer's streams that a handler serves
	used     atomic.Int64 // when the last stream that counts as use ended, since opened
	greeted  atomic.Bool  // the peer is not a stranger, as far as this connection knows
	refusals refusals
	said     *metadata.Heard // the peer's metadata
	received atomic.Uint64   // packets received when a sign of life was requested
	kept     atomic.Uint64   // the same when the connection was to be kept alive
	unnamed  chan struct{}   // places for streams of the peer that have not named their protocol

	ctx    context.Context // done when the connection is gone
	cancel context.CancelFunc
	asked  chan struct{} // closed once the metadata stream has been opened, before any application stream
	known  chan struct{} // closed once version or err is known

	opening   chan struct{} // of size 1: held while a stream of version 1 is opened
	elsewhere atomic.Bool   // the peer is being told this node's addresses, in a circuit
	misled    atomic.Bool   // a stream found before the introduction that the peer does not speak version 2

	mu         sync.Mutex
	version    int       // of the protocol that the peer speaks; 0 while unknown
	err        error     // why the version could not be determined
	lastStream time.Time // when the last application stream ended
	timer      *time.Timer
	retired    bool           // closed for being idle: no more streams
	toldLast   []byte         // last metadata written to meta; changed only by the writing goroutine
	tellAnyway bool           // even if the same was written last
	meta       *quicgo.Stream // carries this node's metadata; nil until the peer has accepted it
	telling    bool           // a goroutine writes to meta
	tellAgain  bool           // the metadata that it writes is out of date
	told       bool           // the peer has opened its metadata stream

	acquaintance acquaintance

	home netip.Addr // of this node towards the peer; not valid unless veiled

	seen    p2p.Path   // at the last look
	pin     func()     // undoes unpin; nil if unpin was not called
	silence func()     // stops telling the peer this node's addresses
	source  netip.Addr // of this node towards a peer that dialed and is not a stranger, at the last look

	identified map[string]string // metadata of a version 1 peer from before it was reported; nil once taken
}

var _ p2p.RawConn = (*conn)(nil)

func newConn(e *endpoint, link tpt.CapableConn, id identity.RemoteIdentity, path p2p.Path) *conn {
	c := &conn{
		endpoint: e, link: link, quic: quicOf(link), id: id, path: path, opened: time.Now(),
		asked: make(chan struct{}), known: make(chan struct{}), unnamed: make(chan struct{}, places(e.limits.Opening)),
		charge: chargeOf(link), opening: make(chan struct{}, 1),
		acquaintance: newAcquaintance(path.Dialed),
	}
	var p proven
	if p, c.veiled = link.(proven); c.veiled {
		c.pass = p.pass
		c.home = sourceTo(path.Remote).Unmap().WithZone("")
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

// Path returns the connection's path. The address follows the connection; it
// must not be used to grant anything, since any host on the way can change it.
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

// A fixed holds the properties that stay the same when this node moves a
// connection. During a move, quic-go must not be asked for them.
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

// Opened returns when the connection was made.
func (c *conn) Opened() time.Time { return c.opened }

// RTT returns the smoothed round-trip time (RFC 9002 §5.3).
func (c *conn) RTT() time.Duration { return c.quic.ConnectionStats().SmoothedRTT }

// Close closes the connection.
func (c *conn) Close() error { return c.close(0) }

// close closes the connection with a code that gives the peer the reason.
func (c *conn) close(code network.ConnErrorCode) error { return c.link.CloseWithError(code) }

// gone reports whether the connection has ended.
func (c *conn) gone() bool { return c.quic.Context().Err() != nil }

// begin starts the goroutines and timers of a new connection.
func (c *conn) begin() {
	c.mu.Lock()
	if wait, ends := c.patience(); !c.retired && (ends || !c.path.Dialed) {
		c.timer = time.AfterFunc(max(wait, tick), c.retire)
	}
	c.mu.Unlock()
	if c.path.Dialed {
		c.endpoint.attendDialed()
	}
	if !c.introduced() {
		c.endpoint.start(c.introduce)
	}
	if !c.endpoint.start(func() { c.endpoint.serve(c) }) {
		c.Close()
		c.endpoint.disconnected(c)
	}
}

// end undoes begin.
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

// streamBegins counts an application stream, and returns false if the
// connection is being closed.
func (c *conn) streamBegins() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.retired && c.streams.Add(1) == 1 && c.moves() {
		c.endpoint.stir()
	}
	return !c.retired
}

// streamEnded undoes streamBegins. served reports whether the stream counts as
// use.
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

// patience returns how long the connection is kept without a stream, and false
// if it is kept for ever. The caller holds mu.
//
// It is kept for ever for a version 1 peer that this node knows or has
// discovered: such a peer dials only when it hears something new about this
// node, and could no longer reach it.
func (c *conn) patience() (time.Duration, bool) {
	if c.version == 1 && (!c.stranger() || c.discovered()) {
		return 0, false
	}
	if c.stranger() {
		return c.endpoint.limits.StrangerIdle, c.endpoint.limits.StrangerIdle > 0
	}
	idle := c.endpoint.listener.cfg.IdleTimeout
	if c.endpoint.listener.cfg.Frugal && c.discovered() {
		idle = min(idle, frugalIdleTimeout)
	}
	if !c.path.Dialed {
		return idle + idleGrace, idle > 0
	}
	return idle, idle > 0
}

// discovered reports whether a hook has discovered the peer. An introduction by
// the peer itself does not count.
func (c *conn) discovered() bool {
	peer, known := c.endpoint.scope.Node().Peer(c.id)
	others := func(hook string) bool { return hook != c.endpoint.listener.Name() }
	return known && slices.ContainsFunc(peer.Info().DiscoveredBy, others)
}

// retire closes the connection if it has been idle for long enough, and
// otherwise checks again later, since the peer may have become known in the
// meantime.
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

// introduce opens the metadata stream, which shows the protocol version that
// the peer speaks, and sends the node's metadata.
func (c *conn) introduce() {
	version, err := c.ask()
	if version == 1 && c.endpoint.veil != nil {
		err = errAncestor
	}
	if err != nil && c.ctx.Err() == nil {
		c.endpoint.log.Debug("no metadata stream", "peer", c.id, "cause", err)
	}
	c.mu.Lock()
	c.version, c.err = version, err
	if version == 1 {
		c.acquaint(true)
	}
	c.mu.Unlock()
	close(c.known)
	switch {
	case err != nil: // it speaks no version
		c.close(network.ConnProtocolNegotiationFailed)
	default:
		c.endpoint.listener.remember(c.id, version)
		c.tellMetadata(false)
	}
}

// ask opens the metadata stream. Only a refusal of the protocol means that the
// peer speaks version 1; everything else is an error.
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
		err = multistream.NewSelection(s).Answer(protocolMeta) // the peer sends nothing else on this stream
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

// serve handles a stream that the peer has opened. If counted, the stream holds
// a place until it has named its protocol.
func (c *conn) serve(s *quicgo.Stream, counted bool) {
	s.SetDeadline(time.Now().Add(firstFrame))
	supported := append(make([]string, 0, 5), protocolStream, protocolMeta)
	if c.endpoint.veil == nil {
		supported = append(supported, protocolAncestor)
	}
	if !c.stranger() && !c.veiled && c.Candid() {
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

// open opens an application stream. If the peer is known or announced to speak
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

// newStream opens a QUIC stream. If the peer's stream limit is reached, it
// waits up to patience for another stream to end.
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

// creditTime is how long a new stream waits for the peer to allow one more.
const creditTime = 15 * time.Second

var (
	errAncestor = errors.New("quic: a node that is visible only to its contacts does not speak version 1")

	errFull    = fmt.Errorf("quic: the peer's stream limit is reached: %w", p2p.ErrBusy)
	errRetired = fmt.Errorf("%w: it was idle and is being closed", p2p.ErrConnectionLost)
	errLost    = fmt.Errorf("quic: %w", p2p.ErrConnectionLost)
)

// vanished reports whether the connection, which is gone, ended because the
// peer had become silent.
func (c *conn) vanished() bool {
	var silent *quicgo.IdleTimeoutError
	return errors.As(context.Cause(c.quic.Context()), &silent)
}

const (
	recheck = 10 * time.Second      // how often to check whether a connection may still be kept for ever
	tick    = 10 * time.Millisecond // the shortest wait of the idle timer
)

// endedIdle reports whether the connection, which is gone, was closed by either
// side because it was idle.
func (c *conn) endedIdle() bool {
	var closed *quicgo.ApplicationError
	return errors.As(context.Cause(c.quic.Context()), &closed) && closed.ErrorCode == quicgo.ApplicationErrorCode(network.ConnGarbageCollected)
}
