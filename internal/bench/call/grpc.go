package call

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sdp2p/p2p"
)

// What protoc-gen-go-grpc would write for the two calls.
var service = grpc.ServiceDesc{
	ServiceName: "bench",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Do",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			return grpcAnswer, decode(new(wrapperspb.BytesValue))
		},
	}},
	Streams: []grpc.StreamDesc{{
		StreamName: "Receive", ServerStreams: true,
		Handler: func(_ any, s grpc.ServerStream) error {
			if err := s.RecvMsg(new(wrapperspb.BytesValue)); err != nil {
				return err
			}
			for range items {
				if err := s.SendMsg(grpcAnswer); err != nil {
					return err
				}
			}
			return nil
		},
	}},
}

var grpcAnswer = wrapperspb.Bytes(make([]byte, answerSize))

// serveGRPC serves gRPC's connection in a stream, until it ends.
func serveGRPC(ctx context.Context, s *p2p.Stream) error {
	server := grpc.NewServer()
	server.RegisterService(&service, nil)
	l := &listener{conn: make(chan net.Conn, 1), ended: make(chan struct{})}
	l.conn <- &noticed{Conn: s, end: l.end}
	defer context.AfterFunc(ctx, l.end)()
	err := server.Serve(l) // until the stream has ended
	server.Stop()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

// A listener accepts one connection, and is closed when that is.
type listener struct {
	conn  chan net.Conn
	once  sync.Once
	ended chan struct{}
}

func (l *listener) end() { l.once.Do(func() { close(l.ended) }) }

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { l.end(); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// A noticed is a connection whose end is told.
type noticed struct {
	net.Conn
	end func()
}

func (n *noticed) Close() error {
	n.end()
	return n.Conn.Close()
}

// A grpcClient makes the calls in a stream.
type grpcClient struct{ conn *grpc.ClientConn }

func newGRPC(s net.Conn) (*grpcClient, error) {
	conn, err := grpc.NewClient("passthrough:///peer", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return s, nil }))
	return &grpcClient{conn}, err
}

func (c *grpcClient) close() { c.conn.Close() }

func (c *grpcClient) do(ctx context.Context) error {
	answer := new(wrapperspb.BytesValue)
	err := c.conn.Invoke(ctx, "/bench/Do", wrapperspb.Bytes(make([]byte, requestSize)), answer)
	if err == nil && len(answer.Value) != answerSize {
		err = errAnswer
	}
	return err
}

func (c *grpcClient) receive(ctx context.Context) error {
	s, err := c.conn.NewStream(ctx, &service.Streams[0], "/bench/Receive")
	if err != nil {
		return err
	}
	if err := s.SendMsg(wrapperspb.Bytes(make([]byte, requestSize))); err != nil {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	for n := 0; ; {
		answer := new(wrapperspb.BytesValue)
		if err := s.RecvMsg(answer); err == io.EOF && n == items*answerSize {
			return nil
		} else if err != nil {
			return err
		}
		n += len(answer.Value)
	}
}
