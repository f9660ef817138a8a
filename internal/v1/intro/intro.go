// Package intro implements the introductions at the beginning of each version 1
// stream, for all transports that carry such streams: both sides state their
// identities before the first application byte.
//
// A node of the first implementation accepts one stream at a time and drops
// those that arrive meanwhile: their opener reads the end of the stream, or a
// reset, instead of the peer's metadata. So on each connection only one stream
// at a time may be opened, and a dropped one, which carried no application
// bytes, is opened again ([Insist]).
package intro

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/backoff"
	"github.com/sdp2p/p2p/internal/metadata"
	v1 "github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/proto"
)

// Protocol is the protocol that a version 1 stream selects.
const Protocol = "/sdp2p/1"

const (
	// Patience is how long to keep opening a stream that the peer drops, not
	// counting the wait for a turn.
	Patience  = 15 * time.Second
	insistMin = 5 * time.Millisecond // between the first two attempts
	insistMax = 320 * time.Millisecond
)

var (
	// ErrClaim is returned if the peer has introduced itself as another node.
	ErrClaim = errors.New("the peer claims an identity that is not its own")
	// ErrDropped is wrapped if the peer had no room for a stream. It wraps
	// [p2p.ErrBusy].
	ErrDropped = fmt.Errorf("the peer has dropped the stream for %v each time: %w", Patience, p2p.ErrBusy)
)

// Ends are the two authenticated nodes of a connection.
type Ends struct {
	Self, Peer identity.RemoteIdentity
	// Metadata returns the metadata to send to the peer.
	Metadata func() map[string]string
	// LeftOut is called if entries of the peer's metadata were left out,
	// because they break rules that are younger than version 1, or are over a
	// limit.
	LeftOut func(number int, first error)
}

// Open introduces this node on an application stream that it has opened, and
// returns the peer's metadata.
func (e *Ends) Open(s io.ReadWriter) (map[string]string, error) {
	if err := send(s, v1.Stream, e.hello()); err != nil {
		return nil, err
	}
	return e.hear(proto.NewDecoder(s))
}

// Identify exchanges identities with the peer, and returns the peer's metadata.
// The stream is over then.
func (e *Ends) Identify(s io.ReadWriter) (map[string]string, error) {
	d := proto.NewDecoder(s)
	if err := send(s, v1.Identify); err != nil {
		return nil, err
	}
	var id v1.Identity
	if err := id.DecodeFrom(d); err != nil {
		return nil, err
	}
	if id != e.Peer.Bytes() {
		return nil, ErrClaim
	}
	if err := send(s, e.hello()); err != nil {
		return nil, err
	}
	return e.hear(d)
}

// Answer does the responder's part on a stream that the peer has opened.
// Afterwards the stream belongs to the application, or is over if its mode is
// [v1.Identify].
func (e *Ends) Answer(s io.ReadWriter) (mode v1.Mode, told map[string]string, err error) {
	d := proto.NewDecoder(s)
	if err := mode.DecodeFrom(d); err != nil {
		return 0, nil, err
	}
	if mode == v1.Identify {
		if err := send(s, v1.Identity(e.Self.Bytes())); err != nil {
			return 0, nil, err
		}
	}
	var hello v1.Hello
	if err := hello.DecodeFrom(d); err != nil {
		return 0, nil, err
	}
	if hello.Identity != e.Peer.Bytes() {
		return 0, nil, ErrClaim
	}
	told = e.valid(hello.Metadata)
	return mode, told, send(s, e.metadata())
}

// Code returns the code to reset a stream with after an error of [Ends.Answer].
func Code(err error) p2p.ResetCode {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return p2p.ErrTimeout
	case errors.Is(err, ErrClaim):
		return p2p.ErrRefused
	}
	return p2p.ErrCanceled
}

// hello returns the initiator's message about this node.
func (e *Ends) hello() *v1.Hello {
	return &v1.Hello{Identity: e.Self.Bytes(), Metadata: e.metadata()}
}

// metadata returns as much of the metadata as version 1 accepts.
func (e *Ends) metadata() v1.Metadata { return v1.Metadata(e.Metadata()).Fit(v1.MaxPeerMetadata) }

// hear reads the responder's metadata.
func (e *Ends) hear(d *proto.Decoder) (map[string]string, error) {
	var told v1.Metadata
	if err := told.DecodeFrom(d); err != nil {
		return nil, err
	}
	return e.valid(told), nil
}

func (e *Ends) valid(entries v1.Metadata) map[string]string {
	var first error
	kept := metadata.Cut(entries, func(_ string, err error) {
		if first == nil {
			first = err
		}
	})
	if first != nil && e.LeftOut != nil {
		e.LeftOut(len(entries)-len(kept), first)
	}
	return kept
}

// send writes messages in one piece.
func send(w io.Writer, messages ...encoding.BinaryAppender) (err error) {
	var b []byte
	for _, m := range messages {
		if b, err = m.AppendBinary(b); err != nil {
			return err
		}
	}
	_, err = w.Write(b)
	return err
}

// Insist calls open until the peer does not drop the stream, for at most
// [Patience]. The errors of open must be those of a [p2p.RawStream].
func Insist(ctx context.Context, open func() error) error {
	over := time.NewTimer(Patience)
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
			return fmt.Errorf("%w: %w", ErrDropped, err)
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
}

// dropped reports whether an error means that a version 1 peer has ended a
// stream, possibly for lack of room.
func dropped(err error) bool {
	var reset *p2p.ResetError
	if errors.As(err, &reset) {
		return reset.Remote && (reset.Code == p2p.ErrCanceled || reset.Code == p2p.ErrBusy)
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
