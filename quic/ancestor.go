package quic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p/internal/multistream"
	v1 "github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/internal/v1/intro"
)

// The protocol of version 1, /sdp2p/1: on every stream, both sides introduce
// themselves before the first application byte.
//
// On each connection one stream is opened at a time, and one that the peer
// dropped is opened again: see package intro.

// partingTime is how long a connection is kept after the discoveries have said
// goodbye. The first implementation hangs if the connection ends before.
const partingTime = 1500 * time.Millisecond

// ends returns the two nodes as they introduce themselves.
func (c *conn) ends() *intro.Ends {
	return &intro.Ends{
		Self: c.endpoint.scope.Node().Identity(), Peer: c.id, Metadata: c.metadata,
		LeftOut: func(number int, first error) {
			c.endpoint.log.Debug("left out entries of a peer's metadata", "peer", c.id, "number", number, "first", first)
		},
	}
}

// openAncestor opens a stream to a version 1 peer, which takes two round trips.
// It first uses s, to which nothing has been written. On failure the stream is
// no longer counted.
func (c *conn) openAncestor(ctx context.Context, s *quicgo.Stream) (*stream, error) {
	return c.callAncestor(ctx, s, func(st *stream) error {
		metadata, err := c.ends().Open(st)
		if err != nil {
			return err
		}
		return c.said.Say(metadata)
	})
}

// identifyAncestor exchanges identities with a version 1 node at a manual
// address. It returns the node's metadata.
func (c *conn) identifyAncestor(ctx context.Context) (metadata map[string]string, err error) {
	if !c.streamBegins() {
		return nil, errRetired
	}
	s, err := c.newStream(ctx, creditTime)
	if err != nil {
		c.streamEnded(false)
		return nil, streamError(err)
	}
	st, err := c.callAncestor(ctx, s, func(st *stream) (err error) {
		metadata, err = c.ends().Identify(st)
		return err
	})
	if err != nil {
		return nil, err
	}
	st.finish(ctx)
	return metadata, nil
}

// callAncestor waits for its turn, selects the protocol on s, and calls talk
// for the introduction. If the peer drops the stream, it tries again on another
// one. On failure the stream is no longer counted.
func (c *conn) callAncestor(ctx context.Context, s *quicgo.Stream, talk func(*stream) error) (st *stream, err error) {
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
	err = intro.Insist(ctx, func() error {
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

// tryAncestor is one attempt of callAncestor, on s, within the time that ctx
// and firstFrame leave. On failure s is reset.
func (c *conn) tryAncestor(ctx context.Context, s *quicgo.Stream, talk func(*stream) error) (*stream, error) {
	s.SetDeadline(time.Now().Add(firstFrame))
	stop := context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })
	st := newStream(c, s, 1, nil)
	st.Served() // the node's own streams always count as use
	rest, err := multistream.Select(s, protocolAncestor)
	if err == nil {
		st.rest = rest
		err = talk(st)
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		reset(s, 0)
		c.serving.Add(-1) // st is not returned
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("quic: /sdp2p/1: %w", streamError(err))
	}
	s.SetDeadline(time.Time{})
	return st, nil
}

// part waits until the ending endpoint, which already refuses streams, may
// close the connection.
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
	if errors.Is(err, intro.ErrClaim) && c.endpoint.once("claim "+c.id.String()) {
		c.endpoint.log.Warn("refused a peer that claims another identity", "peer", c.id)
	}
	st.Reset(intro.Code(err))
}

// answerAncestor does the responder's part, and reports whether the stream now
// belongs to the application.
func (c *conn) answerAncestor(st *stream) (handed bool, err error) {
	mode, metadata, err := c.ends().Answer(st)
	if err != nil {
		return false, err
	}
	if err := c.said.Say(metadata); err != nil {
		return false, err
	}
	if mode == v1.Identify {
		// Each side counts as having discovered the other while they are
		// connected.
		c.refusals.add() // it costs as much as a refused stream
		return false, c.endpoint.listener.manual.discoveredBack(c, metadata)
	}
	st.SetDeadline(time.Time{})
	c.endpoint.scope.Accept(c.id, st)
	return true, nil
}

// finish closes a stream once the other side has ended it too, in whatever way,
// so that nothing that either sent is lost.
func (s *stream) finish(ctx context.Context) {
	s.SetDeadline(time.Now().Add(firstFrame))
	defer context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })()
	s.CloseWrite()
	io.Copy(io.Discard, s)
	s.Close()
}
