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

// Unread bytes from peers are held in memory, limited by the receive windows.
// quic-go holds each piece of 128 bytes or more in a buffer of 1452 bytes, and
// smaller ones with a map entry each: with many holes, a byte of a window costs
// twelve bytes and more. Strangers are charged this cost.
const holeCost = 12

// strangerWindow is the limit to which the window of a stranger's connection
// grows before one of its streams is served.
const strangerWindow = 256 << 10

// plainWindow is the limit to which the window of any connection grows. Beyond
// it, a window may take at most as much as it leaves for others, since windows
// of quic-go never shrink.
const plainWindow = 16 << 20

var errTooMuchMemory = errors.New("quic: receive windows take too much memory")

// A budget is a resource manager of go-libp2p that limits windows. It counts
// each connection from its beginning.
type budget struct {
	network.NullResourceManager
	limits Limits

	mu        sync.Mutex
	all       int // bytes, including the cost of holes
	strangers int
}

// A charge is the share of a budget that one connection takes.
type charge struct {
	network.NullScope
	budget    *budget
	handshake func() bool // called after the handshake, and reports whether that is still valid; nil for a connection that this node dials
	member    atomic.Bool
	served    atomic.Bool // one of its streams was served

	// Under budget.mu.
	window int
	cost   int
	own    bool // charged as a member's
	over   bool
}

// OpenConnection charges a connection that this node dials. Connections that
// peers dial have a charge already.
func (b *budget) OpenConnection(network.Direction, bool, ma.Multiaddr) (network.ConnManagementScope, error) {
	return b.charge(dialedWindow, true), nil
}

// charge charges a connection for its first window, which is always granted: it
// is small for strangers, and few of them are admitted.
func (b *budget) charge(window int, member bool) *charge {
	c := &charge{budget: b}
	c.member.Store(member)
	b.mu.Lock()
	defer b.mu.Unlock()
	c.set(window)
	return c
}

// set changes the charge to the cost of a window. The caller holds budget.mu.
func (c *charge) set(window int) {
	c.release()
	c.window, c.cost, c.own = window, window, c.member.Load()
	if !c.own {
		c.cost *= holeCost
		c.budget.strangers += c.cost
	}
	c.budget.all += c.cost
}

// release removes the charge. The caller holds budget.mu.
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

// ReserveMemory decides whether a window may grow.
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
		b.limits.Memory >= 0 && b.all+cost > b.limits.Memory,
		window > plainWindow && (!member || b.limits.Memory >= 0 && b.all+2*cost > b.limits.Memory):
		return errTooMuchMemory
	}
	c.set(window)
	return nil
}

// ReleaseMemory undoes ReserveMemory.
func (c *charge) ReleaseMemory(less int) {
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	if !c.over {
		c.set(c.window - less)
	}
}

// Done is called when the connection is over, possibly more than once.
func (c *charge) Done() {
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	c.release()
	c.over = true
}

// chargeOf returns the charge of a connection.
func chargeOf(link tpt.CapableConn) *charge {
	c, _ := link.Scope().(*charge)
	return c
}
