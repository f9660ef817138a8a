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
	"github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/proto"
)

// The first implementation's protocol, /sdp2p/1: on every stream, both sides introduce themselves before the first
// application byte.

var errClaim = errors.New("quic: the peer claims an identity that is not its own")

// openAncestor opens a stream to a node of the first implementation, on a new one of the connection: two round trips.
func (c *conn) openAncestor(ctx context.Context, s *quicgo.Stream) (*stream, error) {
	return c.callAncestor(ctx, s, func(st *stream, d *proto.Decoder) error {
		if err := send(st, v1.Stream, c.hello()); err != nil {
			return err
		}
		metadata, err := c.hearAncestor(d)
		if err != nil {
			return err
		}
		return c.endpoint.scope.Stated(c.id, metadata)
	})
}

// identifyAncestor asks a node of the first implementation at a manual address who it is, and says the same. It returns
// the node's metadata.
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

// callAncestor selects the protocol on a stream of this side and has talk introduce it, within the time that ctx and
// firstFrame leave. On failure the stream is freed.
func (c *conn) callAncestor(ctx context.Context, s *quicgo.Stream, talk func(*stream, *proto.Decoder) error) (*stream, error) {
	s.SetDeadline(time.Now().Add(firstFrame))
	stop := context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })
	st := newStream(c, s, 1, nil)
	st.Served() // what this node opens is of use to it
	rest, err := selectProtocol(s, protocolAncestor)
	if err == nil {
		st.rest = rest
		err = talk(st, proto.NewDecoder(st))
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		st.Reset(p2p.ErrCancelled)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("quic: /sdp2p/1: %w", streamError(err))
	}
	s.SetDeadline(time.Time{})
	return st, nil
}

// serveAncestor handles a stream of the first implementation.
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

// answerAncestor does the responder's part, and reports whether the stream is the application's now.
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
	if err := c.endpoint.scope.Stated(c.id, metadata); err != nil {
		return false, err
	}
	if mode == v1.Identify {
		// Each side has discovered the other, for as long as they are connected.
		return false, c.endpoint.listener.manual.discoveredBack(c, metadata)
	}
	st.SetDeadline(time.Time{})
	c.endpoint.scope.Accept(c.id, st)
	return true, nil
}

// hello is what this node says of itself as the initiator.
func (c *conn) hello() *v1.Hello {
	return &v1.Hello{Identity: c.endpoint.scope.Node().Identity().Bytes(), Metadata: c.metadataV1()}
}

// metadataV1 is what the peer is told, as much of it as version 1 takes.
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

// valid leaves out entries that break rules which are younger than the first implementation.
func (c *conn) valid(metadata v1.Metadata) map[string]string {
	kept := map[string]string{}
	for key, value := range metadata {
		if err := errors.Join(proto.ValidateMetadataKey(key), proto.ValidateMetadataValue(key, value)); err != nil {
			c.endpoint.log.Debug("left out an entry of a peer's metadata", "peer", c.id, "err", err)
			continue
		}
		kept[key] = value
	}
	return kept
}

// finish closes a stream once the other side has ended it too, so that nothing that either sent is lost. Whether the other
// side does so in good order says nothing any more.
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
