package call

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/call"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/quic"
)

const (
	requestSize = 100
	answerSize  = 1 << 10
	items       = 100 // of a sequence
	openTime    = 10 * time.Second
)

// A pair is two nodes that are connected over QUIC on loopback, of which one
// answers calls: ours, and those of gRPC in one stream.
type pair struct {
	nodes []*p2p.P2P
	peer  *p2p.Peer // the one that answers
	grpc  *grpcClient
}

func newPair(ctx context.Context) (p *pair, err error) {
	p = &pair{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	var mux p2p.Mux
	answer := Body{make([]byte, answerSize)}
	call.Handle(&mux, "do", p2p.Anyone, func(context.Context, Body) (Body, error) { return answer, nil })
	call.HandleReceive(&mux, "receive", p2p.Anyone, func(context.Context, Body) iter.Seq2[Body, error] {
		return func(yield func(Body, error) bool) {
			for range items {
				if !yield(answer, nil) {
					return
				}
			}
		}
	})
	mux.HandleFunc("grpc", p2p.Anyone, serveGRPC)
	network := p2ptest.NewNetwork(p2ptest.Config{}) // tells addresses
	for _, handler := range []p2p.Handler{&mux, nil} {
		node, err := p2p.Start(ctx, p2p.Config{
			App: "bench", Handler: handler, Logger: slog.New(slog.DiscardHandler),
			Hooks: []p2p.Hook{quic.New(quic.Config{}), network.Discovery()},
		})
		if err != nil {
			return p, err
		}
		p.nodes = append(p.nodes, node)
	}
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	for p.peer = range p.nodes[1].Available(ctx) {
		break
	}
	if p.peer == nil {
		return p, errors.New("the nodes do not find each other")
	}
	s, err := p.peer.Open(ctx, "grpc")
	if err != nil {
		return p, err
	}
	p.grpc, err = newGRPC(s)
	return p, err
}

func (p *pair) close() {
	if p.grpc != nil {
		p.grpc.close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTime)
	defer cancel()
	for _, node := range p.nodes {
		node.Shutdown(ctx)
	}
}

var errAnswer = errors.New("another answer than the one that was meant")

// do makes a call.
func (p *pair) do(ctx context.Context) error {
	answer, err := call.Do[Body](ctx, p.peer, "do", Body{make([]byte, requestSize)})
	if err == nil && len(answer.Bytes) != answerSize {
		err = errAnswer
	}
	return err
}

// receive makes a call that is answered by a sequence.
func (p *pair) receive(ctx context.Context) error {
	n := 0
	for answer, err := range call.Receive[Body](ctx, p.peer, "receive", Body{make([]byte, requestSize)}) {
		if err != nil {
			return err
		}
		n += len(answer.Bytes)
	}
	if n != items*answerSize {
		return errAnswer
	}
	return nil
}
