package quic

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/netmon"
)

// A node that hides its identity uses a different socket, port and key in each
// network, so that nothing links the networks. Anybody in a network can make it
// look like another one, for example with router advertisements. So only
// evidence that the node was carried elsewhere counts, and no more than once a
// minute.
const (
	moveRate = time.Minute

	// A link that was down may lead anywhere. The node waits this long for its
	// router, which can prove that the network is the same.
	proofTime = 2 * time.Second
)

// surroundings are the traits by which a network is recognized.
type surroundings struct {
	iface    string // of the default route; empty if there is none
	gateway  string // its link-layer address; empty if it is not known
	prefixes map[netip.Prefix]bool
	links    map[string]attachment // by interface
}

// An attachment holds the traits of the network that an interface is attached
// to.
type attachment struct {
	ups     uint64
	gateway string
	addrs   []netip.Addr
}

// surround returns the surroundings of the host. If there is IPv4, a router for
// IPv6 alone means nothing, since anybody can be one.
func surround(m *netmon.Monitor) (s surroundings, ok bool) {
	s.links, s.prefixes = map[string]attachment{}, map[netip.Prefix]bool{}
	state, err := m.Snapshot()
	if err != nil {
		return s, false
	}
	for _, i := range state.Interfaces {
		s.add(&i)
	}
	route := state.Default[netmon.IPv4]
	if route.Index == 0 && len(s.prefixes) == 0 {
		route = state.Default[netmon.IPv6]
	}
	for _, i := range state.Interfaces {
		if _, up := s.links[i.Name]; up && i.Index == route.Index {
			s.iface, s.gateway = i.Name, route.Link
		}
	}
	return s, true
}

// add adds an interface.
func (s *surroundings) add(i *netmon.Interface) {
	if !i.Up() || i.Port || len(i.Prefixes) == 0 || i.Flags&net.FlagLoopback != 0 {
		return
	}
	a := attachment{ups: i.Ups, gateway: cmp.Or(i.Gateways[netmon.IPv4].Link, i.Gateways[netmon.IPv6].Link)}
	for _, p := range slices.Concat(i.Prefixes, i.Temporary) {
		a.addrs = append(a.addrs, p.Addr().Unmap().WithZone(""))
	}
	s.links[i.Name] = a
	for _, p := range i.Prefixes {
		if p.Addr().Unmap().Is4() {
			s.prefixes[p.Masked()] = true
		}
	}
}

// differ reports whether s and t belong to different networks. A default route
// or a router's address that becomes known or unknown means nothing.
func (s surroundings) differ(t surroundings) bool {
	known := func(a, b string) bool { return a != "" && b != "" && a != b }
	return known(s.iface, t.iface) || known(s.gateway, t.gateway) || !maps.Equal(s.prefixes, t.prefixes)
}

// stays reports whether an interface is attached to the same network in s and
// t, and whether its router may still prove it.
func (s surroundings) stays(t surroundings, name string) (stays, hope bool) {
	before, was := s.links[name]
	now, is := t.links[name]
	if !was || !is {
		return false, is != was
	}
	stays = now.ups == before.ups || before.gateway != "" && now.gateway == before.gateway
	return stays, stays || before.gateway != "" && now.gateway == ""
}

// bounced reports whether a link was down between s and t without its router
// proving that the network is the same, and whether the router may still prove
// it.
func (s surroundings) bounced(t surroundings) (bounced, hope bool) {
	hope = true
	for name := range s.links {
		if _, up := t.links[name]; !up {
			continue
		}
		stays, may := s.stays(t, name)
		bounced, hope = bounced || !stays, hope && may
	}
	return bounced, bounced && hope
}

// nowhere reports whether the host is in no network.
func (s surroundings) nowhere() bool { return len(s.links) == 0 }

// A whereabouts detects that the network is no longer the one in which an
// endpoint began.
type whereabouts struct {
	monitor *netmon.Monitor
	next    time.Time // when it may signal a change
	at      surroundings
	told    bool                            // another part of the program has detected the change
	doubt   time.Time                       // since when the network may be another one; zero if it is not
	timer   *time.Timer                     // signals the change; nil: never
	homes   map[netip.Addr]bool             // the host's addresses, while it was there
	fence   func(homes map[netip.Addr]bool) // called with the addresses that are certainly still there; with nil if all are
}

// whereabouts returns a whereabouts that begins in the present network.
func (e *endpoint) whereabouts(next time.Time) site {
	w := &whereabouts{monitor: e.listener.cfg.monitor, next: next, fence: e.fence}
	w.timer = time.NewTimer(time.Hour)
	w.timer.Stop()
	w.begin()
	return w
}

// begin begins in the present network.
func (w *whereabouts) begin() {
	w.homes = map[netip.Addr]bool{}
	w.at, _ = surround(w.monitor)
	w.settle(w.at)
}

// settle adds the host's addresses.
func (w *whereabouts) settle(now surroundings) {
	for _, a := range now.links {
		for _, addr := range a.addrs {
			w.homes[addr] = true
		}
	}
}

// fence lets the endpoint's socket send only from addresses that the host had
// before, on links that still lead to the same network: nobody in another
// network must see the port, or a packet meant for the previous network. nil
// lifts the fence.
func (e *endpoint) fence(homes map[netip.Addr]bool) {
	if homes == nil {
		e.socket.Fence(nil)
		return
	}
	e.socket.Fence(func(to netip.AddrPort) bool {
		source := sourceTo(to).Unmap().WithZone("")
		return source.IsLoopback() || homes[source]
	})
}

func (w *whereabouts) stop() { w.timer.Stop() }

// left returns the channel that signals when to call moved.
func (w *whereabouts) left() <-chan time.Time { return w.timer.C }

// look checks whether the network has changed.
func (w *whereabouts) look() {
	now, ok := surround(w.monitor)
	if !ok {
		return
	}
	moved, wait := w.compare(now)
	w.fence(w.certain(now, moved))
	switch {
	case moved:
		w.timer.Reset(max(time.Until(w.next), wait))
	case !w.told:
		w.timer.Stop()
	}
}

// certain returns the addresses on links that certainly lead to the same
// network; nil if all do. A link that is down may come back, and lead
// elsewhere, before that is noticed.
func (w *whereabouts) certain(now surroundings, moved bool) map[netip.Addr]bool {
	homes, all := map[netip.Addr]bool{}, !moved
	for name := range w.at.links {
		stays, _ := w.at.stays(now, name)
		if all = all && stays; !stays {
			continue
		}
		for _, addr := range now.links[name].addrs {
			if w.homes[addr] {
				homes[addr] = true
			}
		}
	}
	if all {
		return nil
	}
	return homes
}

// tell records that the network has changed.
func (w *whereabouts) tell() {
	if !w.told {
		w.told = true
		w.timer.Reset(time.Until(w.next))
	}
}

// leave ends what cannot continue after the network has changed.
func (w *whereabouts) leave(e *endpoint) {
	if now, ok := surround(w.monitor); ok {
		certain := w.certain(now, true)
		w.fence(certain)
		e.endFenced(certain)
	}
}

// moved reports whether the network has changed.
func (w *whereabouts) moved() bool {
	now, ok := surround(w.monitor)
	if !ok {
		return w.told
	}
	moved, wait := w.compare(now)
	if moved && wait > 0 {
		w.timer.Reset(wait)
	}
	return w.told || moved && wait <= 0
}

// compare reports whether the network has changed. If it seems to have changed
// but may still prove to be the same, compare also returns how long to wait for
// the proof.
func (w *whereabouts) compare(now surroundings) (moved bool, wait time.Duration) {
	if now.nowhere() {
		return false, 0
	}
	differs := !w.at.nowhere() && w.at.differ(now)
	bounced, hope := w.at.bounced(now)
	switch {
	case !bounced:
		w.doubt = time.Time{}
	case w.doubt.IsZero():
		w.doubt = time.Now()
	}
	if differs || bounced && !hope {
		return true, 0
	}
	if bounced {
		return true, max(0, proofTime-time.Since(w.doubt))
	}
	w.settle(now)
	w.at.know(now)
	return false, 0
}

// know adds what has become known about the same network.
func (s *surroundings) know(now surroundings) {
	if now.gateway != "" || s.nowhere() {
		s.iface, s.gateway, s.prefixes = now.iface, now.gateway, now.prefixes
	}
	links := map[string]attachment{}
	for name, l := range now.links {
		l.gateway = cmp.Or(l.gateway, s.links[name].gateway)
		links[name] = l
	}
	for name, l := range s.links { // a link that is down may come back
		if _, ok := links[name]; !ok {
			links[name] = l
		}
	}
	s.links = links
}

// homeless reports whether this node's address on a connection is gone.
func (c *conn) homeless(state *netmon.Snapshot) bool {
	c.mu.Lock()
	home := c.home
	c.mu.Unlock()
	if !c.veiled && c.mover != nil { // it was made in a circuit
		c.mover.mu.Lock()
		home = c.mover.at.source
		c.mover.mu.Unlock()
	}
	if !home.IsValid() || home.IsLoopback() {
		return false
	}
	for _, i := range state.Interfaces {
		for _, p := range slices.Concat(i.Prefixes, i.Temporary) {
			if p.Addr().Unmap().WithZone("") == home {
				return false
			}
		}
	}
	return true
}

// endStranded ends the connections whose addresses are gone: under a mask,
// connections are not moved.
func (e *endpoint) endStranded() {
	state, err := e.listener.cfg.monitor.Snapshot()
	if err != nil {
		return
	}
	for _, c := range e.all() {
		if !c.Relayed() && c.homeless(&state) {
			e.log.Debug("the address of a connection is gone", "peer", c.id, "path", c.Path())
			e.start(func() { c.Close() })
		}
	}
}

// endFenced ends the connections whose packets the fence drops: their link was
// down and may lead elsewhere, where their address may be in use too.
func (e *endpoint) endFenced(certain map[netip.Addr]bool) {
	for _, c := range e.all() {
		c.mu.Lock()
		home := c.home
		c.mu.Unlock()
		if certain != nil && c.veiled && !c.Relayed() && home.IsValid() && !home.IsLoopback() && !certain[home] {
			e.log.Debug("the network of a connection is gone", "peer", c.id, "path", c.Path())
			e.start(func() { c.Close() })
		}
	}
}

// drain closes the endpoint once it has no connections left, or when it is
// abandoned. The endpoint accepts no more connections.
func (e *endpoint) drain() {
	e.mu.Lock()
	e.network = nil // taken over by the next endpoint
	e.mu.Unlock()
	e.refuse()
	e.listener.hides().endStranded(e)
	for len(e.all()) > 0 {
		select {
		case <-e.fewer:
		case <-e.abandoned:
			e.close()
			return
		}
	}
	e.close()
}

// abandon makes drain close the endpoint at once.
func (e *endpoint) abandon() { e.givenUp.Do(func() { close(e.abandoned) }) }
