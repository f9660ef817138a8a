package tcp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A run is one call of Run.
type run struct {
	listener *Listener
	scope    *p2p.Scope
	log      *slog.Logger
	limits   Limits
	keeper   *keeper
	door     *door

	ctx    context.Context // done at the end
	ending <-chan struct{}
	tasks  sync.WaitGroup // added to under mu, while it is not closing

	mu      sync.Mutex
	closing bool
	socket  *net.TCPListener // nil while no lanes are accepted
	bonds   map[identity.RemoteIdentity]*bond
	asked   map[identity.RemoteIdentity]*question
	keeping map[identity.RemoteIdentity]*attempt
	vain    map[identity.RemoteIdentity]time.Time // see hopes
	tended  bool                                  // tend runs
}

// Run accepts and dials lanes until ctx is done.
func (l *Listener) Run(ctx context.Context, s *p2p.Scope) error {
	k, err := newKeeper(s.Identity())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &run{
		listener: l, scope: s, log: s.Logger(), limits: l.cfg.Limits, keeper: k, door: newDoor(l.cfg.Limits, s.Node()),
		ctx: ctx, ending: ctx.Done(), bonds: map[identity.RemoteIdentity]*bond{},
		asked: map[identity.RemoteIdentity]*question{}, keeping: map[identity.RemoteIdentity]*attempt{},
		vain: map[identity.RemoteIdentity]time.Time{},
	}
	l.mu.Lock()
	if l.run != nil {
		l.mu.Unlock()
		cancel()
		return errors.New("tcp: a listener serves one node at a time")
	}
	l.run = r
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.run = nil
		l.mu.Unlock()
		cancel()
		r.close()
	}()
	events := s.Node().Subscribe()
	defer events.Close()
	if err := r.follow(); err != nil {
		return err
	}
	s.Choose(r.choose)
	s.Ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-events.C:
			if !ok {
				return nil
			}
			if err := r.heed(event); err != nil {
				return err
			}
		}
	}
}

// heed acts on an event of the node.
func (r *run) heed(event p2p.Event) error {
	switch event := event.(type) {
	case p2p.Resync:
		for _, b := range r.all() {
			b.tell()
			b.settle()
		}
		return r.follow()
	case p2p.ListenerRegistered, p2p.ListenerUnregistered, p2p.ListenerAddrAdded, p2p.ListenerAddrRemoved:
		return r.follow()
	case p2p.MetadataModified:
		r.announce()
		for _, b := range r.all() {
			b.tell()
		}
	case p2p.PeerConnectedWith:
		if b := r.bond(event.Peer.Identity()); b != nil && event.Listener != r.listener.Name() {
			b.settle()
		}
	case p2p.NetworkModified:
		r.mu.Lock()
		clear(r.vain)
		r.mu.Unlock()
		for _, b := range r.all() {
			b.hurry()
		}
	}
	return nil
}

// start runs f in a goroutine that close waits for, unless the run is closing.
func (r *run) start(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return false
	}
	r.tasks.Go(f)
	return true
}

// all returns the bonds.
func (r *run) all() (all []*bond) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.bonds {
		all = append(all, b)
	}
	return all
}

func (r *run) bond(id identity.RemoteIdentity) *bond {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bonds[id]
}

// goodbye is how long lanes that were closed or reset have to send the rest of
// their buffers.
const goodbye = 50 * time.Millisecond

// close ends all lanes.
func (r *run) close() {
	r.shut()
	for began := time.Now(); r.anyLeaves() && time.Since(began) < goodbye; {
		time.Sleep(time.Millisecond)
	}
	r.mu.Lock()
	r.closing = true
	r.mu.Unlock()
	r.door.close()
	for _, b := range r.all() {
		b.Close()
	}
	r.tasks.Wait()
}

// anyLeaves reports whether a lane was closed that has something to send.
func (r *run) anyLeaves() bool {
	for _, b := range r.all() {
		for _, l := range b.list() {
			if l.leaves() {
				return true
			}
		}
	}
	return false
}

// families reports the address families with which the node shows its address,
// and a port of its other listeners. While the node hides, these report no
// address, and it has no lanes.
func (r *run) families() (ipv4, ipv6 bool, port uint16) {
	alone := true
	for _, l := range r.scope.Node().Listeners() {
		if l.Name == r.listener.Name() {
			continue
		}
		alone = false
		for _, a := range l.Addrs {
			is4 := a.Addr().Unmap().Is4()
			ipv4, ipv6 = ipv4 || is4, ipv6 || !is4
			port = a.Port()
		}
	}
	if alone {
		return true, true, 0
	}
	return ipv4, ipv6, port
}

// shows reports whether the node may be visible at an address, or to it.
func (r *run) shows(ip netip.Addr) bool {
	ipv4, ipv6, _ := r.families()
	if ip.Unmap().Is4() {
		return ipv4
	}
	return ipv6
}

// follow opens or closes the port for lanes, depending on whether the node
// shows its address.
func (r *run) follow() error {
	ipv4, ipv6, port := r.families()
	if !ipv4 && !ipv6 {
		r.shut()
		for _, b := range r.all() {
			b.Close()
		}
		return nil
	}
	for _, b := range r.all() {
		for _, l := range b.list() {
			if l.path.Remote.Addr().Is4() && !ipv4 || l.path.Remote.Addr().Is6() && !ipv6 {
				l.cut()
			}
		}
	}
	if r.port() != 0 {
		return nil
	}
	if r.listener.cfg.Port != 0 {
		port = r.listener.cfg.Port
	}
	s, err := listen(r.ctx, port)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.socket = s
	r.mu.Unlock()
	r.start(func() { r.accept(s) })
	r.announce()
	r.log.Debug("listening", "port", r.port())
	return nil
}

// listen binds a port, or any free one if that fails.
func listen(ctx context.Context, port uint16) (*net.TCPListener, error) {
	conf := net.ListenConfig{KeepAliveConfig: keepAlive}
	conf.SetMultipathTCP(false)
	s, err := conf.Listen(ctx, "tcp", ":"+strconv.Itoa(int(port)))
	if err != nil && port != 0 {
		s, err = conf.Listen(ctx, "tcp", ":0")
	}
	if err != nil {
		return nil, err
	}
	return s.(*net.TCPListener), nil
}

// keepAlive detects that a peer is gone while nothing is sent to it.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3}

// port returns the port of the lanes, or 0.
func (r *run) port() uint16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.socket == nil {
		return 0
	}
	return r.socket.Addr().(*net.TCPAddr).AddrPort().Port()
}

// announce puts the port into the node's metadata.
func (r *run) announce() {
	port := r.port()
	want := strconv.Itoa(int(port))
	if port == 0 || r.scope.Node().Metadata()[p2p.KeyLane] == want {
		return
	}
	if err := r.scope.Node().UpdateMetadata(func(m map[string]string) { m[p2p.KeyLane] = want }); err != nil {
		r.log.Warn("lanes are not announced", "cause", err)
	}
}

// shut stops accepting lanes.
func (r *run) shut() {
	r.mu.Lock()
	s := r.socket
	r.socket = nil
	r.mu.Unlock()
	if s == nil {
		return
	}
	s.Close()
	_ = r.scope.Node().UpdateMetadata(func(m map[string]string) { delete(m, p2p.KeyLane) }) // fails only when the node ends
}

// near reports whether an address is in a network of this host.
func near(ip netip.Addr) bool {
	ip = ip.Unmap()
	if ip.IsLoopback() || ip.IsLinkLocalUnicast() {
		return true
	}
	addrs, _ := net.InterfaceAddrs() // without them, no address is near
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.Contains(ip.AsSlice())
	})
}
