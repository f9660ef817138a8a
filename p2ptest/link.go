package p2ptest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A Link is the connection path between two nodes of a [Network], in both
// directions. It exists before the nodes do, and keeps its settings when they
// end and come back. All methods may be called concurrently.
type Link struct {
	network *Network
	ends    [2]identity.RemoteIdentity
	delay   atomic.Int64 // a time.Duration; written under network.mu

	// Under network.mu.
	cut   bool
	loss  float64
	dice  *rand.Rand
	stats LinkStats
}

// LinkStats counts what happened on a [Link] since it was made, in both
// directions.
type LinkStats struct {
	Dials       int // connection attempts; concurrent ones are counted separately
	Connections int // connections that were made
	Streams     int // streams that were opened
	Open        int // ends of streams that were opened or arrived, and are not yet freed
}

// Link returns the link between two nodes: the same one for (a, b) and (b, a),
// on every call.
func (n *Network) Link(a, b identity.RemoteIdentity) *Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.link(a, b)
}

// link is Link for callers that hold n.mu.
func (n *Network) link(a, b identity.RemoteIdentity) *Link {
	x, y := a.Bytes(), b.Bytes()
	if bytes.Compare(x[:], y[:]) > 0 {
		a, b = b, a
	}
	ends := [2]identity.RemoteIdentity{a, b}
	l := n.links[ends]
	if l == nil {
		l = &Link{network: n, ends: ends}
		n.links[ends] = l
	}
	return l
}

// Cut separates the two nodes until Restore. Their connections break at once,
// reads and writes of the streams fail with an error that wraps
// [p2p.ErrConnectionLost], and data under way is lost. Attempts to connect that
// begin or end while the link is cut fail with [ErrUnreachable], and the
// network's discoveries of the two nodes expire at each other.
func (l *Link) Cut() {
	n := l.network
	n.mu.Lock()
	l.cut = true
	broken := l.connected()
	n.wake()
	n.mu.Unlock()
	for _, e := range broken { // first, since handlers at the one end react to the loss and tell the other
		e.in.drop()
	}
	for _, e := range broken {
		e.shut(fmt.Errorf("%w: the link was cut", p2p.ErrConnectionLost), "silent")
	}
}

// connected returns the ends of the link's connections. The caller holds
// network.mu.
func (l *Link) connected() (ends []*end) {
	for _, h := range l.network.hosts {
		for _, e := range h.ends {
			if e.link == l {
				ends = append(ends, e)
			}
		}
	}
	return ends
}

// Restore undoes Cut: the nodes discover each other again and can connect.
func (l *Link) Restore() {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.cut = false
	l.network.wake()
}

// SetDelay delays everything that is sent from now on by d: data, ends and
// resets of streams, metadata, and the closing of a connection. A new
// connection takes a round trip, that is 2·d, before a stream can be opened on
// it; if that is longer than [Config.DialTimeout], it fails. Nothing overtakes
// what was sent before. Discovery is not delayed, nor are the acknowledgements
// that make room for a Write after the peer has read.
func (l *Link) SetDelay(d time.Duration) {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.delay.Store(int64(max(d, 0)))
}

// SetLoss makes each attempt to connect fail with probability p, from 0 for
// none to 1 for all, as if nobody answered: with [ErrUnreachable], after
// [Config.DialTimeout]. [Config.Seed] determines which attempts fail: each call
// of SetLoss restarts the same sequence. Existing connections are not affected.
func (l *Link) SetLoss(p float64) {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.loss = p
	l.dice = rand.New(rand.NewPCG(l.network.cfg.Seed, 0))
}

// Stats returns the counts so far.
func (l *Link) Stats() LinkStats {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	stats := l.stats
	for _, e := range l.connected() {
		stats.Open += len(e.streams)
	}
	return stats
}

// dial counts an attempt to connect and reports whether it gets through. The
// caller holds network.mu.
func (l *Link) dial() bool {
	l.stats.Dials++
	lost := l.dice != nil && l.dice.Float64() < l.loss
	return !lost && !l.cut
}

// roundTrip returns the round-trip time.
func (l *Link) roundTrip() time.Duration { return 2 * l.oneWay() }

func (l *Link) oneWay() time.Duration { return time.Duration(l.delay.Load()) }
