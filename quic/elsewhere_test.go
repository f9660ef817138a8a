package quic

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/netmon"

	"github.com/sdp2p/p2p"
)

// wifi is a network with a router.
func wifi(prefix, router, link string) netmon.Snapshot {
	i := wired
	i.Prefixes = []netip.Prefix{netip.MustParsePrefix(prefix)}
	s := netmon.Snapshot{Interfaces: []netmon.Interface{i}}
	s.Default[netmon.IPv4] = netmon.DefaultRoute{Index: i.Index, Gateway: netmon.Gateway{Addr: netip.MustParseAddr(router), Link: link}}
	return s
}

// Evidence that the node was carried to another network counts; IPv6 settings
// that any host in a network can have it believe do not.
func TestSurroundings(t *testing.T) {
	t.Parallel()
	home := wifi("192.0.2.1/24", "192.0.2.254", "02:00:00:00:00:01")
	more := home
	more.Interfaces = []netmon.Interface{home.Interfaces[0]}
	more.Interfaces[0].Prefixes = append([]netip.Prefix{netip.MustParsePrefix("2001:db8:1::1/64"), netip.MustParsePrefix("2001:db8:2::1/64")}, home.Interfaces[0].Prefixes...)
	more.Default[netmon.IPv6] = netmon.DefaultRoute{Index: 1, Gateway: netmon.Gateway{Addr: netip.MustParseAddr("fe80::1"), Link: "02:00:00:00:00:66"}}
	other := home
	other.Interfaces = []netmon.Interface{home.Interfaces[0]}
	other.Interfaces[0].Name = "wlan0"
	for name, c := range map[string]struct {
		then  netmon.Snapshot
		moved bool
	}{
		"nothing":           {home, false},
		"advertised":        {more, false},
		"another router":    {wifi("192.0.2.1/24", "192.0.2.254", "02:00:00:00:00:02"), true},
		"not yet known":     {wifi("192.0.2.1/24", "192.0.2.254", ""), false},
		"another prefix":    {wifi("198.51.100.1/24", "192.0.2.254", "02:00:00:00:00:01"), true},
		"another address":   {wifi("192.0.2.7/24", "192.0.2.254", "02:00:00:00:00:01"), false},
		"another interface": {other, true},
		"no route":          {unrouted(home), false},
		"offline":           {netmon.Snapshot{}, false},
		"unplugged":         {unplugged(home), false},
	} {
		n := &fakeNetwork{state: home}
		w := &whereabouts{monitor: netmon.New(n)}
		w.begin()
		n.state = c.then
		require.Equal(t, c.moved, w.moved(), name)
		n.state = home
		require.False(t, w.moved(), "%s, and back", name)
	}
}

// unrouted returns a network whose router is gone.
func unrouted(s netmon.Snapshot) netmon.Snapshot {
	s.Default = [2]netmon.DefaultRoute{}
	return s
}

// unplugged returns a network whose cable is unplugged: routes may stay.
func unplugged(s netmon.Snapshot) netmon.Snapshot {
	i := s.Interfaces[0]
	i.Flags &^= net.FlagRunning
	s.Interfaces = []netmon.Interface{i}
	return s
}

// replugged returns a network whose cable was plugged in again ups times.
func replugged(s netmon.Snapshot, ups uint64) netmon.Snapshot {
	i := s.Interfaces[0]
	i.Ups, i.Gateways[netmon.IPv4] = ups, s.Default[netmon.IPv4].Gateway
	s.Interfaces = []netmon.Interface{i}
	return s
}

// A link that was down is assumed to lead to another network, unless its router
// is the same. The router has two seconds to become known, during which nothing
// is sent.
func TestReplugged(t *testing.T) {
	t.Parallel()
	home := wifi("192.0.2.1/24", "192.0.2.254", "02:00:00:00:00:01")
	unknown := wifi("192.0.2.1/24", "192.0.2.254", "")
	other := wifi("192.0.2.1/24", "192.0.2.254", "02:00:00:00:00:02")
	const never = -1
	for name, c := range map[string]struct {
		before, at, later netmon.Snapshot // later: a second after at
		after             time.Duration   // until it counts as another network
	}{
		"the same router":             {home, home, home, never},
		"the same router, known late": {home, unknown, home, never},
		"another router":              {home, other, other, 0},
		"another router, known late":  {home, unknown, other, time.Second},
		"never known":                 {home, unknown, unknown, proofTime},
		"not known before":            {unknown, home, home, 0},
		"no router":                   {unrouted(home), unrouted(home), unrouted(home), 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &fakeNetwork{state: replugged(c.before, 1)}
			w := &whereabouts{monitor: netmon.New(n), timer: time.NewTimer(time.Hour)}
			w.timer.Stop()
			var fenced map[netip.Addr]bool
			w.fence = func(homes map[netip.Addr]bool) { fenced = homes }
			w.begin()
			w.look()
			require.Nil(t, fenced, name)
			began := time.Now()
			n.state = replugged(c.at, 2)
			w.look()
			if c.after == never && c.at.Default[netmon.IPv4].Link != "" {
				require.Nil(t, fenced, name)
			} else {
				require.NotNil(t, fenced, name)
				require.Empty(t, fenced, name)
			}
			for later, end := time.After(time.Second), time.After(time.Minute); ; {
				select {
				case <-w.left():
					require.True(t, w.moved(), name)
					require.Equal(t, c.after, time.Since(began), name)
					return
				case <-later:
					n.state = replugged(c.later, 2)
					w.look()
				case <-end:
					require.EqualValues(t, never, c.after, name)
					require.Nil(t, fenced, name)
					return
				}
			}
		})
	}
}

// While a link is down, nothing is sent from its addresses, since it may come
// back and lead elsewhere before the node notices. Sending from addresses of
// other links goes on.
func TestFenceWhileDown(t *testing.T) {
	t.Parallel()
	home := replugged(wifi("192.0.2.1/24", "192.0.2.254", "02:00:00:00:00:01"), 1)
	cable := home.Interfaces[0]
	cable.Name, cable.Index, cable.Prefixes = "eth9", 9, []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64")}
	home.Interfaces = append(home.Interfaces, cable)
	n := &fakeNetwork{state: home}
	var fenced map[netip.Addr]bool
	w := &whereabouts{monitor: netmon.New(n), timer: time.NewTimer(time.Hour), fence: func(homes map[netip.Addr]bool) { fenced = homes }}
	w.begin()
	w.look()
	require.Nil(t, fenced)
	n.state.Interfaces = home.Interfaces[:1]
	w.look()
	require.Equal(t, map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true}, fenced)
	n.state = netmon.Snapshot{}
	w.look()
	require.NotNil(t, fenced)
	require.Empty(t, fenced)
	n.state = home
	w.look()
	require.Nil(t, fenced)
}

// A report from outside that the network is another one also counts, for the
// port in use at that time, and within the same rate.
func TestTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w := &whereabouts{
			monitor: netmon.New(&fakeNetwork{state: wifi("192.0.2.1/24", "192.0.2.254", "02:00:00:00:00:01")}),
			next:    began.Add(moveRate), timer: time.NewTimer(time.Hour),
		}
		w.timer.Stop()
		w.begin()
		require.False(t, w.moved())
		w.tell()
		time.Sleep(time.Second)
		w.fence = func(map[netip.Addr]bool) {}
		w.look()
		w.tell()
		<-w.left()
		require.Equal(t, moveRate, time.Since(began))
		require.True(t, w.moved())
	})
}

// A router that only becomes known later does not count as a change, but a
// different router after that does.
func TestSurroundingsBecomeKnown(t *testing.T) {
	t.Parallel()
	n := &fakeNetwork{}
	w := &whereabouts{monitor: netmon.New(n)}
	w.begin()
	for _, s := range []netmon.Snapshot{{}, wifi("192.0.2.1/24", "192.0.2.254", ""), wifi("192.0.2.1/24", "192.0.2.254", "02:00:00:00:00:01")} {
		n.state = s
		require.False(t, w.moved())
	}
	n.state = wifi("192.0.2.1/24", "192.0.2.254", "02:00:00:00:00:02")
	require.True(t, w.moved())
}

// If the network keeps changing, it counts as another one once a minute.
func TestMoveRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNetwork{state: wifi("192.0.2.1/24", "192.0.2.254", "02:00:00:00:00:01")}
		began := time.Now()
		w := &whereabouts{monitor: netmon.New(n), next: began.Add(moveRate), timer: time.NewTimer(time.Hour)}
		fenced := false
		w.fence = func(homes map[netip.Addr]bool) { fenced = homes != nil }
		w.timer.Stop()
		w.begin()
		n.state = wifi("192.0.2.1/24", "192.0.2.254", "02:00:00:00:00:02")
		w.look()
		require.True(t, fenced, "sending stops at once")
		<-w.left()
		require.Equal(t, moveRate, time.Since(began))
		require.True(t, w.moved())
		w.look()
		<-w.left()
		require.Equal(t, moveRate, time.Since(began), "the second change counts at once")
	})
}

// A party knows a single contact, whose key it is given; it records its calls.
type party struct {
	mu       sync.Mutex
	contact  identity.RemoteIdentity
	key      identity.RemoteIdentity
	self     identity.RemoteIdentity
	masks    []identity.RemoteIdentity
	ports    chan uint16
	checking func()
}

func (p *party) Mask() identity.Identity {
	key := identity.New()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.masks = append(p.masks, key.Remote())
	return key
}

func (p *party) Listens(at junction.Socket) {
	if at.Port != 0 {
		p.ports <- at.Port
	}
}

func (p *party) Key(id identity.RemoteIdentity) (identity.RemoteIdentity, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.key, id == p.contact && !p.key.IsZero()
}

func (p *party) Has(id identity.RemoteIdentity) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return id == p.contact
}

// Prove and Check only identify the peer.
func (p *party) Prove(_ context.Context, m junction.Meeting, _ identity.RemoteIdentity) error {
	b := p.self.Bytes()
	if _, err := m.Stream.Write(b[:]); err != nil {
		return err
	}
	_, err := m.Stream.Read(make([]byte, 1))
	return err
}

func (p *party) Check(_ context.Context, m junction.Meeting) (identity.RemoteIdentity, error) {
	if p.checking != nil {
		p.checking()
	}
	var b [identity.Size]byte
	if _, err := m.Stream.Read(b[:]); err != nil {
		return identity.RemoteIdentity{}, err
	}
	if _, err := m.Stream.Write([]byte{1}); err != nil {
		return identity.RemoteIdentity{}, err
	}
	return identity.FromBytes(b[:])
}

// In another network, a node gets another socket, port and key; a connection
// from before lives on if its address is still there.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	a, b := identity.New(), identity.New()
	network := &fakeNetwork{state: wifi("192.0.2.1/24", "192.0.2.254", "02:00:00:00:00:01")}
	la := New(Config{monitor: netmon.New(network), DialTimeout: time.Minute, IdleTimeout: -1, Limits: Limits{StrangerIdle: -1}})
	lb := New(Config{DialTimeout: time.Minute, IdleTimeout: -1, Limits: Limits{StrangerIdle: -1}})
	pa := &party{self: a.Remote(), contact: b.Remote(), ports: make(chan uint16, 8)}
	pb := &party{self: b.Remote(), contact: a.Remote(), ports: make(chan uint16, 8)}
	la.Veiled().Veil(pa)
	lb.Veiled().Veil(pb)
	na, nb := startVeiled(t, a, la), startVeiled(t, b, lb)
	first := <-pa.ports
	<-pb.ports
	connect := func(port uint16) {
		pb.mu.Lock()
		pa.mu.Lock()
		pb.key = pa.masks[len(pa.masks)-1]
		pa.mu.Unlock()
		pb.mu.Unlock()
		require.NoError(t, lb.Veiled().Connect(t.Context(), a.Remote(), []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}))
	}
	connect(first)
	require.Eventually(t, func() bool { return len(na.Peers()) == 1 }, time.Minute, time.Millisecond)
	former := la.running()
	c := former.best(b.Remote())
	require.NotNil(t, c)
	require.False(t, c.moves())
	network.change(func() { network.state = wifi("198.51.100.1/24", "198.51.100.254", "02:00:00:00:00:02") })
	second := <-pa.ports
	require.NotEqual(t, first, second)
	require.Len(t, pa.masks, 2)
	require.NotEqual(t, former, la.running())
	require.False(t, c.gone(), "its address is still there")
	require.Len(t, la.endpoints(), 2)

	ended := nb.Subscribe()
	defer ended.Close()
	la.Veiled().Move(first) // too late
	select {
	case <-la.running().told:
		t.Fatal("the report was about another port")
	default:
	}
	c.mu.Lock()
	c.home = netip.MustParseAddr("192.0.2.1")
	c.mu.Unlock()
	former.endStranded()
	<-c.quic.Context().Done()
	require.Eventually(t, func() bool { return len(la.endpoints()) == 1 }, time.Minute, time.Millisecond, "the socket is closed with its last connection")
	require.Eventually(t, func() bool { return len(nb.Peers()) == 0 }, time.Minute, time.Millisecond)
	connect(second)
}

// startVeiled starts a node with a listener.
func startVeiled(t *testing.T, id identity.Identity, l *Listener) *p2p.P2P {
	t.Helper()
	n, err := p2p.Start(t.Context(), p2p.Config{App: "test", Identity: id, Hooks: []p2p.Hook{l}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = n.Shutdown(context.Background()) })
	return n
}

// Of the dialers that are being checked, the oldest makes room: of those at the
// same address, or of all.
func TestChecks(t *testing.T) {
	t.Parallel()
	var c checks
	pushed := map[string]bool{}
	enter := func(name, addr string) func() {
		return c.enter(netip.MustParseAddr(addr), func(error) { pushed[name] = true })
	}
	enter("a", "192.0.2.1")
	leave := enter("b", "192.0.2.1")
	require.Empty(t, pushed)
	enter("c", "192.0.2.1")
	require.Equal(t, map[string]bool{"a": true}, pushed)
	leave()
	enter("d", "192.0.2.1")
	require.Len(t, pushed, 1)
	for i, addr := range []string{"192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2", "192.0.2.4", "192.0.2.5"} {
		require.Len(t, pushed, 1)
		enter(string(rune('e'+i)), addr)
	}
	enter("k", "192.0.2.6")
	require.Equal(t, map[string]bool{"a": true, "c": true}, pushed)
	enter("l", "2001:db8::3") // the same /64 as two others
	require.Equal(t, map[string]bool{"a": true, "c": true, "g": true}, pushed)
	require.Len(t, c.all, maxChecks)
}

// The previous mask is valid for another minute, if it may be used at all.
func TestMasks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, err := newVeil(&party{}, "test")
		require.NoError(t, err)
		first := v.now()
		require.NoError(t, v.rotate(identity.New(), true))
		second := v.now()
		require.Equal(t, first, v.asked(first.name))
		require.Equal(t, second, v.asked(second.name))
		require.Equal(t, second, v.asked(""))
		time.Sleep(maskTime - 1)
		require.Equal(t, first, v.asked(first.name))
		time.Sleep(time.Nanosecond)
		require.Equal(t, second, v.asked(first.name))
		worn, ok := v.worn(first.name)
		require.True(t, ok)
		require.Equal(t, first, worn)

		require.NoError(t, v.rotate(identity.New(), false))
		require.Equal(t, v.now(), v.asked(second.name))
		for range maxMasks {
			require.NoError(t, v.rotate(identity.New(), true))
		}
		_, ok = v.worn(second.name)
		require.False(t, ok)
	})
}
