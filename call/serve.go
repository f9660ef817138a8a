package call

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

const (
	requestTime = 30 * time.Second // how long a request may take to arrive
	lastWords   = time.Second      // how long after the deadline an answer may still be written
)

// A Caller is the party that makes a call, as the connection has authenticated
// it.
type Caller struct {
	Node     identity.RemoteIdentity
	Instance identity.RemoteIdentity // of a library; zero outside of one
	Peer     *p2p.Peer               // nil in a library
}

// From returns the caller, if ctx is the context of a function that serves a
// call; otherwise zero.
func From(ctx context.Context) Caller {
	if in, ok := ctx.Value(callKey{}).(*incoming); ok {
		return in.caller()
	}
	return Caller{}
}

type callKey struct{}

// An incoming is a call being served, and the context of its function.
type incoming struct {
	context.Context
	cancel context.CancelFunc
	conn   Conn
	w      *wire
	peeked [1]byte

	watched sync.Once
}

// Value adds the call to the values of ctx.
func (in *incoming) Value(key any) any {
	if key == (callKey{}) {
		return in
	}
	return in.Context.Value(key)
}

func (in *incoming) caller() Caller {
	switch c := in.conn.(type) {
	case *p2p.Stream:
		return Caller{Node: c.RemoteIdentity(), Peer: c.Peer()}
	case interface {
		Node() identity.RemoteIdentity
		Instance() identity.RemoteIdentity
	}:
		return Caller{Node: c.Node(), Instance: c.Instance()}
	}
	return Caller{}
}

// A server serves a stream.
type server func(ctx context.Context, c Conn) error

// serving returns a server for the calls of a kind, with run.
func serving(kind kind, run func(in *incoming) error) server {
	return func(ctx context.Context, c Conn) error {
		in := &incoming{Context: ctx, cancel: func() {}, conn: c}
		if kind == kindSend { // the function may keep the sequence beyond the call
			in.w = newWire()
		} else {
			in.w = takeWire()
			defer in.w.release()
		}
		in.w.read(c)
		err := in.begin(kind)
		defer in.cancel()
		if err == nil {
			err = run(in)
		}
		return in.finish(err)
	}
}

// begin reads the header of the call, and begins the context of its function.
func (in *incoming) begin(kind kind) error {
	in.conn.SetReadDeadline(time.Now().Add(requestTime))
	var h header
	in.w.d.Reset(in.w.r)
	if err := h.decodeFrom(&in.w.d); err != nil {
		return requestError(cut(err))
	}
	if h.kind != kind {
		return ErrKind
	}
	var until time.Time
	if h.timeout == 0 {
		in.Context, in.cancel = context.WithCancel(in.Context)
	} else {
		until = time.Now().Add(time.Duration(h.timeout) * time.Millisecond)
		in.Context, in.cancel = context.WithDeadline(in.Context, until)
		in.conn.SetWriteDeadline(until.Add(lastWords))
	}
	if kind == kindSend {
		in.conn.SetReadDeadline(until)
	}
	return nil
}

// request reads the only request of a call.
func (in *incoming) request(m decoder) error {
	if err := in.w.message(m); err != nil {
		return requestError(err)
	}
	in.watch()
	return nil
}

// watch ends the context when the caller is gone. Nothing more is read.
func (in *incoming) watch() {
	in.conn.SetReadDeadline(time.Time{})
	go func() {
		if _, err := in.conn.Read(in.peeked[:]); err != io.EOF { // the caller may have closed its side
			in.cancel()
		}
	}()
}

// answer sends an answer.
func (in *incoming) answer(m encoder) error {
	in.w.b = in.w.b[:0]
	if err := in.w.addPart(m); err != nil {
		return err
	}
	return in.w.flush(in.conn)
}

// end says that there are no more answers.
func (in *incoming) end() error {
	in.w.addEnd()
	return in.w.flush(in.conn)
}

// finish tells the caller of an error.
func (in *incoming) finish(err error) error {
	if err == nil {
		return nil
	}
	e := said(in, err)
	if e == nil {
		if errors.Is(err, errLate) {
			return err
		}
		return &failure{err}
	}
	in.w.b = in.w.b[:0]
	in.w.addError(e)
	return in.w.flush(in.conn)
}

// errLate says that a request did not arrive in time.
var errLate = fmt.Errorf("%w: the request of a call", p2p.ErrTimeout)

// requestError turns the error of reading a request into that of the call.
func requestError(err error) error {
	switch {
	case errors.Is(err, proto.ErrInvalid):
		return ErrInvalid
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errLate
	}
	return err
}

// requests yields the requests of a kindSend.
func requests[Req any, P message[Req]](in *incoming) iter.Seq2[Req, error] {
	return func(yield func(Req, error) bool) {
		for {
			var req, none Req
			some, err := in.w.part(P(&req))
			switch {
			case err != nil:
				yield(none, requestError(err))
				return
			case !some:
				in.watched.Do(in.watch)
				return
			case !yield(req, nil):
				return
			}
		}
	}
}
