package nettest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dns"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/quic"
)

// every is the share of the member's connections that must be made promptly
// while an attack aims at nothing else.
const (
	every = 1.0
	fifty = 50
)

// spoof sends first packets of handshakes to the victim, in the member's name,
// until ctx is done. sent counts them.
func (s *scene) spoof(ctx context.Context, sources []netip.Addr) (sent *atomic.Int64, done func()) {
	s.t.Helper()
	wire, mac := s.from.Wire(s.t), s.victim.host.MAC()
	o := newOpening(s.t, newStranger(s.t, nil))
	l := &line{rate: lineRate}
	sent = new(atomic.Int64)
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			b, err := o.fresh()
			if err != nil {
				return
			}
			l.wait(len(b) + headers)
			from := netip.AddrPortFrom(sources[i%len(sources)], uint16(1024+i%60000))
			to := netip.AddrPortFrom(s.victim.host.Addr4(), quic.DefaultPort)
			if from.Addr().Is6() {
				to = netip.AddrPortFrom(s.victim.host.Addr6(), quic.DefaultPort)
			}
			if wire.SendTo(mac, from, to, b) == nil {
				sent.Add(1)
			}
		}
	})
	return sent, func() { cancel(); running.Wait() }
}

// Handshakes are begun in a member's name, from the member's addresses: the
// member connects all the same. (Each of these has to be answered, which takes
// 0.16 of a processor at 2 MB/s, most of it in the system.)
func TestFloodInMembersName(t *testing.T) {
	s := newScene(t, nodeConfig{})
	before := ask[usage](s.victim, "usage")
	sent, end := s.spoof(t.Context(), []netip.Addr{s.member.host.Addr4(), s.member.host.Addr6()})
	defer end()
	got := s.watch(before, fifty, attackTime)
	end()
	t.Log("packets in the member's name:", sent.Load())
	require.Greater(t, sent.Load(), int64(8_000))
	s.check(got, every)
}

// Handshakes that never finish come from 1,000 networks, which are /64s of one
// /48, and complete the address check that the node asks for: the member
// connects all the same.
func TestFloodFromManyNetworks(t *testing.T) {
	s := newScene(t, nodeConfig{})
	const prefix = "fd79:1:1::/48"
	s.victim.host.Run("ip", "-6", "route", "add", prefix, "via", s.from.Addr6().String())
	s.from.Run("ip", "-6", "route", "add", "local", prefix, "dev", "lo")
	s.from.Run("sh", "-c", "echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind")
	before := ask[usage](s.victim, "usage")
	attack := startAttack(t, s.from, attackConfig{
		Mode: "prefixes", Prefix: netip.MustParsePrefix(prefix), Lasts: time.Minute,
		Target: netip.AddrPortFrom(s.victim.host.Addr6(), quic.DefaultPort),
	})
	defer attack.Kill()
	got := s.watch(before, fifty, attackTime)
	sent := counted(t, attack)
	t.Logf("the attacker: %+v", sent)
	require.Greater(t, sent.Bytes, int64(lineRate*5))
	require.Zero(t, sent.Failed, sent.LastError)
	s.check(got, every)
	s.checkCost(got)
}

// A forger announces peers at its own address, each at its own port, and counts
// the attempts to connect there.
type forger struct {
	mu     sync.Mutex
	probes map[int]map[string]bool // connection IDs of first packets, by peer
	sent   atomic.Int64
	cancel func()
}

const forgedPort = 20_000

// forge announces the peers in turn, 50 times a second.
func forge(t testing.TB, h *netlab.Host, peers []*node) *forger {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	f := &forger{probes: map[int]map[string]bool{}, cancel: func() { cancel(); running.Wait() }}
	wire := h.Wire(t)
	for i := range len(peers) + 1 {
		var u *net.UDPConn
		require.NoError(t, h.Do(func() (err error) {
			u, err = net.ListenUDP("udp4", &net.UDPAddr{Port: forgedPort + i})
			return err
		}))
		t.Cleanup(func() { u.Close() })
		go f.listen(u, i)
	}
	var packets [][]byte
	for i := range len(peers) + 1 {
		id := identities()[0] // of no node
		if i < len(peers) {
			id = peers[i].id
		}
		records := forgedRecords(id, fmt.Sprintf("forged-%d.local.", i), h.Addr4(), 120)
		records[1].(*dns.SRV).Port = uint16(forgedPort + i)
		packets = append(packets, pack(t, &dns.Message{Response: true, Answer: records}))
	}
	running.Go(func() {
		pace := time.NewTicker(time.Second / 50)
		defer pace.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			if wire.Send(netip.AddrPortFrom(h.Addr4(), mdnsPort), group4, packets[i%len(packets)]) == nil {
				f.sent.Add(1)
			}
			<-pace.C
		}
	})
	t.Cleanup(f.cancel)
	return f
}

// listen counts the handshakes that are begun.
func (f *forger) listen(u *net.UDPConn, peer int) {
	for b := make([]byte, 2000); ; {
		n, from, err := u.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		dcid, _, _, err := connectionIDs(b[:n])
		if err != nil || b[0]&0x30 != 0 {
			continue
		}
		f.mu.Lock()
		if f.probes[peer] == nil {
			f.probes[peer] = map[string]bool{}
		}
		f.probes[peer][from.String()+string(dcid)] = true
		f.mu.Unlock()
	}
}

// most returns the largest number of probes for one of the peers.
func (f *forger) most(peers []*node) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range peers {
		n = max(n, len(f.probes[i]))
	}
	return n
}

// counts checks that the forger sees it when a node dials a forged address: it
// announces a peer that is nowhere else.
func (f *forger) counts(n *node, peers []*node) {
	n.t.Helper()
	_, err := netlab.Call[connected](n.Process, "connect", connectArgs{Peer: identities()[0], Within: 5 * time.Second})
	require.NoError(n.t, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	require.NotEmpty(n.t, f.probes[len(peers)])
}

// udpSockets returns the number of sockets of a node that is alone on its host.
// A socket for IPv6 also serves IPv4.
func udpSockets(n *node) int {
	n.t.Helper()
	return strings.Count(n.host.Run("cat", "/proc/net/udp", "/proc/net/udp6"), "\n")
}

// Announcements of connected peers are forged, while the peers' link stalls for
// 700 ms now and then. No connection is lost, and the node probes the forged
// addresses at most 4 times a second for each peer. It opens at most two more
// sockets.
func TestForgedAnnouncements(t *testing.T) {
	const (
		peers  = 10 // all on one host
		stall  = 700 * time.Millisecond
		lasts  = 12 * time.Second
		probes = 4 // per second
	)
	lab := netlab.New(t, 3)
	n := start(t, lab.Hosts[0], onLAN)
	all := make([]*node, peers)
	for i := range all {
		all[i] = start(t, lab.Hosts[1], nodeConfig{QUIC: true, MDNS: true, Seed: bytes.Repeat([]byte{byte(i + 1)}, 32)})
	}
	for _, p := range all {
		n.discovers(p, "mdns")
		_, err := netlab.Call[echoed](n.Process, "hold", holdArgs{Peer: p.id})
		require.NoError(t, err)
	}
	began, sockets := time.Now(), udpSockets(n)
	f := forge(t, lab.Hosts[2], all)
	for time.Since(began) < lasts {
		time.Sleep(2 * time.Second)
		lab.Hosts[1].Stall()
		time.Sleep(stall)
		lab.Hosts[1].Resume()
	}
	time.Sleep(time.Second)
	took := time.Since(began)
	t.Logf("%d forged announcements in %v; at most %d probes of a peer", f.sent.Load(), took, f.most(all))
	require.Greater(t, f.sent.Load(), int64(2*peers), "a busy machine sends few, but some of each")
	for _, p := range all {
		require.Zero(t, n.count("disconnected", p))
		require.Zero(t, n.count("hold failed", p))
	}
	require.LessOrEqual(t, float64(f.most(all)), probes*took.Seconds())
	require.LessOrEqual(t, udpSockets(n), sockets+2)
	seen := 0
	for _, p := range all { // forgeries were accepted as candidates
		seen += n.count("discovered", p)
	}
	require.Greater(t, seen, peers)
	round := ask[int64](n, "held")
	time.Sleep(time.Second)
	require.Greater(t, ask[int64](n, "held"), round+5*peers)
	f.counts(n, all)
}

// The same holds for fifty peers in one process, whose addresses were entered.
func TestForgedAnnouncementsOfFifty(t *testing.T) {
	const crowd, first = 50, 7400
	lab := netlab.New(t, 3)
	cfg := seeded(nodeConfig{QUIC: true, MDNS: true}, keys[0])
	var all []*node
	for i := range crowd {
		key, err := identity.FromSeed(crowdSeed(i))
		require.NoError(t, err)
		all = append(all, &node{id: key.Remote().String()})
		cfg.Track = append(cfg.Track, all[i].id)
		cfg.Manual = append(cfg.Manual, netip.AddrPortFrom(lab.Hosts[1].Addr4(), first+uint16(i)).String())
	}
	lab.Hosts[1].StartProgram(t, "TestCrowd", crowdConfig{Nodes: crowd, Port: first, Peer: idOf(t, keys[0])}).Await(time.Time{}, "started")
	n := start(t, lab.Hosts[0], cfg)
	for _, p := range all {
		n.Await(time.Time{}, "connected", p.id)
		_, err := netlab.Call[echoed](n.Process, "hold", holdArgs{Peer: p.id})
		require.NoError(t, err)
	}
	sockets := udpSockets(n)
	f := forge(t, lab.Hosts[2], all)
	began := time.Now()
	until(t, func() bool { // each was announced several times, and the link has stalled as often
		time.Sleep(2 * time.Second)
		lab.Hosts[1].Stall()
		time.Sleep(700 * time.Millisecond)
		lab.Hosts[1].Resume()
		return f.sent.Load() > 3*crowd
	})
	time.Sleep(time.Second)
	t.Logf("%d forged announcements in %v; at most %d probes of a peer; %d sockets before, %d now",
		f.sent.Load(), time.Since(began), f.most(all), sockets, udpSockets(n))
	for _, p := range all {
		require.Zero(t, n.count("disconnected", p))
		require.Zero(t, n.count("hold failed", p))
	}
	require.LessOrEqual(t, udpSockets(n), sockets+2)
	seen := 0
	for _, p := range all { // forgeries were accepted as candidates
		seen += n.count("discovered", p)
	}
	require.Greater(t, seen, crowd)
}
