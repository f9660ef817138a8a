package p2p

import (
	"errors"
	"fmt"
)

// A ResetCode says why a stream was reset. It is an error:
// errors.Is(err, p2p.ErrBusy) finds it in the errors of reads and writes, on
// either side.
type ResetCode uint32

// Reset codes. Codes from [FirstAppCode] to [LastAppCode] are the app's own.
const (
	ErrCanceled      ResetCode = 0 // by the app, without a reason
	ErrNoRoute       ResetCode = 1 // the route is not served
	ErrRefused       ResetCode = 2 // not allowed
	ErrBusy          ResetCode = 3 // over a limit: try later
	ErrTimeout       ResetCode = 4 // the first frame came too late
	ErrHandlerFailed ResetCode = 5 // the handler panicked or returned an error
	ErrTunnelRefused ResetCode = 6 // the tunnel's one refusal
	ErrShuttingDown  ResetCode = 7 // the node is shutting down

	FirstAppCode ResetCode = 0x100
	LastAppCode  ResetCode = 0xFFF
)

var resetTexts = [...]string{
	ErrCanceled:      "canceled",
	ErrNoRoute:       "the route is not served",
	ErrRefused:       "refused",
	ErrBusy:          "busy: over a limit, try later",
	ErrTimeout:       "the first frame came too late",
	ErrHandlerFailed: "the handler failed",
	ErrTunnelRefused: "the tunnel was refused",
	ErrShuttingDown:  "shutting down",
}

// Error describes the code.
func (c ResetCode) Error() string {
	if int(c) < len(resetTexts) {
		return "p2p: " + resetTexts[c]
	}
	if FirstAppCode <= c && c <= LastAppCode {
		return fmt.Sprintf("p2p: application code %#x", uint32(c))
	}
	return fmt.Sprintf("p2p: code %#x", uint32(c))
}

// A ResetError is returned by reads and writes of a stream that was reset.
type ResetError struct {
	Code   ResetCode
	Remote bool // by the other side
}

func (e *ResetError) Error() string {
	by := "locally"
	if e.Remote {
		by = "by the peer"
	}
	return fmt.Sprintf("p2p: stream reset %s: %s", by, e.Code.Error()[len("p2p: "):])
}

// Unwrap returns the code.
func (e *ResetError) Unwrap() error { return e.Code }

// ErrConnectionLost is wrapped by the errors of reads and writes of a stream
// whose connection is gone: the peer closed it, or stopped sending.
var ErrConnectionLost = errors.New("p2p: the connection was lost")

// ErrRevoked is the error of requests to, or by, a peer that was revoked with
// [P2P.Revoke].
var ErrRevoked = fmt.Errorf("%w: the peer is revoked", ErrRefused)
