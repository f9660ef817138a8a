//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package netmon

import (
	"encoding/hex"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/net/route"
	"golang.org/x/sys/unix"
)

// system is a system with routing sockets (man 4 route).
type system struct{ bounces bounces }

func newSystem() Source { return &system{} }

func (*system) Clocks() Clocks { return readClocks() }

// Read reads interfaces, default routes, and the neighbors among their routers.
func (s *system) Read() (Snapshot, error) {
	state, err := readInterfaces()
	if err != nil {
		return Snapshot{}, err
	}
	neighbors := readNeighbors()
	for _, m := range readRoutes(route.RIBTypeRoute, 0) {
		f, ok := defaultOf(m)
		if !ok {
			continue
		}
		g := Gateway{Addr: addrOf(m.Addrs, unix.RTAX_GATEWAY)}
		g.Link = neighbors[hop{m.Index, g.Addr}]
		state.setGateway(m.Index, f, g)
	}
	for k := range state.Interfaces {
		state.Interfaces[k].Ups = s.bounces.of(state.Interfaces[k].Index)
	}
	state.findDefaults()
	return state, nil
}

// A hop is a neighbor on an interface.
type hop struct {
	index int
	addr  netip.Addr
}

// llinfo is RTF_LLINFO: the route is an entry of the neighbor table.
const llinfo = 0x400

func readRoutes(typ route.RIBType, arg int) (all []*route.RouteMessage) {
	rib, err := route.FetchRIB(unix.AF_UNSPEC, typ, arg)
	if err != nil {
		return nil // routers remain unknown
	}
	messages, _ := route.ParseRIB(route.RIBTypeRoute, rib)
	for _, m := range messages {
		if r, ok := m.(*route.RouteMessage); ok {
			all = append(all, r)
		}
	}
	return all
}

func readNeighbors() map[hop]string {
	all := make(map[hop]string)
	for _, m := range readRoutes(syscall.NET_RT_FLAGS, llinfo) {
		if link := linkOf(m); link != "" {
			all[hop{m.Index, addrOf(m.Addrs, unix.RTAX_DST)}] = link
		}
	}
	return all
}

// linkOf returns the link-layer address in an entry of the neighbor table.
func linkOf(m *route.RouteMessage) string {
	if len(m.Addrs) <= unix.RTAX_GATEWAY {
		return ""
	}
	if a, ok := m.Addrs[unix.RTAX_GATEWAY].(*route.LinkAddr); ok {
		return hex.EncodeToString(a.Addr)
	}
	return ""
}

// defaultOf returns the family of a default route, if m is one.
func defaultOf(m *route.RouteMessage) (family int, ok bool) {
	if m.Flags&unix.RTF_UP == 0 || m.Flags&unix.RTF_HOST != 0 || len(m.Addrs) <= unix.RTAX_GATEWAY {
		return 0, false
	}
	dst := addrOf(m.Addrs, unix.RTAX_DST)
	if !dst.IsValid() || !dst.IsUnspecified() {
		return 0, false
	}
	if len(m.Addrs) > unix.RTAX_NETMASK { // none, or a length of zero
		if mask := addrOf(m.Addrs, unix.RTAX_NETMASK); mask.IsValid() && !mask.IsUnspecified() {
			return 0, false
		}
	}
	if dst.Is6() {
		return IPv6, true
	}
	return IPv4, true
}

// addrOf returns an address of a message, without a zone; invalid if it is not
// an IP address.
func addrOf(addrs []route.Addr, n int) netip.Addr {
	if len(addrs) <= n {
		return netip.Addr{}
	}
	switch a := addrs[n].(type) {
	case *route.Inet4Addr:
		return netip.AddrFrom4(a.IP)
	case *route.Inet6Addr:
		ip := a.IP
		if ip[0] == 0xfe && ip[1]&0xc0 == 0x80 {
			ip[2], ip[3] = 0, 0 // the kernel keeps the zone there
		}
		return netip.AddrFrom16(ip)
	}
	return netip.Addr{}
}

// events reads the kernel's messages.
type events struct {
	s       *system
	changed func()
	failed  func()
	socket  *os.File
	done    chan struct{}

	mu      sync.Mutex
	closed  bool
	routers map[netip.Addr]bool
}

// Watch opens a routing socket.
func (s *system) Watch(changed, failed func()) (Watcher, error) {
	fd, err := unix.Socket(unix.AF_ROUTE, unix.SOCK_RAW, unix.AF_UNSPEC)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	e := &events{s: s, changed: changed, failed: failed, socket: os.NewFile(uintptr(fd), "route"), done: make(chan struct{})}
	go e.read()
	return e, nil
}

// Close closes the socket, and waits for the goroutine.
func (e *events) Close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	_ = e.socket.Close()
	<-e.done
}

// Wakes returns false: only the clocks show a wake-up.
func (*events) Wakes() bool { return false }

// Seen records which neighbors are routers.
func (e *events) Seen(s *Snapshot) {
	routers := make(map[netip.Addr]bool)
	for _, i := range s.Interfaces {
		for _, g := range i.Gateways {
			routers[g.Addr] = true
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.routers = routers
}

func (e *events) read() {
	defer close(e.done)
	buf := make([]byte, 16<<10)
	for {
		n, err := e.socket.Read(buf)
		if err != nil {
			e.mu.Lock()
			closed := e.closed
			e.mu.Unlock()
			if !closed {
				e.failed()
			}
			return
		}
		if e.matters(buf[:n]) {
			e.changed()
		}
	}
}

// matters reports whether messages concern anything that the monitor compares.
func (e *events) matters(b []byte) bool {
	messages, err := route.ParseRIB(route.RIBTypeRoute, b)
	if err != nil {
		return true // unparsable: it may concern anything
	}
	for _, m := range messages {
		switch m := m.(type) {
		case *route.InterfaceMessage:
			const up = unix.IFF_UP | unix.IFF_RUNNING
			if m.Flags&up != up {
				e.s.bounces.add(m.Index)
			}
			return true
		case *route.RouteMessage:
			if e.tells(m) {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// tells reports whether a message concerns a default route or a router.
func (e *events) tells(m *route.RouteMessage) bool {
	switch m.Type {
	case unix.RTM_ADD, unix.RTM_DELETE, unix.RTM_CHANGE:
	default:
		return false
	}
	if m.Flags&unix.RTF_HOST == 0 {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return linkOf(m) != "" && e.routers[addrOf(m.Addrs, unix.RTAX_DST)]
}

// bounces count how often interfaces were seen without a carrier.
type bounces struct {
	mu sync.Mutex
	n  map[int]uint64
}

func (b *bounces) add(index int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n == nil {
		b.n = make(map[int]uint64)
	}
	b.n[index]++
}

func (b *bounces) of(index int) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n[index]
}
