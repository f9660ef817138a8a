package p2p

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/text"
)

// State describes the node at this moment. Its parts are consistent with each
// other, except for those that only hooks know, which are read right
// afterwards: the figures of connections, candidates through relays, and
// reports. It takes time proportional to the number of peers and streams.
func (n *P2P) State(with ...Detail) State {
	g := gatherer{node: n, libraries: slices.Contains(with, WithLibraries), now: time.Now()}
	n.mu.Lock()
	g.read(&n.state)
	n.mu.Unlock()
	return g.state()
}

// A gatherer makes a State.
type gatherer struct {
	node      *P2P
	libraries bool
	now       time.Time

	self     map[string]string
	hooks    []HookState
	reporter []Reporter // of each hook; nil: none
	peers    []gathered
	open     []*Stream
	openOf   map[identity.RemoteIdentity][]*Stream // the same, by their peers
	counts   map[string]map[string]uint64
	traffic  traffic
	notes    []note
}

// gathered holds what was read about a peer under the lock.
type gathered struct {
	info    PeerInfo
	conns   []*connection
	booked  []connection
	past    past
	traffic traffic
}

// read copies the parts that are guarded by the lock.
func (g *gatherer) read(s *state) {
	g.self = maps.Clone(s.self.entries)
	for _, r := range s.hooks.running {
		g.hooks = append(g.hooks, HookState{
			Name: r.name, Listener: r.listener != nil, Ready: r.isReady, Addrs: slices.Clone(r.addrs), Announces: r.announces,
		})
		reporter, _ := r.hook.(Reporter)
		g.reporter = append(g.reporter, reporter)
	}
	for _, h := range s.hooks.stopped {
		g.hooks = append(g.hooks, HookState{Name: h.name, Listener: h.listener, Stopped: true, Cause: g.text(h.err)})
		g.reporter = append(g.reporter, nil)
	}
	for _, st := range s.peers.inOrder() {
		g.peers = append(g.peers, s.gather(st.peer))
	}
	for id, t := range s.peers.tracked {
		if s.peers.known[id] == nil {
			g.peers = append(g.peers, s.gather(t.peer))
		}
	}
	g.counts = map[string]map[string]uint64{}
	for c, number := range s.counts {
		if g.counts[c.what] == nil {
			g.counts[c.what] = map[string]uint64{}
		}
		g.counts[c.what][c.by] = number
	}
	g.traffic = s.traffic
	for i := range s.notes.kept {
		r := &s.notes.kept[i]
		g.notes = append(g.notes, r.notes[:r.len]...)
	}
	streams := g.node.streams
	streams.mu.Lock() // taken after the node's
	g.open = streams.snapshot()
	streams.mu.Unlock()
}

// gather reads a peer.
func (s *state) gather(p *Peer) gathered {
	g := gathered{past: p.past}
	g.info, g.conns = s.describe(p, nil)
	for _, c := range g.conns {
		g.booked = append(g.booked, *c)
	}
	if p.past.traffic != nil {
		g.traffic = *p.past.traffic
	}
	return g
}

// state asks the hooks for the rest.
func (g *gatherer) state() State {
	n := g.node
	s := State{
		Time: g.now, Started: n.started, App: n.app, Identity: n.remote, Metadata: g.metadata(g.self),
		Hooks: g.hooks, Peers: make([]PeerState, 0, len(g.peers)), Streams: streamsOf(g.open, nil), Events: g.events(),
	}
	for i, r := range g.reporter {
		if r != nil {
			report := r.Report(g.libraries)
			report.Gauges = finite(report.Gauges)
			s.Hooks[i].Report = &report
		}
	}
	g.openOf = map[identity.RemoteIdentity][]*Stream{}
	for _, stream := range g.open {
		g.openOf[stream.peer.id] = append(g.openOf[stream.peer.id], stream)
	}
	for i := range g.peers {
		s.Peers = append(s.Peers, g.peer(&g.peers[i]))
	}
	s.Counters = Counters{Streams: n.streams.routes.read(), Bytes: g.traffic.byKind(), Causes: g.counts}
	return s
}

// finite leaves out what JSON has no number for.
func finite(gauges map[string]float64) map[string]float64 {
	kept := maps.Clone(gauges)
	maps.DeleteFunc(kept, func(_ string, v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	return kept
}

// peer describes a peer, and adds the bytes of its connections that have not
// been booked yet.
func (g *gatherer) peer(p *gathered) PeerState {
	info := p.info
	candidates := with(info.Candidates, g.node.ways(info.Identity))
	s := PeerState{
		Identity: info.Identity, Name: text.Escape(info.Name, maxShown), Metadata: g.metadata(info.Metadata), Verified: info.Verified,
		Available: info.Available, Tracked: info.Tracked, Revoked: info.Revoked, LastSeen: info.LastSeen,
		DiscoveredBy: info.DiscoveredBy, Unreachable: g.text(info.Unreachable),
	}
	if len(candidates) > 0 && errors.Is(info.Unreachable, ErrNoCandidate) {
		s.Unreachable = g.text(untyped(p.past.failed))
	}
	open := g.openOf[info.Identity]
	s.Streams = streamsOf(open, nil)
	for i, c := range p.conns {
		conn := g.conn(c, open)
		due := p.booked[i].due(conn.ConnStats)
		p.traffic.add(p.booked[i].path.Kind, due)
		g.traffic.add(p.booked[i].path.Kind, due)
		s.Connections = append(s.Connections, conn)
		s.LastSeen = g.now
	}
	slices.SortStableFunc(s.Connections, func(a, b ConnState) int { return relayed(a.Path) - relayed(b.Path) })
	for _, c := range candidates {
		s.Candidates = append(s.Candidates, g.candidate(c, p.past, s.Connections))
	}
	s.Bytes = p.traffic.byKind()
	return s
}

// conn asks the listener about a connection.
func (g *gatherer) conn(c *connection, open []*Stream) ConnState {
	d := c.describe()
	s := ConnState{Listener: d.Listener, Path: d.Path, Opened: d.Opened, RTT: d.RTT, ConnStats: statsOf(c.conn), Streams: streamsOf(open, c.conn)}
	if !d.Opened.IsZero() {
		s.Age = g.now.Sub(d.Opened)
	}
	return s
}

// candidate describes a candidate and its outcome.
func (g *gatherer) candidate(c Candidate, was past, conns []ConnState) CandidateState {
	s := CandidateState{Kind: c.Kind, Addr: c.Addr, Relay: c.Relay, Version: c.Version, Sources: c.Sources}
	for _, conn := range conns {
		same := c.Kind == Relay && conn.Path.Relay == c.Relay || c.Kind != Relay && conn.Path.Remote == c.Addr
		s.Connected = s.Connected || same && relayed(conn.Path) == relayed(Path{Kind: c.Kind})
	}
	if was.tried == nil {
		return s
	}
	for _, a := range was.tried.Attempts {
		if a.Candidate.sameWay(c) {
			s.Tried, s.Took, s.Cause, s.Error = was.triedAt, a.Took, causeOf(a.Err), g.text(a.Err)
		}
	}
	return s
}

func relayed(p Path) int {
	if p.Kind == Relay {
		return 1
	}
	return 0
}

// streamsOf counts streams by route and direction: all of them, or only those
// of a connection if of is not nil.
func streamsOf(open []*Stream, of RawConn) (all []OpenStreams) {
	numbers := map[OpenStreams]int{}
	for _, s := range open {
		if of != nil {
			if raw, ok := s.raw.(ConnStream); !ok || raw.Conn() != of {
				continue
			}
		}
		numbers[OpenStreams{Route: s.Route(), Inbound: s.inbound}]++
	}
	for s, number := range numbers {
		s.Number = number
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b OpenStreams) int {
		if c := cmp.Compare(a.Route, b.Route); c != 0 || a.Inbound == b.Inbound {
			return c
		}
		if a.Inbound {
			return 1
		}
		return -1
	})
	return all
}

// events puts the notes in order.
func (g *gatherer) events() []Note {
	slices.SortFunc(g.notes, func(a, b note) int { return cmp.Compare(a.number, b.number) })
	all := make([]Note, 0, len(g.notes))
	for _, n := range g.notes {
		in := n.circumstances()
		event := Note{Time: time.Unix(0, n.at), Times: int(n.times), What: whats[n.what], Peer: n.peer, Hook: in.hook, Route: in.route, Path: in.path, From: in.from, Error: g.text(in.cause)}
		if in.cause != nil {
			event.Cause = nameOf(in.cause)
		}
		all = append(all, event)
	}
	return all
}

// nameOf names the cause of a note.
func nameOf(err error) string {
	var code ResetCode
	var end ending
	switch {
	case errors.As(err, &end):
		return string(end)
	case errors.Is(err, ErrRevoked):
		return "revoked"
	case errors.As(err, &code):
		return codeName(code.index())
	}
	return causeOf(err)
}

func untyped(err *DialError) error {
	if err == nil {
		return nil
	}
	return err
}

// metadata returns entries without those about libraries, unless they were
// asked for.
func (g *gatherer) metadata(entries map[string]string) map[string]string {
	kept := map[string]string{}
	for key, value := range entries {
		if g.libraries || !isUUID(key) {
			kept[key] = text.Escape(value, maxShown)
		}
	}
	return kept
}

// text returns an error's text with libraries masked, unless they were asked
// for.
func (g *gatherer) text(err error) string {
	if err == nil {
		return ""
	}
	s := text.Escape(err.Error(), maxShown)
	if !g.libraries {
		s = withoutUUIDs(s)
	}
	return s
}

// withoutUUIDs masks every UUID, since it may name a library.
func withoutUUIDs(s string) string {
	const size = 36
	for i := 0; i+size <= len(s); i++ {
		if isUUID(s[i : i+size]) {
			s = s[:i] + "…" + s[i+size:]
		}
	}
	return s
}

// read returns the counts of all routes.
func (r *routeCounts) read() map[string]StreamCounters {
	all := map[string]StreamCounters{}
	r.all.Range(func(route, c any) bool {
		counted := c.(*routeCount)
		s := StreamCounters{Opened: counted.opened.Load(), Accepted: counted.accepted.Load(), Refused: map[string]uint64{}, RefusedThere: map[string]uint64{}}
		for i := range counted.refused {
			if number := counted.refused[i].Load(); number > 0 {
				s.Refused[codeName(i)] = number
			}
			if number := counted.refusedThere[i].Load(); number > 0 {
				s.RefusedThere[codeName(i)] = number
			}
		}
		all[route.(string)] = s
		return true
	})
	return all
}

// codeName is a code's name in counts.
func codeName(index int) string {
	switch ResetCode(index) {
	case ErrCanceled:
		return "canceled"
	case ErrNoRoute:
		return "no route"
	case ErrRefused:
		return "refused"
	case ErrBusy:
		return "busy"
	case ErrTimeout:
		return "timeout"
	case ErrHandlerFailed:
		return "handler failed"
	case ErrTunnelRefused:
		return "tunnel refused"
	case ErrShuttingDown:
		return "shutting down"
	}
	return "app"
}

func (t *traffic) byKind() map[string]Bytes {
	all := map[string]Bytes{}
	for kind, b := range t {
		if b != (Bytes{}) {
			all[Path{Kind: CandidateKind(kind)}.word()] = b
		}
	}
	return all
}
