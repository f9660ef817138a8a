package p2p

import "context"

// A Handler serves inbound streams.
type Handler interface {
	// ServeStream serves one stream, in a goroutine of its own. When it returns
	// nil, the stream is closed unless it already was. When it returns an error
	// or panics, the stream is reset with the [ResetCode] that the error wraps,
	// or else with [ErrHandlerFailed]. ctx is done when the node shuts down;
	// from then on, reads from the stream fail, while writes still work.
	ServeStream(ctx context.Context, s *Stream) error
}

// A HandlerFunc is a function that serves as a [Handler].
type HandlerFunc func(ctx context.Context, s *Stream) error

// ServeStream calls f.
func (f HandlerFunc) ServeStream(ctx context.Context, s *Stream) error { return f(ctx, s) }
