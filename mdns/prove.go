package mdns

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
)

// probeTime is how long a peer may take to answer. The engine waits a little
// longer.
const probeTime = 600 * time.Millisecond

// proofs provides an engine with facts about peers from sources other than
// Multicast DNS.
type proofs struct {
	scope *p2p.Scope
	ctx   context.Context
	tasks sync.WaitGroup
}

// probe checks whether the peer that an instance is named after answers. It
// does not wait.
func (p *proofs) probe(instance string, at []netip.AddrPort, answered func(netip.AddrPort, error)) {
	id, err := identity.Parse(instance)
	if err != nil {
		answered(netip.AddrPort{}, err)
		return
	}
	p.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, probeTime)
		defer cancel()
		from, err := p.scope.Probe(ctx, id, at...)
		switch {
		case errors.Is(err, p2p.ErrNoProber):
			err = dnssd.ErrNoProbe
		case errors.Is(err, p2p.ErrBusy):
			err = dnssd.ErrProbeBusy
		}
		answered(from, err)
	})
}

// connected reports whether there is a connection with a peer.
func (p *proofs) connected(instance string) bool {
	id, err := identity.Parse(instance)
	if err != nil {
		return false
	}
	peer, ok := p.scope.Node().Peer(id)
	return ok && peer.Connected()
}

// metAt returns the address of a peer's connections; an invalid one if they
// lead through relays.
func metAt(peer *p2p.Peer) netip.AddrPort {
	for _, c := range peer.Info().Connections {
		if c.Path.Kind != p2p.Relay && c.Path.Remote.IsValid() {
			return c.Path.Remote
		}
	}
	return netip.AddrPort{}
}
