package ancestor

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	muxer "github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-yamux/v5"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/metadata"
	"github.com/sdp2p/p2p/internal/multistream"
	v1 "github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/internal/v1/intro"
)

const (
	firstFrame   = 5 * time.Second // for a protocol selection and an introduction
	strangerIdle = 10 * time.Second
	dialedIdle   = 5 * time.Minute // of a peer that nobody tracks or discovers
	strangePace  = time.Second / 32
	strangeBurst = 64 // streams
)

// A conn is one connection with a peer, in a circuit.
type conn struct {
	run     *run
	session *yamux.Session
	mux     network.MuxedConn
	id      identity.RemoteIdentity
	path    p2p.Path
	opened  time.Time
	leave   func() // frees its place
	said    *metadata.Heard
	ends    *intro.Ends
	opening chan struct{}   // of size 1: held while a stream is opened
	ctx     context.Context // done when the connection is gone
	cancel  context.CancelFunc
	serving atomic.Int32 // streams of ours, and the peer's that a handler serves
	carried *carried     // bytes; nil in tests
	why     atomic.Pointer[string]

	mu        sync.Mutex
	streams   int // streams of the application
	last      time.Time
	timer     *time.Timer
	over      bool      // no more streams
	shortened time.Time // when a direct connection was last tried
}

func newConn(r *run, session *yamux.Session, line junction.Line, leave func()) *conn {
	c := &conn{
		run: r, session: session, mux: muxer.NewMuxedConn(session), id: line.Peer, path: path(line), opened: time.Now(),
		leave: leave, opening: make(chan struct{}, 1), last: time.Now(),
	}
	c.carried, _ = line.Stream.(*carried)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.said = &metadata.Heard{Burst: 16, PerSecond: 4, State: func(m map[string]string) error { return r.scope.Stated(c.id, m) }}
	c.ends = &intro.Ends{
		Self: r.scope.Node().Identity(), Peer: c.id, Metadata: c.metadata,
		LeftOut: func(number int, first error) {
			r.log.Debug("left out entries of a peer's metadata", "peer", c.id, "number", number, "first", first)
		},
	}
	return c
}

// Path returns the connection's path.
func (c *conn) Path() p2p.Path { return c.path }

// Opened returns when the connection was made.
func (c *conn) Opened() time.Time { return c.opened }

// RTT returns the smoothed round-trip time.
func (c *conn) RTT() time.Duration { return c.session.RTT() }

// Close closes the connection, with all its streams.
func (c *conn) Close() error { return c.close("closed") }

func (c *conn) gone() bool { return c.session.IsClosed() }

// stranger reports whether the peer is a stranger now.
func (c *conn) stranger() bool { return !c.path.Dialed && c.run.scope.Stranger(c.id) }

// metadata returns the metadata that the peer is told.
func (c *conn) metadata() map[string]string {
	if c.stranger() {
		return nil
	}
	return c.run.scope.Node().Metadata()
}

// serve accepts the streams that the peer opens, until the connection is gone.
func (c *conn) serve() {
	c.mu.Lock()
	c.timer = time.AfterFunc(strangerIdle, c.retire)
	c.mu.Unlock()
	if !c.path.Dialed {
		c.run.start(c.upgrade)
	}
	pace := time.Now().Add(-strangeBurst * strangePace)
	for {
		s, err := c.mux.AcceptStream()
		if err != nil {
			c.endedBy(endOf(err))
			break
		}
		if !c.run.start(func() { c.serveStream(s) }) {
			s.ResetWithError(network.StreamShutdown)
		}
		if pace = later(pace.Add(strangePace), time.Now().Add(-strangeBurst*strangePace)); c.stranger() {
			c.rest(time.Until(pace))
		}
	}
	c.Close()
	c.run.disconnected(c)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// rest waits for a time, or until the connection is gone.
func (c *conn) rest(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.session.CloseChan():
	}
}

// end stops the connection's timers and goroutines.
func (c *conn) end() {
	c.cancel()
	c.said.Stop()
	c.leave()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.timer != nil {
		c.timer.Stop()
	}
}

// begins counts a stream, and returns false if the connection is being closed.
func (c *conn) begins() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.streams++
	return true
}

func (c *conn) ended(use bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams--
	if use || !c.stranger() {
		c.last = time.Now()
	}
}

// patience returns how long an idle connection is kept, or false if it is kept
// for ever: a version 1 peer that this node knows dials only when it hears
// something new about us, and could no longer reach us.
func (c *conn) patience() (time.Duration, bool) {
	switch {
	case c.stranger():
		return strangerIdle, true
	case !c.run.scope.Stranger(c.id) || c.discovered():
		return 0, false
	}
	return dialedIdle, true
}

// discovered reports whether a hook discovers the peer.
func (c *conn) discovered() bool {
	peer, known := c.run.scope.Node().Peer(c.id)
	return known && slices.ContainsFunc(peer.Info().DiscoveredBy, func(hook string) bool { return hook != c.run.listener.Name() })
}

// retire closes the connection if it has been idle for long enough, and
// otherwise checks again later.
func (c *conn) retire() {
	wait, ends := c.patience()
	idle := c.serving.Load() == 0
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	if !c.stranger() && c.streams > 0 {
		idle = false
	}
	left := wait - time.Since(c.last)
	if ends && idle && left <= 0 {
		c.over = true
		go c.close("idle") // it may wait for pending writes
		return
	}
	c.timer.Reset(min(max(left, time.Second), strangerIdle))
}

// open opens a stream to the peer, which takes yamux and the protocol three
// round trips of the circuit.
func (c *conn) open(ctx context.Context) (p2p.RawStream, error) {
	if !c.begins() {
		return nil, errRetired
	}
	st, err := c.call(ctx)
	if err != nil {
		c.ended(false)
		return nil, err
	}
	return st, nil
}

func (c *conn) call(ctx context.Context) (st *stream, err error) {
	select {
	case c.opening <- struct{}{}:
		defer func() { <-c.opening }()
	case <-c.session.CloseChan():
		return nil, errLost
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	err = intro.Insist(ctx, func() error {
		st, err = c.try(ctx)
		return err
	})
	return st, err
}

// try is one attempt of call. On failure the stream is reset.
func (c *conn) try(ctx context.Context) (*stream, error) {
	within, cancel := context.WithTimeout(ctx, firstFrame)
	defer cancel()
	s, err := c.mux.OpenStream(within)
	if err != nil {
		return nil, c.failed(err)
	}
	stop := context.AfterFunc(within, func() { s.SetDeadline(time.Unix(1, 0)) })
	st := newStream(c, s)
	told, err := c.introduce(st)
	if err == nil {
		err = c.said.Say(told)
	}
	if !stop() && err == nil {
		err = context.Cause(within)
	}
	if err != nil {
		s.Reset()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	st.Served() // this node has a use for the streams that it opens
	return st, nil
}

func (c *conn) introduce(st *stream) (told map[string]string, err error) {
	if st.rest, err = multistream.Select(st, intro.Protocol); err != nil {
		return nil, err
	}
	return c.ends.Open(st)
}

// serveStream handles a stream that the peer has opened.
func (c *conn) serveStream(s network.MuxedStream) {
	s.SetDeadline(time.Now().Add(firstFrame))
	st := newStream(c, s)
	supported := []string{intro.Protocol}
	if c.upgrades() {
		supported = append(supported, junction.Upgrade)
	}
	protocol, rest, err := multistream.Accept(st, supported...)
	switch {
	case err != nil:
		s.ResetWithError(network.StreamProtocolNegotiationFailed)
		return
	case protocol == junction.Upgrade:
		st.rest = rest
		c.punched(st)
		return
	case !c.begins():
		s.ResetWithError(network.StreamErrorCode(p2p.ErrShuttingDown))
		return
	}
	st.rest = rest
	c.answer(st)
}

func (c *conn) answer(st *stream) {
	mode, told, err := c.ends.Answer(st)
	if err == nil {
		err = c.said.Say(told)
	}
	switch {
	case err != nil:
		if errors.Is(err, intro.ErrClaim) {
			c.run.log.Debug("refused a peer that claims another identity", "peer", c.id)
		}
		st.Reset(intro.Code(err))
	case mode == v1.Identify:
		st.finish()
	default:
		st.MuxedStream.SetDeadline(time.Time{})
		c.run.scope.Accept(c.id, st)
	}
}

func (c *conn) close(why string) error {
	c.endedBy(why)
	return c.session.Close()
}

var _ p2p.MeasuredConn = (*conn)(nil)
