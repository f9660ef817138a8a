package quic

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p"
)

var errTooManyConns = fmt.Errorf("quic: too many inbound connections: %w", p2p.ErrBusy)

// A crowd summarizes the inbound connections, from the view of a new one.
type crowd struct {
	all, samePeer                int
	strangers, sameAddr, sameNet int
	idlePeer                     *conn // of the same peer, idle longest
	idleStranger                 *conn // idle longest, or the least lately used

	// Strangers that are kept although idle, as version 1 peers are: the one
	// that is idle longest of all, of the same address, and of the same
	// network.
	kept, keptAddr, keptNet *conn
}

// longer returns the one of two connections that has been idle for longer. The
// first may be nil.
func longer(a, b *conn) *conn {
	if a == nil || b.idleFor() > a.idleFor() {
		return b
	}
	return a
}

// crowded counts the connections that peers have dialed. The caller holds mu.
func (e *endpoint) crowded(c *conn) (all crowd) {
	addr, net := addrOf(c.remote().Addr()), netOf(c.remote().Addr())
	for o := range e.conns {
		if o.path.Dialed || o.goes || o.gone() {
			continue
		}
		all.all++
		if o.id == c.id {
			all.samePeer++
			if o.idleFor() > 0 && (all.idlePeer == nil || o.idleFor() > all.idlePeer.idleFor()) {
				all.idlePeer = o
			}
		}
		if !o.stranger() {
			continue
		}
		count := func(n *int, kept **conn) {
			*n++
			if e.limits.StrangerIdle > 0 && o.idleFor() > e.limits.StrangerIdle {
				*kept = longer(*kept, o)
			}
		}
		count(&all.strangers, &all.kept)
		if addrOf(o.remote().Addr()) == addr {
			count(&all.sameAddr, &all.keptAddr)
		}
		if netOf(o.remote().Addr()) == net {
			count(&all.sameNet, &all.keptNet)
		}
		if all.idleStranger == nil || o.lastUse().Before(all.idleStranger.lastUse()) {
			all.idleStranger = o
		}
	}
	return all
}

// room decides whether there is room for another connection that a peer has
// dialed, and returns the connection that has to be closed for it, if any. The
// caller holds mu.
func (e *endpoint) room(c *conn) (goes *conn, err error) {
	if c.path.Dialed {
		return nil, nil
	}
	l, now := e.limits, e.crowded(c)
	stranger := c.stranger()
	switch {
	case full(now.samePeer, l.ConnectionsPerPeer):
		if now.idlePeer == nil {
			return nil, fmt.Errorf("%w of the peer", errTooManyConns)
		}
		return now.idlePeer, nil
	case !stranger && full(now.all, l.Connections):
		return now.idleStranger, nil
	case !stranger:
		return nil, nil
	case full(now.sameAddr, l.StrangersPerAddr) && !own(c.remote().Addr()):
		goes = now.keptAddr
	case full(now.sameNet, l.StrangersPerNet) && !own(c.remote().Addr()):
		goes = now.keptNet
	case full(now.all, l.Connections), full(now.strangers, l.Strangers):
		goes = now.kept
	default:
		return nil, nil
	}
	if goes == nil {
		return nil, errTooManyConns
	}
	return goes, nil
}

// own reports whether an address is a loopback address, which programs of this
// host share, so that limits by address do not apply.
func own(ip netip.Addr) bool { return ip.Unmap().IsLoopback() }

// stranger reports whether the peer is a stranger on this connection.
func (c *conn) stranger() bool { return !c.path.Dialed && c.endpoint.scope.Stranger(c.id) }

// lastUse returns when the last stream that counts has ended; now, while one is
// open.
func (c *conn) lastUse() time.Time {
	if c.inUse() {
		return time.Now()
	}
	return c.opened.Add(time.Duration(c.used.Load()))
}

// inUse reports whether a stream that counts is open: for a stranger, one that
// is served.
func (c *conn) inUse() bool {
	if c.stranger() {
		return c.serving.Load() > 0
	}
	return c.streams.Load() > 0
}

// idleFor returns for how long no stream has used the connection; 0 while one
// does.
func (c *conn) idleFor() time.Duration {
	if c.inUse() {
		return 0
	}
	return max(1, time.Since(c.lastUse()))
}
