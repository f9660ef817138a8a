package p2p

import "github.com/sdp2p/p2p/internal/text"

// maxShown is the most bytes of an error that a log line has.
const maxShown = 4096

// shown is an error in a log line. It may contain text from a peer, which must
// not reach a terminal unescaped.
type shown struct{ err error }

// Error returns the error's text, cut to maxShown, with unprintable characters
// escaped.
func (s shown) Error() string { return text.Escape(s.err.Error(), maxShown) }

// Unwrap returns the error.
func (s shown) Unwrap() error { return s.err }
