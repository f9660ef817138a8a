package quic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"

	"github.com/libp2p/go-libp2p/core/network"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/multistream"
)

// streamError translates an error of a stream into the terms of package p2p. An
// error that is not about the stream alone means the end of its connection.
func streamError(err error) error {
	if err == nil || err == io.EOF { // before errors.As makes variables escape
		return err
	}
	var reset *quicgo.StreamError
	var lost *lostError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.Canceled),
		errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &reset):
		return &p2p.ResetError{Code: resetCode(reset.ErrorCode), Remote: reset.Remote}
	case errors.As(err, &lost) || errors.Is(err, p2p.ErrConnectionLost) || ours(err):
		return err
	}
	return connectionError(err)
}

// ours reports whether an error is one of this package's about bytes that were
// read.
func ours(err error) bool {
	return errors.Is(err, multistream.ErrNotSupported) || errors.Is(err, multistream.ErrSelection) || errors.Is(err, io.ErrUnexpectedEOF)
}

func resetCode(code quicgo.StreamErrorCode) p2p.ResetCode {
	if code > math.MaxUint32 {
		return p2p.ResetCode(network.StreamCodeOutOfRange)
	}
	switch network.StreamErrorCode(code) {
	case network.StreamResourceLimitExceeded, network.StreamRateLimited:
		return p2p.ErrBusy
	case network.StreamShutdown:
		return p2p.ErrShuttingDown
	case network.StreamGated:
		return p2p.ErrRefused
	}
	return p2p.ResetCode(code)
}

// A lostError says how a connection ended. Other packages know it as
// [p2p.ErrConnectionLost].
type lostError struct {
	why   string
	cause error // from quic-go; not shown, since it may contain text from the peer
}

func (e *lostError) Error() string   { return p2p.ErrConnectionLost.Error() + ": " + e.why }
func (e *lostError) Unwrap() []error { return []error{p2p.ErrConnectionLost, e.cause} }

// Cause names the end of the connection.
func (e *lostError) Cause() string { return endOf(e.cause) }

// connectionError translates the end of a connection.
func connectionError(err error) error {
	if err == nil {
		return nil
	}
	return &lostError{why: described(err).Error(), cause: err}
}

// described returns an error of quic-go's in words. A peer's text in it is
// quoted, and cut.
func described(err error) error {
	const most = 64 // bytes of a peer's text
	var closed *quicgo.ApplicationError
	var broken *quicgo.TransportError
	var silent *quicgo.IdleTimeoutError
	var reset *quicgo.StatelessResetError
	switch {
	case errors.As(err, &closed):
		return errors.New(closing(closed))
	case errors.As(err, &silent):
		return errors.New("nothing was heard of the peer any more")
	case errors.As(err, &reset):
		return errors.New("the peer does not know it any more, and has been restarted perhaps")
	case errors.As(err, &broken) && broken.Remote:
		text := broken.ErrorMessage
		if len(text) > most {
			text = text[:most] + "…"
		}
		return fmt.Errorf("the peer has ended it with code %#x %s", uint64(broken.ErrorCode), strconv.QuoteToASCII(text))
	case errors.As(err, &broken) && broken.ErrorCode == quicgo.InternalError:
		return errors.New(broken.ErrorMessage) // what the operating system says
	case errors.As(err, &broken):
		return fmt.Errorf("it was ended with code %#x", uint64(broken.ErrorCode))
	}
	return err
}

func closing(e *quicgo.ApplicationError) string {
	who := "it was closed"
	if e.Remote {
		who = "the peer has closed it"
	}
	switch network.ConnErrorCode(e.ErrorCode) {
	case 0:
		return who
	case network.ConnShutdown:
		return who + ": shutting down"
	case network.ConnGarbageCollected:
		return who + ": it was idle"
	case network.ConnResourceLimitExceeded, network.ConnRateLimited:
		return who + ": too many connections"
	case network.ConnGated:
		return who + ": not allowed"
	case network.ConnProtocolNegotiationFailed:
		return who + ": no common protocol"
	case network.ConnProtocolViolation:
		return who + ": a rule of the protocol was broken"
	}
	return who + fmt.Sprintf(" with code %#x", uint64(e.ErrorCode))
}
