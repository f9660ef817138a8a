package p2p

import (
	"sync"
	"sync/atomic"
)

// A count is the name of a counter: what it counts, and by which cause, kind or
// outcome.
type count struct{ what, by string }

// counts are counters of rare events.
type counts map[count]uint64

// maxCounts bounds the number of counters.
const maxCounts = 512

func (c counts) add(what count, n uint64) {
	if !counting {
		return
	}
	if _, known := c[what]; !known && len(c) >= maxCounts {
		what.by = "other"
	}
	c[what] += n
}

// A routeCount counts the streams of a route.
type routeCount struct {
	opened, accepted atomic.Uint64
	refused          [len(resetTexts) + 1]atomic.Uint64 // peers' streams, by code
	refusedThere     [len(resetTexts) + 1]atomic.Uint64 // this node's streams, by code
}

// maxRoutes bounds the number of routes whose streams are counted separately.
const maxRoutes = 256

// routeCounts counts streams by route.
type routeCounts struct {
	all sync.Map // from string to *routeCount
	len atomic.Int32
}

// of returns the counts of a route.
func (r *routeCounts) of(route string) *routeCount {
	if c, ok := r.all.Load(route); ok {
		return c.(*routeCount)
	}
	if r.len.Add(1) > maxRoutes {
		route = "(others)"
	}
	c, _ := r.all.LoadOrStore(route, &routeCount{})
	return c.(*routeCount)
}

// index is a code's place in an array of counts.
func (c ResetCode) index() int { return min(int(c), len(resetTexts)) }

// Names of the node's own counters in [Counters.Causes].
const (
	countDials       = "dials_failed"      // dials that failed
	countAttempts    = "attempts_failed"   // the candidates that they tried
	countConnections = "connections"       // connections, by the kind of their path
	countEnds        = "connections_ended" // connections, by their end
	countMoves       = "moves"             // connections that changed their path
	countRefused     = "requests_refused"  // connections and tunnels that peers have asked for
)

// statsOf asks a connection for its figures. This runs a listener's code, and
// so must not be called under the lock.
func statsOf(conn RawConn) ConnStats {
	if c, ok := conn.(MeasuredConn); ok && counting {
		return c.Stats()
	}
	return ConnStats{}
}

// due returns a connection's bytes that have not been booked yet.
func (c *connection) due(stats ConnStats) Bytes {
	return Bytes{Sent: stats.Sent - min(c.sent, stats.Sent), Received: stats.Received - min(c.received, stats.Received)}
}

// book counts the bytes that a connection has sent and received under the path
// that it had.
func (s *state) book(p *Peer, c *connection, stats ConnStats) {
	due := c.due(stats)
	if due == (Bytes{}) {
		return
	}
	c.sent, c.received = c.sent+due.Sent, c.received+due.Received
	if p.past.traffic == nil {
		p.past.traffic = &traffic{}
	}
	p.past.traffic.add(c.path.Kind, due)
	s.traffic.add(c.path.Kind, due)
}

// ended counts a connection that is down.
func (s *state) ended(st *peerState, c *connection, stats ConnStats) {
	s.book(st.peer, c, stats)
	end := stats.End
	if end == "" {
		end = "unknown"
	}
	s.counts.add(count{countEnds, end}, 1)
	s.note(&note{what: kindDisconnected, peer: st.peer.id, in: &circumstances{hook: c.by.name, path: c.path, cause: ending(end)}})
}

// moved records that a connection has changed its path.
func (s *state) moved(by *registration, st *peerState, conn RawConn, from, to Path, stats ConnStats) {
	for _, c := range st.connections {
		if c.by == by && c.conn == conn {
			s.book(st.peer, c, stats)
			c.path = to
			s.counts.add(count{countMoves, from.word() + " to " + to.word()}, 1)
			s.note(&note{what: kindMoved, peer: st.peer.id, in: &circumstances{hook: by.name, path: to, from: &from}})
			s.bus.publish(PeerPathChanged{Peer: st.peer, From: from, To: to})
		}
	}
}

// An ending is why a connection has ended.
type ending string

func (e ending) Error() string { return string(e) }
