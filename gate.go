package p2p

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// gateTime is how long Config.Allow may take.
const gateTime = 2 * time.Second

// A gate calls Config.Allow, which may be slow, and limits how many calls run
// at a time.
type gate struct {
	allow      func(context.Context, Request) error // may be nil
	max        int                                  // < 0: no limit
	maxPerPeer int                                  // < 0: no limit

	mu      sync.Mutex
	calls   int
	perPeer map[identity.RemoteIdentity]int
}

func newGate(cfg Config) *gate {
	return &gate{
		allow: cfg.Allow, max: cfg.MaxAllowCalls, maxPerPeer: cfg.MaxAllowCallsPerPeer,
		perPeer: map[identity.RemoteIdentity]int{},
	}
}

// enter takes a place for a call about a peer. An eighth of all places is
// reserved for tracked peers.
func (g *gate) enter(id identity.RemoteIdentity, tracked bool) error {
	places := g.max
	if !tracked {
		places -= g.max / 8
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.maxPerPeer >= 0 && g.perPeer[id] >= g.maxPerPeer {
		return fmt.Errorf("%w: %d calls of Config.Allow about the peer", ErrBusy, g.maxPerPeer)
	}
	if g.max >= 0 && g.calls >= places {
		return fmt.Errorf("%w: %d calls of Config.Allow", ErrBusy, places)
	}
	g.calls++
	g.perPeer[id]++
	return nil
}

// leave gives back the place of a call that has returned.
func (g *gate) leave(id identity.RemoteIdentity) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls--
	if g.perPeer[id]--; g.perPeer[id] == 0 {
		delete(g.perPeer, id)
	}
}
