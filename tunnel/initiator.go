package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sdp2p/p2p/internal/turn"
)

// handshakeTime bounds a handshake as a whole, on either side.
const handshakeTime = 10 * time.Second

// Open opens a tunnel to a member of the library: to that instance, on that
// node, whose [Responder] accepts it. It takes one round trip, and at most 10
// s. The first data, if written within 5 ms, travel with the message that
// completes the handshake at the other end.
//
// It fails with [ErrUnauthorized] if the session's node is not the member's, or
// the member is ourselves; with [ErrHandshake], which wraps the stream's error,
// if the responder does not answer as that member would, for which it gives no
// reason; with [ErrTimeout]; or with an error that wraps ctx's. If it fails,
// the session is reset.
func Open(ctx context.Context, s Session, c *Credential, to Member) (*Conn, error) {
	t, err := initiate(ctx, s, c, to, nil)
	if err != nil {
		s.reset()
		return nil, err
	}
	return t, nil
}

func initiate(ctx context.Context, s Session, c *Credential, to Member, random io.Reader) (*Conn, error) {
	remote, err := to.Instance.X25519()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnauthorized, err)
	case remote.Equal(c.static().PublicKey()):
		return nil, fmt.Errorf("%w: it is this instance", ErrUnauthorized)
	case s.Remote != to.Node || s.Remote.IsZero():
		return nil, fmt.Errorf("%w: the member lives on another node", ErrUnauthorized)
	}
	hs, k, err := start(c, prologue(s.Local, s.Remote, c, s.Binding), remote.Bytes(), random)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	m1, _, _, err := hs.WriteMessage([]byte{m1Type, version}, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	stop := expireWith(ctx, s)
	defer stop()
	if err := setDeadline(ctx, s, time.Now().Add(handshakeTime)); err != nil {
		return nil, err
	}
	if _, err := s.Stream.Write(m1); err != nil {
		return nil, fail(ctx, err)
	}
	var m2 [m2Size]byte
	if _, err := io.ReadFull(s.Stream, m2[:]); err != nil {
		return nil, fail(ctx, err)
	}
	if err := checkEphemeral(m2[:keySize]); err != nil {
		return nil, err
	}
	_, out, in, err := hs.ReadMessage(nil, m2[:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	if !stop() {
		return nil, fail(ctx, ctx.Err())
	}
	if err := s.Stream.SetDeadline(time.Time{}); err != nil {
		return nil, fail(ctx, err)
	}
	c.remember([keySize]byte(remote.Bytes()), k)
	t := newConn(s, c, to, hs.ChannelBinding(), newSealer(in), newSealer(out))
	t.confirm = true
	t.writing.Take() // until early is set
	t.early = time.AfterFunc(confirmDelay, func() {
		t.writing.Take()
		defer t.writing.Release()
		_ = t.sendConfirm() // a failure shows in the next call
	})
	t.writing.Release()
	return t, nil
}

// expireWith makes the session's calls fail once ctx is done. stop cancels
// that, and reports whether it was in time.
func expireWith(ctx context.Context, s Session) (stop func() bool) {
	return context.AfterFunc(ctx, func() { s.Stream.SetDeadline(turn.Past) })
}

// setDeadline sets a deadline. It fails if ctx is done: the deadline may have
// replaced that of expireWith.
func setDeadline(ctx context.Context, s Session, t time.Time) error {
	if err := s.Stream.SetDeadline(t); err != nil {
		return fail(ctx, err)
	}
	if ctx.Err() != nil {
		return fail(ctx, ctx.Err())
	}
	return nil
}

// fail turns the stream's error into the handshake's.
func fail(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrHandshake, context.Cause(ctx))
	case isTimeout(err):
		return ErrTimeout
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", ErrHandshake, err)
}
