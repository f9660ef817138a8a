package quic

import (
	"context"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlogwriter"

	"github.com/sdp2p/p2p/internal/qlogged"
)

// tracesEnd is how long the end of a listener waits for the writers of qlogs.
const tracesEnd = time.Second

// traces are the qlogs of an endpoint's connections, which begin before it is
// known whose they are.
type traces struct {
	log     qlogged.Log    // nil: there are none
	writing sync.WaitGroup // those that have not ended
}

// A tracer is the function by which quic-go asks for a trace.
type tracer = func(ctx context.Context, dialed bool, id quicgo.ConnectionID) qlogwriter.Trace

// A traced has the trace of a connection. It is in the connection's context.
type traced struct{ trace qlogged.Trace }

type tracedKey struct{}

// prepare returns a context for a connection that may have a trace.
func (t *traces) prepare(ctx context.Context) context.Context {
	if t.log == nil {
		return ctx
	}
	return context.WithValue(ctx, tracedKey{}, &traced{})
}

// with returns a tracer that calls another one as well, which may be nil.
func (t *traces) with(other tracer) tracer {
	if t.log == nil {
		return other
	}
	return func(ctx context.Context, dialed bool, id quicgo.ConnectionID) qlogwriter.Trace {
		if other != nil {
			other(ctx, dialed, id)
		}
		of, ok := ctx.Value(tracedKey{}).(*traced)
		if !ok || of.trace != nil {
			return nil
		}
		of.trace = t.log.Begin(dialed, id)
		t.writing.Go(func() { <-of.trace.Done() })
		return of.trace
	}
}

// opened has the qlog of a connection written, now that the node has taken it.
func (e *endpoint) opened(c *conn) {
	if e.traces.log == nil {
		return
	}
	of, ok := c.quic.Context().Value(tracedKey{}).(*traced)
	if !ok || of.trace == nil {
		return
	}
	of.trace.Open(c.id, func(err error) {
		if e.once("qlog") {
			e.log.Warn("the qlog of a connection cannot be written", "peer", c.id, "cause", err)
		}
	})
}

// end waits for the writers, once all connections are over.
func (t *traces) end() {
	if t.log == nil {
		return
	}
	over := make(chan struct{})
	go func() { t.writing.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(tracesEnd):
	}
}
