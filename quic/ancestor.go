package quic

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/backoff"
	"github.com/sdp2p/p2p/internal/metadata"
	"github.com/sdp2p/p2p/internal/multistream"
	"github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/proto"
)

// The protocol of version 1, /sdp2p/1: on every stream, both sides introduce
// themselves before the first application byte.
//
// The node of the first implementation accepts one stream at a time and drops
// those that come meanwhile: their opener reads the end of the stream, or a
// reset, in place of the peer's metadata. So on each connection one stream is
// opened at a time, and one that was dropped is opened again: nothing of the
// application's was on it.

const (
	// insistTime is how long a stream is opened again and again that the
	// peer drops. Waiting for a turn is not counted.
	insistTime = 15 * time.Second
	insistMin  = 5 * time.Millisecond // between the first two attempts
	insistMax  = 320 * time.Millisecond

	// partingTime is how long a connection is kept after the node said
	// goodbye by discovery. The first implementation hangs if the
	// connection ends first.
	partingTime = 1500 * time.Millisecond
)

var (
	errClaim   = errors.New("quic: the peer claims an identity that is not its own")
	errDropped = fmt.Errorf("quic: the peer has dropped the stream for %v each time: %w", insistTime, p2p.ErrBusy)
)

// openAncestor opens a stream to a version 1 peer: two round trips. Nothing has
// been written to s, which is used first. On failure it counts no more.
func (c *conn) openAncestor(ctx context.Context, s *quicgo.Stream) (*stream, error) {
	return c.callAncestor(ctx, s, func(st *stream, d *proto.Decoder) error {
		if err := send(st, v1.Stream, c.hello()); err != nil {
			return err
		}
		metadata, err := c.hearAncestor(d)
		if err != nil {
			return err
		}
		return c.said.say(metadata)
	})
}

// identifyAncestor asks a version 1 node at a manual address who it is, and
// says the same. It returns the node's metadata.
func (c *conn) identifyAncestor(ctx context.Context) (metadata map[string]string, err error) {
	if !c.streamBegins() {
		return nil, errRetired
	}
	s, err := c.newStream(ctx, creditTime)
	if err != nil {
		c.streamEnded(false)
		return nil, streamError(err)
	}
	st, err := c.callAncestor(ctx, s, func(st *stream, d *proto.Decoder) (err error) {
		if err := send(st, v1.Identify); err != nil {
			return err
		}
		var id v1.Identity
		if err := id.DecodeFrom(d); err != nil {
			return err
		}
		if id != c.id.Bytes() {
			return errClaim
		}
		if err := send(st, c.hello()); err != nil {
			return err
		}
		metadata, err = c.hearAncestor(d)
		return err
	})
	if err != nil {
		return nil, err
	}
	st.finish(ctx)
	return metadata, nil
}

// callAncestor waits for its turn, selects the protocol on s, and has talk
// introduce it. If the peer drops the stream, it does so on another one. On
// failure the stream counts no more.
func (c *conn) callAncestor(ctx context.Context, s *quicgo.Stream, talk func(*stream, *proto.Decoder) error) (st *stream, err error) {
	defer func() {
		if err != nil {
			c.streamEnded(false)
		}
	}()
	select {
	case c.opening <- struct{}{}:
		defer func() { <-c.opening }()
	case <-c.quic.Context().Done():
		return nil, errLost
	case <-ctx.Done():
		reset(s, 0)
		return nil, context.Cause(ctx)
	}
	err = insist(ctx, func() error {
		if s == nil {
			if s, err = c.newStream(ctx, creditTime); err != nil {
				return streamError(err)
			}
		}
		st, err = c.tryAncestor(ctx, s, talk)
		s = nil
		return err
	})
	return st, err
}

// insist calls open until the peer does not drop the stream, for insistTime at
// most.
func insist(ctx context.Context, open func() error) error {
	over := time.NewTimer(insistTime)
	defer over.Stop()
	wait := backoff.Backoff{Min: insistMin, Max: insistMax}
	for {
		err := open()
		if err == nil || !dropped(err) {
			return err
		}
		pause := time.NewTimer(wait.Next())
		select {
		case <-pause.C:
		case <-over.C:
			pause.Stop()
			return fmt.Errorf("%w: %w", errDropped, err)
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
}

// dropped reports whether a version 1 peer has ended a stream that it may have
// had no room for.
func dropped(err error) bool {
	var reset *p2p.ResetError
	if errors.As(err, &reset) {
		return reset.Remote && (reset.Code == p2p.ErrCancelled || reset.Code == p2p.ErrBusy)
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// tryAncestor is one attempt of callAncestor, on s, within the time that ctx
// and firstFrame leave. On failure s is reset.
func (c *conn) tryAncestor(ctx context.Context, s *quicgo.Stream, talk func(*stream, *proto.Decoder) error) (*stream, error) {
	s.SetDeadline(time.Now().Add(firstFrame))
	stop := context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })
	st := newStream(c, s, 1, nil)
	st.Served() // what this node opens is of use to it
	rest, err := multistream.Select(s, protocolAncestor)
	if err == nil {
		st.rest = rest
		err = talk(st, proto.NewDecoder(st))
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		reset(s, 0)
		c.serving.Add(-1) // st goes nowhere
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("quic: /sdp2p/1: %w", streamError(err))
	}
	s.SetDeadline(time.Time{})
	return st, nil
}

// part waits until a connection may be closed at the end of the endpoint, which
// refuses streams by now.
func (c *conn) part() {
	c.mu.Lock()
	version := c.version
	c.mu.Unlock()
	if version != 1 {
		return
	}
	parting := time.NewTimer(partingTime)
	defer parting.Stop()
	select {
	case <-parting.C:
	case <-c.quic.Context().Done():
	}
}

// serveAncestor handles a stream that a version 1 peer has opened.
func (c *conn) serveAncestor(st *stream) {
	st.SetDeadline(time.Now().Add(firstFrame))
	handed, err := c.answerAncestor(st)
	if err == nil {
		if !handed {
			st.finish(c.ctx)
		}
		return
	}
	code := p2p.ErrCancelled
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		code = p2p.ErrTimeout
	case errors.Is(err, errClaim):
		code = p2p.ErrRefused
		if c.endpoint.once("claim " + c.id.String()) {
			c.endpoint.log.Warn("refused a peer that claims another identity", "peer", c.id)
		}
	}
	st.Reset(code)
}

// answerAncestor does the responder's part, and reports whether the stream is
// the application's now.
func (c *conn) answerAncestor(st *stream) (handed bool, err error) {
	d := proto.NewDecoder(st)
	var mode v1.Mode
	if err := mode.DecodeFrom(d); err != nil {
		return false, err
	}
	if mode == v1.Identify {
		if err := send(st, v1.Identity(c.endpoint.scope.Node().Identity().Bytes())); err != nil {
			return false, err
		}
	}
	var hello v1.Hello
	if err := hello.DecodeFrom(d); err != nil {
		return false, err
	}
	if hello.Identity != c.id.Bytes() {
		return false, errClaim
	}
	metadata := c.valid(hello.Metadata)
	if err := send(st, c.metadataV1()); err != nil {
		return false, err
	}
	if err := c.said.say(metadata); err != nil {
		return false, err
	}
	if mode == v1.Identify {
		// Each side has discovered the other, for as long as they are
		// connected.
		c.refusals.add() // it costs as much as a stream that is refused
		return false, c.endpoint.listener.manual.discoveredBack(c, metadata)
	}
	st.SetDeadline(time.Time{})
	c.endpoint.scope.Accept(c.id, st)
	return true, nil
}

// hello returns the initiator's message about this node.
func (c *conn) hello() *v1.Hello {
	return &v1.Hello{Identity: c.endpoint.scope.Node().Identity().Bytes(), Metadata: c.metadataV1()}
}

// metadataV1 returns as much of what the peer is told as version 1 accepts.
func (c *conn) metadataV1() v1.Metadata {
	return v1.Metadata(c.metadata()).Fit(v1.MaxPeerMetadata)
}

// hearAncestor reads the responder's metadata.
func (c *conn) hearAncestor(d *proto.Decoder) (map[string]string, error) {
	var metadata v1.Metadata
	if err := metadata.DecodeFrom(d); err != nil {
		return nil, err
	}
	return c.valid(metadata), nil
}

// valid leaves out entries that break rules which are younger than version 1,
// and those over a limit.
func (c *conn) valid(entries v1.Metadata) map[string]string {
	var first error
	kept := metadata.Cut(entries, func(_ string, err error) {
		if first == nil {
			first = err
		}
	})
	if first != nil {
		c.endpoint.log.Debug("left out entries of a peer's metadata", "peer", c.id, "number", len(entries)-len(kept), "first", first)
	}
	return kept
}

// finish closes a stream once the other side has ended it too, so that nothing
// that either sent is lost. How the other side ends it makes no difference.
func (s *stream) finish(ctx context.Context) {
	s.SetDeadline(time.Now().Add(firstFrame))
	defer context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })()
	s.CloseWrite()
	io.Copy(io.Discard, s)
	s.Close()
}

// send writes messages in one piece.
func send(st *stream, messages ...encoding.BinaryAppender) (err error) {
	var b []byte
	for _, m := range messages {
		if b, err = m.AppendBinary(b); err != nil {
			return err
		}
	}
	_, err = st.Write(b)
	return err
}
