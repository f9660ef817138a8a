package call

import (
	"context"
	"errors"
	"iter"

	"github.com/sdp2p/p2p"
)

// A Func serves the calls of [Do]. ctx ends with the caller's, when the caller
// is gone, and when the node shuts down; [From] returns the caller. The package
// documentation says what the caller learns of an error.
type Func[Req, Resp any] func(ctx context.Context, req Req) (Resp, error)

// A ReceiveFunc serves the calls of [Receive]: it returns the answers, which
// are sent as they are yielded. An error ends the call. The sequence must end
// when ctx does.
type ReceiveFunc[Req, Resp any] func(ctx context.Context, req Req) iter.Seq2[Resp, error]

// A SendFunc serves the calls of [Send]. It gets the requests as they arrive;
// an error is the last element. A caller that is gone is noticed while the
// function waits for a request, and after the last one.
type SendFunc[Req, Resp any] func(ctx context.Context, reqs iter.Seq2[Req, error]) (Resp, error)

// A Routes serves routes of a library: a library.Library, or a session.Mux
// (library/session).
type Routes[H any] interface {
	Handle(route string, h H)
}

// A HandlerFunc serves streams of a library.
type HandlerFunc[C Conn] interface {
	~func(ctx context.Context, c C) error
}

// Handle registers a function for the calls of [Do] to a route. Like
// [p2p.Mux.Handle], it panics if the route is not valid or taken.
func Handle[Req, Resp any, P message[Req], Q message[Resp]](mux *p2p.Mux, route string, access p2p.Access, f Func[Req, Resp]) {
	handle(mux, route, access, serveDo[Req, Resp, P, Q](f))
}

// HandleReceive registers a function for the calls of [Receive]; see [Handle].
func HandleReceive[Req, Resp any, P message[Req], Q message[Resp]](mux *p2p.Mux, route string, access p2p.Access, f ReceiveFunc[Req, Resp]) {
	handle(mux, route, access, serveReceive[Req, Resp, P, Q](f))
}

// HandleSend registers a function for the calls of [Send]; see [Handle].
func HandleSend[Req, Resp any, P message[Req], Q message[Resp]](mux *p2p.Mux, route string, access p2p.Access, f SendFunc[Req, Resp]) {
	handle(mux, route, access, serveSend[Req, Resp, P, Q](f))
}

// HandleIn is [Handle] for the members of a library.
func HandleIn[Req, Resp any, C Conn, H HandlerFunc[C], P message[Req], Q message[Resp]](in Routes[H], route string, f Func[Req, Resp]) {
	handleIn[C](in, route, serveDo[Req, Resp, P, Q](f))
}

// HandleReceiveIn is [HandleReceive] for the members of a library.
func HandleReceiveIn[Req, Resp any, C Conn, H HandlerFunc[C], P message[Req], Q message[Resp]](in Routes[H], route string, f ReceiveFunc[Req, Resp]) {
	handleIn[C](in, route, serveReceive[Req, Resp, P, Q](f))
}

// HandleSendIn is [HandleSend] for the members of a library.
func HandleSendIn[Req, Resp any, C Conn, H HandlerFunc[C], P message[Req], Q message[Resp]](in Routes[H], route string, f SendFunc[Req, Resp]) {
	handleIn[C](in, route, serveSend[Req, Resp, P, Q](f))
}

func handle(mux *p2p.Mux, route string, access p2p.Access, serve server) {
	mux.HandleFunc(route, access, func(ctx context.Context, s *p2p.Stream) error { return serve(ctx, s) })
}

func handleIn[C Conn, H HandlerFunc[C]](in Routes[H], route string, serve server) {
	in.Handle(route, func(ctx context.Context, c C) error { return serve(ctx, c) })
}

func serveDo[Req, Resp any, P message[Req], Q message[Resp]](f Func[Req, Resp]) server {
	if f == nil {
		panic("call: no function")
	}
	return serving(kindDo, func(in *incoming) error {
		var req Req
		if err := in.request(P(&req)); err != nil {
			return err
		}
		resp, err := f(in, req)
		if err != nil {
			return err
		}
		return in.answer(Q(&resp))
	})
}

func serveReceive[Req, Resp any, P message[Req], Q message[Resp]](f ReceiveFunc[Req, Resp]) server {
	if f == nil {
		panic("call: no function")
	}
	return serving(kindReceive, func(in *incoming) error {
		var req Req
		if err := in.request(P(&req)); err != nil {
			return err
		}
		err := answers[Resp, Q](in, f(in, req))
		if err == nil {
			err = in.Err() // which may be why the sequence ended
		}
		if err != nil {
			return err
		}
		return in.end()
	})
}

// answers sends a sequence of answers.
func answers[Resp any, Q message[Resp]](in *incoming, seq iter.Seq2[Resp, error]) (err error) {
	q := newQueue(in.conn)
	defer q.close() // if seq panics, nobody waits: the stream is reset
	for resp, err := range seq {
		if err == nil {
			err = q.put(Q(&resp))
		}
		if err != nil {
			return errors.Join(err, q.wait())
		}
	}
	return q.wait()
}

func serveSend[Req, Resp any, P message[Req], Q message[Resp]](f SendFunc[Req, Resp]) server {
	if f == nil {
		panic("call: no function")
	}
	return serving(kindSend, func(in *incoming) error {
		resp, err := f(in, requests[Req, P](in))
		if err != nil {
			return err
		}
		return in.answer(Q(&resp))
	})
}
