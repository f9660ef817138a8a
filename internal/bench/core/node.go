package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A hook reports what the measurement has it report. It is a listener, which
// may have addresses, and reaches nobody.
type hook struct{ scope chan *p2p.Scope }

func (*hook) Name() string { return "bench" }

func (h *hook) Run(ctx context.Context, s *p2p.Scope) error {
	h.scope <- s
	s.Ready()
	<-ctx.Done()
	return nil
}

func (*hook) Dial(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
	return nil, errors.New("bench: there is no network")
}

// start starts a node and returns what its hook may do.
func start(ctx context.Context) (*p2p.P2P, *p2p.Scope, error) {
	h := &hook{scope: make(chan *p2p.Scope, 1)}
	node, err := p2p.Start(ctx, p2p.Config{App: "bench", MaxPeers: -1, Hooks: []p2p.Hook{h}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, err
	}
	return node, <-h.scope, nil
}

// typical is what a discovery says of a peer.
func typical(i int) (map[string]string, []p2p.Candidate) {
	direct := func(addr string) p2p.Candidate {
		return p2p.Candidate{Kind: p2p.Direct, Addr: netip.MustParseAddrPort(addr)}
	}
	return map[string]string{
			"name": fmt.Sprintf("Laptop %d", i), "operating_system": "macos", "os": "MacOS", "device_model": "MacBook Pro", "version": "0.1.0",
		}, []p2p.Candidate{
			direct(fmt.Sprintf("10.%d.%d.%d:7373", i>>16&255, i>>8&255, i&255)), direct(fmt.Sprintf("[fd00::%x:%x]:7373", i>>16, i&0xFFFF)),
		}
}
