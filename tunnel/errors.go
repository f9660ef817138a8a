package tunnel

import (
	"errors"
	"fmt"
	"io"
)

// Errors of handshakes and tunnels. The first error of a tunnel sticks: it ends
// both directions, and every later call returns it.
var (
	// ErrNotTunnel says that the peer sent something other than a tunnel.
	ErrNotTunnel = errors.New("tunnel: the peer does not open a tunnel")
	// ErrVersion says that the peer speaks a version that this package does not
	// know. There is no fallback to a lower one.
	ErrVersion = errors.New("tunnel: unknown version")
	// ErrHandshake says that the handshake failed: other keys, another secret,
	// another library, other nodes or another connection than ours; or, at the
	// initiator, that the responder refused, which it does without a reason.
	ErrHandshake = errors.New("tunnel: the handshake failed")
	// ErrUnauthorized says that the peer has proved its identity and may not
	// have a tunnel: it is no member, a member on another node than the one on
	// record, or one that was removed in the meantime.
	ErrUnauthorized = errors.New("tunnel: the peer is not allowed")
	// ErrTimeout says that the handshake took too long.
	ErrTimeout = errors.New("tunnel: the handshake took too long")
	// ErrBusy says that a handshake exceeded one of the [Limits].
	ErrBusy = errors.New("tunnel: too many handshakes")

	// ErrRecordSize says that a record has a length that its type cannot have.
	ErrRecordSize = errors.New("tunnel: a record of impossible length")
	// ErrRecordAuth says that a record is not what the peer sealed.
	ErrRecordAuth = errors.New("tunnel: a record that is not authentic")
	// ErrProtocol says that a record arrived out of place, or is of an unknown
	// type.
	ErrProtocol = errors.New("tunnel: a record out of place")
	// ErrTrailing says that something followed the end of the peer's direction.
	ErrTrailing = errors.New("tunnel: bytes after the end")
	// ErrTruncated says that the stream ended before the peer's authenticated
	// end. It wraps [io.ErrUnexpectedEOF].
	ErrTruncated = fmt.Errorf("tunnel: cut off before the end: %w", io.ErrUnexpectedEOF)
	// ErrExpired says that the tunnel reached its age, [MaxAge].
	ErrExpired = errors.New("tunnel: too old")
)
