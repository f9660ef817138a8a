// Package dnssdtest provides a network in memory: links, hosts with interfaces
// on them, and sockets that behave like those for Multicast DNS on Linux.
// Everything uses channels and timers, so that it works in a testing/synctest
// bubble.
package dnssdtest

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/netmon"
)

// latency is how long a packet travels.
const latency = time.Millisecond

// A Frame is a packet on a link.
type Frame struct {
	Time time.Time
	Data []byte
	Src  netip.AddrPort
	Dst  netip.AddrPort
}

// A Link is an Ethernet segment: multicast packets reach all interfaces on it.
type Link struct {
	mu     sync.Mutex
	ports  map[*port]bool
	frames []Frame
	drop   func(Frame, netip.Addr) bool
	apart  map[*Host]bool // hosts that Cut has separated from the others
	deaf   map[*Host]bool
	mute   map[*Host]bool
}

// NewLink returns a link without interfaces.
func NewLink() *Link { return &Link{ports: make(map[*port]bool)} }

// Frames returns all packets that were sent on the link.
func (l *Link) Frames() []Frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.frames)
}

// Forget drops the record of the packets that were sent so far.
func (l *Link) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames = nil
}

// Drop sets a filter: a frame for which it returns true does not reach the host
// with the address to. Nil drops none.
func (l *Link) Drop(filter func(f Frame, to netip.Addr) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop = filter
}

// Cut interrupts the path between some hosts and all others of the link, as
// between two switches: every interface keeps its carrier. It replaces an
// earlier cut; without hosts, it restores the path.
func (l *Link) Cut(hosts ...*Host) { l.set(&l.apart, hosts) }

// Deafen keeps packets of other hosts from reaching some hosts. It replaces an
// earlier call.
func (l *Link) Deafen(hosts ...*Host) { l.set(&l.deaf, hosts) }

// Mute keeps packets of some hosts from reaching others. It replaces an earlier
// call.
func (l *Link) Mute(hosts ...*Host) { l.set(&l.mute, hosts) }

func (l *Link) set(field *map[*Host]bool, hosts []*Host) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*field = make(map[*Host]bool)
	for _, h := range hosts {
		(*field)[h] = true
	}
}

// passes reports whether packets of one host reach another. The caller holds
// the link's lock. Every host hears itself.
func (l *Link) passes(from, to *Host) bool {
	return from == to || l.apart[from] == l.apart[to] && !l.mute[from] && !l.deaf[to]
}

// Inject puts a frame on the link that no host sent.
func (l *Link) Inject(data []byte, src, dst netip.AddrPort) {
	l.carry(nil, Frame{Time: time.Now(), Data: slices.Clone(data), Src: src, Dst: dst})
}

// port is an interface of a host, plugged into a link.
type port struct {
	host *Host
	link *Link
	ifc  dnssd.Interface
}

// carry delivers a frame to every socket that should receive it. A unicast
// packet reaches only the socket that was opened last, as on Linux.
func (l *Link) carry(from *Host, f Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames = append(l.frames, f)
	for p := range l.ports {
		to := netip.Addr{}
		if len(p.ifc.Addrs) > 0 {
			to = p.ifc.Addrs[0].Addr()
		}
		if !l.passes(from, p.host) || l.drop != nil && l.drop(f, to) {
			continue
		}
		p.host.take(p, f)
	}
}

// A Host is a machine. It implements [dnssd.Network]; several engines can share
// it.
type Host struct {
	mu      sync.Mutex
	ports   map[int]*port
	sockets []*socket
	refuse  error
	stall   time.Duration
	apart   bool // Join fails
	allowed int  // memberships of a socket; 0: any number
	silent  bool // changes are not reported
	joins   int  // number of joins so far

	watchers map[chan netmon.Changed]bool
}

// NewHost returns a host without interfaces.
func NewHost() *Host {
	return &Host{ports: make(map[int]*port), watchers: make(map[chan netmon.Changed]bool)}
}

// Watch implements [dnssd.Watcher].
func (h *Host) Watch() (changes <-chan netmon.Changed, stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := make(chan netmon.Changed, 1)
	h.watchers[c] = true
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, c)
	}
}

// tell reports a change to watchers.
func (h *Host) tell(c netmon.Changed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		if h.silent {
			continue
		}
		told := c
		select {
		case old := <-w:
			told.Kind |= old.Kind
			told.Slept = max(told.Slept, old.Slept)
		default:
		}
		w <- told
	}
}

// Silence sets whether changes of the interfaces are left unreported.
func (h *Host) Silence(silent bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silent = silent
}

// Plug adds an interface that is attached to a link, or replaces the one with
// its index.
func (h *Host) Plug(l *Link, ifc dnssd.Interface) {
	defer h.tell(netmon.Changed{Kind: netmon.Address})
	h.unplug(ifc.Index)
	p := &port{host: h, link: l, ifc: ifc}
	h.mu.Lock()
	h.ports[ifc.Index] = p
	h.mu.Unlock()
	l.mu.Lock()
	l.ports[p] = true
	l.mu.Unlock()
}

// Unplug removes an interface, as if its device had been removed.
func (h *Host) Unplug(index int) {
	defer h.tell(netmon.Changed{Kind: netmon.Address})
	h.unplug(index)
}

func (h *Host) unplug(index int) {
	h.mu.Lock()
	p := h.ports[index]
	delete(h.ports, index)
	for _, s := range h.sockets {
		delete(s.joined, index)
	}
	h.mu.Unlock()
	if p != nil {
		p.link.mu.Lock()
		delete(p.link.ports, p)
		p.link.mu.Unlock()
	}
}

// Change replaces the state of an interface. Memberships stay.
func (h *Host) Change(ifc dnssd.Interface) {
	defer h.tell(netmon.Changed{Kind: netmon.Address})
	h.mu.Lock()
	p := h.ports[ifc.Index]
	h.mu.Unlock()
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	p.ifc = ifc
}

// Break makes all open sockets fail, and further ones fail to open with err
// until it is nil.
func (h *Host) Break(err error) {
	h.mu.Lock()
	h.refuse = err
	sockets := slices.Clone(h.sockets)
	h.mu.Unlock()
	if err != nil {
		for _, s := range sockets {
			s.fail(err)
		}
	}
}

// Sleep makes the watchers read the interfaces now. The next call of Interfaces
// blocks for the time d, as on a computer that is asleep, after which the sleep
// is reported.
func (h *Host) Sleep(d time.Duration) {
	h.mu.Lock()
	h.stall = d
	h.mu.Unlock()
	h.tell(netmon.Changed{Kind: netmon.Address})
}

// Allow limits the memberships of each socket that is opened, as Linux does.
// Further ones fail with [dnssd.ErrNoMembership].
func (h *Host) Allow(memberships int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.allowed = memberships
}

// RefuseJoin sets whether sockets fail to join groups.
func (h *Host) RefuseJoin(refuse bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.apart = refuse
}

// Joins returns the number of joins so far.
func (h *Host) Joins() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.joins
}

// Sockets returns the number of open sockets.
func (h *Host) Sockets() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sockets)
}

// take hands a frame that arrived at a port to the sockets of the host. The
// caller holds the link's lock.
func (h *Host) take(p *port, f Frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	family := dnssd.IPv4
	if f.Dst.Addr().Is6() {
		family = dnssd.IPv6
	}
	src := f.Src
	if src.Addr().Is6() && src.Addr().IsLinkLocalUnicast() {
		src = netip.AddrPortFrom(src.Addr().WithZone(p.ifc.Name), src.Port())
	}
	dst := f.Dst.Addr().WithZone("")
	packet := dnssd.Packet{Data: f.Data, Src: src, Dst: dst, Index: p.ifc.Index}
	mine := slices.ContainsFunc(p.ifc.Addrs, func(a netip.Prefix) bool { return a.Addr() == dst })
	for _, s := range slices.Backward(h.sockets) {
		switch {
		case s.family != family || f.Dst.Port() != dnssd.Port:
		case dst.IsMulticast() && s.joined[p.ifc.Index]:
			s.put(packet)
		case !dst.IsMulticast() && mine:
			s.put(packet)
			return
		}
	}
}

// Interfaces implements [dnssd.Network].
func (h *Host) Interfaces() ([]dnssd.Interface, error) {
	h.mu.Lock()
	stall := h.stall
	h.stall = 0
	h.mu.Unlock()
	if stall > 0 {
		time.Sleep(stall)
		h.tell(netmon.Changed{Kind: netmon.Woke, Slept: stall})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []dnssd.Interface
	for _, p := range h.ports {
		list = append(list, p.ifc)
	}
	return list, nil
}

// Open implements [dnssd.Network].
func (h *Host) Open(f dnssd.Family, deliver func(dnssd.Packet), failed func(error)) (dnssd.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse != nil {
		return nil, h.refuse
	}
	s := &socket{
		host: h, family: f, joined: make(map[int]bool),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	h.sockets = append(h.sockets, s)
	go s.run(deliver, failed)
	return s, nil
}

type socket struct {
	host   *Host
	family dnssd.Family
	joined map[int]bool // guarded by host.mu

	mu    sync.Mutex
	queue []arrival
	err   error
	wake  chan struct{}
	stop  chan struct{}
	done  chan struct{}
}

type arrival struct {
	at time.Time
	p  dnssd.Packet
}

func (s *socket) put(p dnssd.Packet) {
	s.mu.Lock()
	s.queue = append(s.queue, arrival{time.Now().Add(latency), p})
	s.mu.Unlock()
	s.poke()
}

func (s *socket) fail(err error) {
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	s.poke()
}

func (s *socket) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run delivers packets in order, each after its latency.
func (s *socket) run(deliver func(dnssd.Packet), failed func(error)) {
	defer close(s.done)
	for {
		s.mu.Lock()
		err := s.err
		var next arrival
		if len(s.queue) > 0 {
			next = s.queue[0]
			s.queue = s.queue[1:]
		}
		s.mu.Unlock()
		switch {
		case err != nil:
			failed(err)
			<-s.stop
			return
		case next.p.Data == nil:
			select {
			case <-s.wake:
			case <-s.stop:
				return
			}
		default:
			if d := time.Until(next.at); d > 0 {
				select {
				case <-time.After(d):
				case <-s.stop:
					return
				}
			}
			deliver(next.p)
		}
	}
}

var errNoInterface = errors.New("dnssdtest: no such interface")

// Join implements [dnssd.Conn].
func (s *socket) Join(ifc dnssd.Interface) error {
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	if s.host.ports[ifc.Index] == nil || s.host.apart {
		return errNoInterface
	}
	if s.host.allowed > 0 && len(s.joined) >= s.host.allowed && !s.joined[ifc.Index] {
		return dnssd.ErrNoMembership
	}
	s.joined[ifc.Index] = true
	s.host.joins++
	return nil
}

// Leave implements [dnssd.Conn].
func (s *socket) Leave(ifc dnssd.Interface) {
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	delete(s.joined, ifc.Index)
}

// Send implements [dnssd.Conn].
func (s *socket) Send(data []byte, ifc dnssd.Interface, to netip.AddrPort) error {
	s.host.mu.Lock()
	p := s.host.ports[ifc.Index]
	var src netip.Addr
	if p != nil {
		for _, a := range p.ifc.Addrs {
			is6 := a.Addr().Is6()
			if is6 == (s.family == dnssd.IPv6) && (!src.IsValid() || is6 && a.Addr().IsLinkLocalUnicast()) {
				src = a.Addr()
			}
		}
	}
	s.host.mu.Unlock()
	if !src.IsValid() {
		return errNoInterface
	}
	p.link.carry(s.host, Frame{Time: time.Now(), Data: slices.Clone(data), Src: netip.AddrPortFrom(src, dnssd.Port), Dst: to})
	return nil
}

// Close implements [dnssd.Conn].
func (s *socket) Close() error {
	s.host.mu.Lock()
	s.host.sockets = slices.DeleteFunc(s.host.sockets, func(o *socket) bool { return o == s })
	s.host.mu.Unlock()
	close(s.stop)
	<-s.done
	return nil
}
