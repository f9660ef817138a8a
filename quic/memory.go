package quic

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	tpt "github.com/libp2p/go-libp2p/core/transport"
	ma "github.com/multiformats/go-multiaddr"
)

// Until the app reads, what peers send is held in memory, and the windows that
// they are given bound it. quic-go holds each piece of 128 bytes or more in a
// buffer of 1452, and smaller ones with an entry of a map each: with many
// holes, a byte of a window costs twelve bytes and more. Strangers are charged
// that.
const holeCost = 12

// strangerWindow is what the window of a stranger's connection grows to before
// one of its streams is served.
const strangerWindow = 256 << 10

var errTooMuchMemory = errors.New("quic: receive windows take too much memory")

// A budget is go-libp2p's resource manager, as far as windows go. It counts
// each connection from its beginning on.
type budget struct {
	network.NullResourceManager
	limits Limits

	mu        sync.Mutex
	all       int // bytes, with what holes in them cost
	strangers int
}

// A charge is what one connection takes of the budget.
type charge struct {
	network.NullScope
	budget    *budget
	handshake func() bool // called when it is over, and reports whether that counts; nil for a connection that this node dials
	member    atomic.Bool
	served    atomic.Bool // a stream of it was, once

	// Under budget.mu.
	window int
	cost   int
	own    bool // cost was charged as a member's
	over   bool
}

// OpenConnection charges a connection that this node dials. Those that peers
// dial have a charge from before.
func (b *budget) OpenConnection(network.Direction, bool, ma.Multiaddr) (network.ConnManagementScope, error) {
	return b.charge(dialedWindow, true), nil
}

// charge charges a connection with its first window, which it has whatever else
// there is: it is small for strangers, and few are let in.
func (b *budget) charge(window int, member bool) *charge {
	c := &charge{budget: b}
	c.member.Store(member)
	b.mu.Lock()
	defer b.mu.Unlock()
	c.set(window)
	return c
}

// set changes the charge to what a window costs. The caller holds budget.mu.
func (c *charge) set(window int) {
	c.release()
	c.window, c.cost, c.own = window, window, c.member.Load()
	if !c.own {
		c.cost *= holeCost
		c.budget.strangers += c.cost
	}
	c.budget.all += c.cost
}

// release takes the charge back. The caller holds budget.mu.
func (c *charge) release() {
	c.budget.all -= c.cost
	if !c.own {
		c.budget.strangers -= c.cost
	}
	c.cost = 0
}

// SetPeer is called when the handshake is over.
func (c *charge) SetPeer(peer.ID) error {
	if c.handshake != nil && !c.handshake() {
		return errFullHere
	}
	return nil
}

// ReserveMemory is asked before a window grows.
func (c *charge) ReserveMemory(more int, _ uint8) error {
	b := c.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.over {
		return errTooMuchMemory
	}
	member, window, cost := c.member.Load(), c.window+more, more
	if !member {
		cost *= holeCost
	}
	switch {
	case !member && !c.served.Load() && window > strangerWindow,
		!member && b.limits.StrangerMemory >= 0 && b.strangers+cost > b.limits.StrangerMemory,
		b.limits.Memory >= 0 && b.all+cost > b.limits.Memory:
		return errTooMuchMemory
	}
	c.set(window)
	return nil
}

// ReleaseMemory takes back ReserveMemory.
func (c *charge) ReleaseMemory(less int) {
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	if !c.over {
		c.set(c.window - less)
	}
}

// Done is called once or more when the connection is over.
func (c *charge) Done() {
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	c.release()
	c.over = true
}

// chargeOf returns what a connection is charged.
func chargeOf(link tpt.CapableConn) *charge {
	c, _ := link.Scope().(*charge)
	return c
}
