package p2p

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// Causes of a [DialError] without attempts.
var (
	ErrNoListener  = errors.New("no listener is registered that could reach a peer")
	ErrNoCandidate = errors.New("no way to reach the peer is known: no discovery has found an address of it that this node can dial, and none was given")
)

// An Attempt describes how one candidate failed.
type Attempt struct {
	Candidate Candidate
	Err       error
	Took      time.Duration
}

// A DialError says why no candidate led to the peer.
type DialError struct {
	Peer     identity.RemoteIdentity
	Attempts []Attempt // every candidate, in the order in which they were tried
	Err      error     // a cause beyond the attempts, such as ErrNoCandidate or a context's error; or nil
}

func (e *DialError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "p2p: cannot reach %v", e.Peer)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	for i, a := range e.Attempts {
		separator := "; "
		if i == 0 {
			separator = ": "
		}
		fmt.Fprintf(&b, "%s%v: %v", separator, a.Candidate, a.Err)
	}
	return b.String()
}

// Cause names the cause in a word or two: that of the first attempt that failed
// by itself rather than being cut short, or else that of Err.
func (e *DialError) Cause() string {
	cause := "other"
	for _, a := range e.Attempts {
		if cause = causeOf(a.Err); cause != "not finished" {
			return cause
		}
	}
	if e.Err != nil {
		return causeOf(e.Err)
	}
	return cause
}

// Unwrap returns the causes.
func (e *DialError) Unwrap() []error {
	var causes []error
	if e.Err != nil {
		causes = append(causes, e.Err)
	}
	for _, a := range e.Attempts {
		if a.Err != nil {
			causes = append(causes, a.Err)
		}
	}
	return causes
}

// causeOf names the cause of an error in a word or two. The errors of hooks
// have a method that does.
func causeOf(err error) string {
	var named interface{ Cause() string }
	switch {
	case err == nil:
		return "none"
	case errors.As(err, &named):
		return named.Cause()
	case errors.Is(err, ErrRevoked):
		return "revoked"
	case errors.Is(err, ErrNoListener):
		return "no listener"
	case errors.Is(err, ErrNoCandidate):
		return "no candidate"
	case errors.Is(err, ErrBusy):
		return "busy"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, ErrConnectionLost):
		return "connection lost"
	}
	return "other"
}
