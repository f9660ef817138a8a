package call

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A Conn is a stream for a call: a [*p2p.Stream], a tunnel of a library, or a
// stream of a session in such a tunnel.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// An Opener is a party that can be called: a [*p2p.Peer], a [Member] of a
// library, or a session with one.
type Opener[C Conn] interface {
	Open(ctx context.Context, route string) (C, error)
}

// Member returns a member of a library (library.Library), named by its
// instance, as a party that can be called.
func Member[C Conn](library interface {
	Open(ctx context.Context, instance identity.RemoteIdentity, route string) (C, error)
}, instance identity.RemoteIdentity) *MemberOf[C] {
	return &MemberOf[C]{library.Open, instance}
}

// A MemberOf is a member of a library: see [Member].
type MemberOf[C Conn] struct {
	open     func(ctx context.Context, instance identity.RemoteIdentity, route string) (C, error)
	instance identity.RemoteIdentity
}

// Open opens a stream to a route of the member.
func (m *MemberOf[C]) Open(ctx context.Context, route string) (C, error) {
	return m.open(ctx, m.instance, route)
}

// Identity returns the member's instance.
func (m *MemberOf[C]) Identity() identity.RemoteIdentity { return m.instance }

// Do sends a request to a route, and returns the answer. ctx applies to the
// whole call.
func Do[Resp, Req any, C Conn, P message[Resp], Q message[Req]](ctx context.Context, to Opener[C], route string, req Req) (Resp, error) {
	var resp Resp
	w := takeWire()
	defer w.release()
	w.b = header{kindDo, timeoutOf(ctx)}.appendBinary(w.b)
	err := w.add(Q(&req))
	if err == nil {
		var c C
		if c, err = to.Open(ctx, route); err == nil {
			err = w.exchange(ctx, c, P(&resp))
		}
	}
	if err != nil {
		var none Resp
		return none, failed(route, err)
	}
	return resp, nil
}

// exchange writes the added messages, and reads the answer.
func (w *wire) exchange(ctx context.Context, c Conn, m decoder) error {
	stop := resetAfter(ctx, c)
	w.read(c)
	err := w.flush(c)
	if err == nil {
		err = w.one(m)
	}
	return w.end(ctx, c, stop, err)
}

// Receive sends a request to a route, and yields the answers as they arrive. It
// yields nothing after an error. ctx applies to the whole call; if the loop is
// left early, the other side's ctx ends. Each loop over the sequence is a call.
func Receive[Resp, Req any, C Conn, P message[Resp], Q message[Req]](ctx context.Context, to Opener[C], route string, req Req) iter.Seq2[Resp, error] {
	return func(yield func(Resp, error) bool) {
		w := takeWire()
		defer w.release()
		w.b = header{kindReceive, timeoutOf(ctx)}.appendBinary(w.b)
		err := w.add(Q(&req))
		if err == nil {
			var c C
			if c, err = to.Open(ctx, route); err == nil {
				err = receive[Resp, P](ctx, w, c, yield)
			}
		}
		if err != nil && err != errLeft {
			var none Resp
			yield(none, failed(route, err))
		}
	}
}

// errLeft says that a loop over answers was left.
var errLeft = errors.New("call: the caller has left")

func receive[Resp any, P message[Resp]](ctx context.Context, w *wire, c Conn, yield func(Resp, error) bool) (err error) {
	stop := resetAfter(ctx, c)
	err = errLeft // even if the loop panics
	defer func() { err = w.end(ctx, c, stop, err) }()
	w.read(c)
	if err := w.flush(c); err != nil {
		return err
	}
	for {
		var resp Resp
		some, err := w.part(P(&resp))
		if err != nil || !some {
			return err
		}
		if !yield(resp, nil) {
			return errLeft
		}
	}
}

// Send sends a sequence of requests to a route, and returns the answer. An
// error in the sequence ends the call, and is returned. ctx applies to the
// whole call, but does not interrupt a sequence that blocks.
func Send[Resp, Req any, C Conn, P message[Resp], Q message[Req]](ctx context.Context, to Opener[C], route string, reqs iter.Seq2[Req, error]) (Resp, error) {
	var resp, none Resp
	c, err := to.Open(ctx, route)
	if err == nil {
		if err = send[Req, Q](ctx, c, reqs, P(&resp)); err == nil {
			return resp, nil
		}
	}
	return none, failed(route, err)
}

func send[Req any, Q message[Req]](ctx context.Context, c Conn, reqs iter.Seq2[Req, error], m decoder) (err error) {
	w := takeWire()
	defer w.release()
	stop := resetAfter(ctx, c)
	err = errLeft // if reqs panics
	defer func() { err = w.end(ctx, c, stop, err) }()
	w.read(c)
	w.b = header{kindSend, timeoutOf(ctx)}.appendBinary(w.b)
	for req, err := range reqs {
		if err == nil {
			err = w.addPart(Q(&req))
		}
		if err != nil {
			return err
		}
		if err := w.flush(c); err != nil {
			return w.earlier(err, m)
		}
	}
	w.addEnd()
	if err := w.flush(c); err != nil {
		return w.earlier(err, m)
	}
	return w.one(m)
}

// earlier returns the answer of a peer that did not wait for all requests,
// whose writing failed with err.
func (w *wire) earlier(err error, m decoder) error {
	if answer := w.one(m); answer == nil || w.told {
		return answer
	}
	return err
}

// resetAfter resets a stream when ctx ends. The function that it returns
// cancels that, and returns false if it is too late.
func resetAfter(ctx context.Context, c Conn) func() bool {
	if ctx.Done() == nil {
		return never
	}
	return context.AfterFunc(ctx, func() { reset(c) })
}

func never() bool { return true }

// end ends the stream of a call, which has failed with err if that is not nil.
func (w *wire) end(ctx context.Context, c Conn, stop func() bool, err error) error {
	inTime := stop()
	if err == nil || w.told {
		c.Close()
		return err
	}
	reset(c)
	if !inTime {
		return context.Cause(ctx)
	}
	return err
}

// reset ends a stream so that the peer cannot mistake it for a regular end.
func reset(c Conn) {
	switch c := c.(type) {
	case interface{ Reset(p2p.ResetCode) }:
		c.Reset(p2p.ErrCanceled)
	case interface{ Abort(error) }:
		c.Abort(p2p.ErrCanceled)
	default:
		c.Close()
	}
}

// failed adds the route to the error of a call.
func failed(route string, err error) error { return fmt.Errorf("call %.64q: %w", route, err) }
