package quic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	tpt "github.com/libp2p/go-libp2p/core/transport"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

// A conn is one connection with a peer.
type conn struct {
	endpoint *endpoint
	link     tpt.CapableConn // go-libp2p's view of it
	quic     *quicgo.Conn
	id       identity.RemoteIdentity
	path     p2p.Path
	opened   time.Time
	usable   bool          // for streams of ours: the node knows of it; under endpoint.mu
	idle     time.Duration // < 0: it is not closed for being idle

	ctx    context.Context // done when the connection is gone
	cancel context.CancelFunc
	asked  chan struct{} // closed once the metadata stream has been opened, before any application stream
	known  chan struct{} // closed once version or err is known

	mu         sync.Mutex
	version    int       // of the protocol that the peer speaks; 0 while that is not known
	err        error     // why that could not be found out
	streams    int       // application streams
	lastStream time.Time // when the last one of them ended
	timer      *time.Timer
	retired    bool           // closed for being idle: no more streams
	meta       *quicgo.Stream // on which this node's metadata is told; nil until the peer has accepted it
	telling    bool           // a goroutine writes to it
	tellAgain  bool           // and what it writes is out of date
	told       bool           // the peer has opened its metadata stream
}

var _ p2p.RawConn = (*conn)(nil)

func newConn(e *endpoint, link tpt.CapableConn, id identity.RemoteIdentity, path p2p.Path) *conn {
	c := &conn{
		endpoint: e, link: link, quic: quicOf(link), id: id, path: path, opened: time.Now(),
		idle: e.listener.cfg.IdleTimeout, asked: make(chan struct{}), known: make(chan struct{}),
	}
	if !path.Dialed && c.idle > 0 {
		c.idle += idleGrace
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Path returns the way that the connection runs.
func (c *conn) Path() p2p.Path { return c.path }

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
	c.rest()
	c.mu.Unlock()
	c.endpoint.start(c.introduce)
	if !c.endpoint.start(func() { c.endpoint.serve(c) }) {
		c.Close()
		c.endpoint.disconnected(c)
	}
}

// end stops it.
func (c *conn) end() {
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired = true
	if c.timer != nil {
		c.timer.Stop()
	}
}

// streamBegins counts an application stream, and reports false if the connection is being closed.
func (c *conn) streamBegins() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired {
		return false
	}
	c.streams++
	if c.timer != nil {
		c.timer.Stop()
	}
	return true
}

// streamEnded takes it back.
func (c *conn) streamEnded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams--
	c.lastStream = time.Now()
	c.rest()
}

func (c *conn) lastStreamEnded() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastStream
}

// rest starts the idle timer if no application stream is left. The caller holds mu.
func (c *conn) rest() {
	if c.streams > 0 || c.idle < 0 || c.retired {
		return
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(c.idle, c.retire)
	} else {
		c.timer.Reset(c.idle)
	}
}

// retire closes the connection if it is still idle.
func (c *conn) retire() {
	c.mu.Lock()
	idle := c.streams == 0 && !c.retired
	c.retired = c.retired || idle
	c.mu.Unlock()
	if idle {
		c.close(network.ConnGarbageCollected)
	}
}

// introduce opens the metadata stream, which tells which protocol version the peer speaks, and then the metadata.
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
		c.tellMetadata()
	}
}

// ask opens the metadata stream. Only the answer "no" means a peer of version 1; everything else is an error.
func (c *conn) ask() (version int, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, firstFrame)
	defer cancel()
	s, err := c.quic.OpenStreamSync(ctx)
	if err != nil {
		close(c.asked)
		return 0, streamError(err)
	}
	s.SetDeadline(time.Now().Add(firstFrame))
	_, err = io.WriteString(s, question(protocolMeta))
	close(c.asked)
	if err == nil {
		err = newSelection(s).answer(protocolMeta) // the peer says nothing more on this stream
	}
	switch {
	case errors.Is(err, errNotSupported):
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

// tellMetadata sends this node's metadata as it is now. It does not wait.
func (c *conn) tellMetadata() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.meta == nil {
		return
	}
	if c.telling {
		c.tellAgain = true
		return
	}
	c.telling = c.endpoint.start(c.writeMetadata)
}

func (c *conn) writeMetadata() {
	for {
		err := c.writeMetadataOnce()
		c.mu.Lock()
		again := c.tellAgain && err == nil
		if err != nil {
			c.meta = nil
		}
		c.tellAgain = false
		c.telling = again
		c.mu.Unlock()
		if err != nil && c.ctx.Err() == nil {
			c.endpoint.log.Debug("could not tell the metadata", "peer", c.id, "err", err)
		}
		if !again {
			return
		}
	}
}

func (c *conn) writeMetadataOnce() error {
	b, err := proto.Metadata(c.endpoint.scope.Node().Metadata()).AppendBinary(nil)
	if err != nil {
		return err
	}
	c.meta.SetWriteDeadline(time.Now().Add(vanishTimeout))
	if _, err = c.meta.Write(b); err != nil {
		reset(c.meta, 0) // a part of it may have been written
		return streamError(err)
	}
	return nil
}

// serve handles a stream that the peer has opened.
func (c *conn) serve(s *quicgo.Stream) {
	s.SetDeadline(time.Now().Add(firstFrame))
	protocol, rest, err := acceptProtocol(s, protocolStream, protocolMeta, protocolAncestor)
	if err != nil {
		code := network.StreamProtocolNegotiationFailed
		if errors.Is(err, os.ErrDeadlineExceeded) {
			code = network.StreamErrorCode(p2p.ErrTimeout)
		}
		reset(s, code)
		return
	}
	s.SetDeadline(time.Time{})
	if protocol == protocolMeta {
		c.readMetadata(s, rest)
		return
	}
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

// readMetadata hears the peer's metadata for as long as the connection lasts. A peer that breaks the rules loses it.
func (c *conn) readMetadata(s *quicgo.Stream, rest []byte) {
	c.mu.Lock()
	second := c.told
	c.told = true
	c.mu.Unlock()
	err := errors.New("a second metadata stream on one connection")
	if !second {
		err = c.hear(io.MultiReader(bytes.NewReader(rest), s))
	}
	reset(s, 0)
	if err == nil || c.ctx.Err() != nil {
		return
	}
	if c.endpoint.once("metadata " + c.id.String()) {
		c.endpoint.log.Warn("closed a connection: its metadata stream is not valid", "peer", c.id, "err", err)
	}
	c.close(network.ConnProtocolViolation)
}

func (c *conn) hear(r io.Reader) error {
	d := proto.NewDecoder(r)
	for {
		var metadata proto.Metadata
		if err := metadata.DecodeFrom(d); err != nil {
			if errors.Is(err, proto.ErrInvalid) || errors.Is(err, io.ErrUnexpectedEOF) {
				return err
			}
			return nil // the stream has ended, or the connection
		}
		d.Reset(r)
		if err := c.endpoint.scope.Stated(c.id, metadata); err != nil && c.ctx.Err() == nil {
			return fmt.Errorf("quic: %w", err)
		}
	}
}

// open opens an application stream. To a peer that is known, or said, to speak version 2, that takes no round trip.
func (c *conn) open(ctx context.Context, said int) (*stream, error) {
	select {
	case <-c.asked: // the metadata stream comes first
	case <-c.ctx.Done():
		return nil, errLost
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	version := c.version
	c.mu.Unlock()
	if version == 0 {
		if version = said; version != 2 {
			select {
			case <-c.known:
			case <-c.ctx.Done():
				return nil, errLost
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			c.mu.Lock()
			err := c.err
			version = c.version
			c.mu.Unlock()
			if err != nil {
				return nil, err
			}
		}
	}
	if !c.streamBegins() {
		return nil, errRetired
	}
	s, err := c.newStream(ctx, creditTime)
	if err != nil {
		c.streamEnded()
		return nil, streamError(err)
	}
	if version == 1 {
		return c.openAncestor(ctx, s)
	}
	return newLazyStream(c, s), nil
}

// newStream opens a stream of QUIC. Where the peer has as many open as it takes, it waits for one of them to end, so long.
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

// vanished tells whether the connection, which is gone, ended because nothing was heard of the peer any more.
func (c *conn) vanished() bool {
	var silent *quicgo.IdleTimeoutError
	return errors.As(context.Cause(c.quic.Context()), &silent)
}

// endedIdle tells whether the connection, which is gone, was closed because nobody used it, by either side.
func (c *conn) endedIdle() bool {
	var closed *quicgo.ApplicationError
	return errors.As(context.Cause(c.quic.Context()), &closed) && closed.ErrorCode == quicgo.ApplicationErrorCode(network.ConnGarbageCollected)
}
