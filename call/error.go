package call

import (
	"context"
	"errors"
	"fmt"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/text"
	"github.com/sdp2p/p2p/proto"
)

// MaxText is the number of bytes of an [Error]'s text that are sent; the rest
// is cut off.
const MaxText = 512

// A Code says why a call failed. It is an error: if the serving function
// returns a Code ErrEmpty, errors.Is(err, ErrEmpty) holds on the caller's side.
type Code uint16

// Codes. Those from FirstAppCode are the app's own.
const (
	ErrInvalid Code = 1 // the request is not valid
	ErrTimeout Code = 2 // the caller's deadline has passed; it is also a context.DeadlineExceeded
	ErrKind    Code = 3 // the route serves another kind of call

	FirstAppCode Code = 0x100
)

// Error describes the code.
func (c Code) Error() string {
	switch c {
	case ErrInvalid:
		return "call: the request is not valid"
	case ErrTimeout:
		return "call: the deadline has passed"
	case ErrKind:
		return "call: the route is for another kind of call"
	}
	return fmt.Sprintf("call: code %#x", uint16(c))
}

// Is reports that [ErrTimeout] is a [context.DeadlineExceeded].
func (c Code) Is(target error) bool { return c == ErrTimeout && target == context.DeadlineExceeded }

// An Error is the error that a function serving a call tells its caller.
type Error struct {
	Code Code
	// Text is for people. A text from a peer is at most [MaxText] bytes of one
	// line of UTF-8, without control characters; its content is the peer's
	// choice.
	Text string

	remote bool // from a peer
}

// Error returns the code's description and the text.
func (e *Error) Error() string {
	if e.Text == "" {
		return e.Code.Error()
	}
	return e.Code.Error() + ": " + e.Text
}

// Unwrap returns the code.
func (e *Error) Unwrap() error { return e.Code }

// appendBinary appends e to b.
//
//	size  field
//	2     code
//	2+n   text  n ≤ 512, UTF-8
func (e *Error) appendBinary(b []byte) ([]byte, error) {
	return proto.AppendString(proto.AppendUint16(b, uint16(e.Code)), proto.CutString(e.Text, MaxText))
}

// decodeFrom reads the output of appendBinary.
func (e *Error) decodeFrom(d *proto.Decoder) error {
	e.Code, e.Text, e.remote = Code(d.Uint16()), text.Plain(d.String(MaxText)), true
	return d.Err()
}

// said returns the part of a serving function's error that the caller may
// learn; nil if there is none.
func said(ctx context.Context, err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		if e.remote {
			return nil
		}
		return e
	}
	var code Code
	switch {
	case errors.As(err, &code):
		return &Error{Code: code}
	case ctx.Err() == context.DeadlineExceeded && errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: ErrTimeout}
	}
	return nil
}

// A failure is an error that the caller does not learn: the stream is reset
// with [p2p.ErrHandlerFailed], whatever code err contains.
type failure struct{ err error }

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return p2p.ErrHandlerFailed }
