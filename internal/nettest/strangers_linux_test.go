package nettest

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dns"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/internal/tags"
)

// shows returns what a node has shown so far: its labels, keys, or ports.
func shows(n *node, what int) (all []string) {
	for _, e := range n.Events() {
		if e.Name == "shows" && !slices.Contains(all, e.About[what]) {
			all = append(all, e.About[what])
		}
	}
	return all
}

const (
	labels, ephemeralKeys = 0, 1
)

// ports returns the ports of a host's sockets, from the system's tables.
func ports(t testing.TB, h *netlab.Host, tables ...string) (all []uint16) {
	t.Helper()
	for _, table := range tables {
		for _, m := range regexp.MustCompile(`(?m)^ *\d+: [0-9A-F]+:([0-9A-F]{4}) `).FindAllStringSubmatch(h.Run("cat", "/proc/net/"+table), -1) {
			port, err := strconv.ParseUint(m[1], 16, 16)
			require.NoError(t, err)
			if !slices.Contains(all, uint16(port)) {
				all = append(all, uint16(port))
			}
		}
	}
	return all
}

// A scanner dials with any server name, and records the keys that it is shown.
type scanner struct {
	t    *testing.T
	from *netlab.Host

	mu   sync.Mutex
	keys []string
}

// config returns a configuration that asks for a name, with or without a
// certificate.
func (s *scanner) config(name string, anonymous bool) *tls.Config {
	c := newStranger(s.t, nil).config()
	c.ServerName = name
	if anonymous {
		c.Certificates = nil
	}
	verify := c.VerifyPeerCertificate
	c.VerifyPeerCertificate = nil
	c.VerifyConnection = func(state tls.ConnectionState) error {
		s.shown(state) // even if the handshake fails afterwards
		return verify(rawOf(state), nil)
	}
	return c
}

func (s *scanner) shown(state tls.ConnectionState) {
	key, err := libp2ptls.PubKeyFromCertChain(state.PeerCertificates)
	require.NoError(s.t, err)
	raw, err := key.Raw()
	require.NoError(s.t, err)
	id, err := identity.FromBytes(raw)
	require.NoError(s.t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, id.String())
}

// tls dials with TLS over TCP.
func (s *scanner) tls(at netip.AddrPort, conf *tls.Config) {
	require.NoError(s.t, s.from.Do(func() error {
		c, err := net.DialTimeout("tcp", at.String(), time.Second)
		if err != nil {
			return nil
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_ = tls.Client(c, conf).Handshake()
		return nil
	}))
}

// scanPorts dials all open UDP and TCP ports of a node at an address, with QUIC
// and TLS, asking for each name, with and without a certificate. It returns the
// keys that it is shown.
func scanPorts(t *testing.T, from *netlab.Host, n *node, at netip.Addr, names []string) (keys []string) {
	t.Helper()
	s := &scanner{t: t, from: from}
	udp, tcp := ports(t, n.host, "udp", "udp6"), ports(t, n.host, "tcp", "tcp6")
	t.Log("open:", udp, tcp)
	require.NotEmpty(t, udp)
	var u *net.UDPConn
	require.NoError(t, from.Do(func() (err error) { u, err = net.ListenUDP("udp", nil); return err }))
	tr := &quic.Transport{Conn: u}
	defer u.Close()
	defer tr.Close()
	var dials sync.WaitGroup
	place := make(chan struct{}, 8)
	for _, name := range names {
		for _, anonymous := range []bool{false, true} {
			for _, port := range udp {
				place <- struct{}{}
				dials.Go(func() {
					defer func() { <-place }()
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // for other ports
					defer cancel()
					c, err := tr.Dial(ctx, net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, port)), s.config(name, anonymous), quicConfig())
					if err == nil {
						_ = c.CloseWithError(0, "")
					}
				})
			}
			for _, port := range tcp {
				s.tls(netip.AddrPortFrom(at, port), s.config(name, anonymous))
			}
		}
	}
	dials.Wait()
	return s.keys
}

func rawOf(state tls.ConnectionState) (raw [][]byte) {
	for _, c := range state.PeerCertificates {
		raw = append(raw, c.Raw)
	}
	return raw
}

// asksFor returns the name with which contacts ask for a key.
func asksFor(t testing.TB, key string) string {
	id, err := identity.Parse(key)
	require.NoError(t, err)
	b := id.Bytes()
	sum := sha256.Sum256(b[:])
	return hex.EncodeToString(sum[:8])
}

// A scan of the ports of nodes that are visible only to their contacts finds
// only the keys that they show, whatever name it asks for: also after a change
// of keys, and in another network, where it finds no key from the first
// network.
func TestContactsScanned(t *testing.T) {
	t.Parallel()
	m := newMoved(t, keys, func(int) nodeConfig { return nodeConfig{} })
	names := func() []string {
		list := []string{"", asksFor(t, m.a.id), asksFor(t, m.b.id), m.a.id, "localhost"}
		for _, n := range []*node{m.a, m.b} {
			for _, key := range shows(n, ephemeralKeys) {
				list = append(list, asksFor(t, key))
			}
		}
		return list
	}
	at := m.link[0].Prefixes(m.a.host, 0)[0].Addr()
	for range 2 {
		found := scanPorts(t, m.router[0], m.a, at, names())
		require.NotEmpty(t, found)
		require.Subset(t, shows(m.a, ephemeralKeys), found)
		before := ask[shownInfo](m.a, "shown")
		_, err := netlab.Call[none](m.a.Process, "set contacts", []string{m.b.id, identity.New().Remote().String()})
		require.NoError(t, err)
		m.a.shown(t, before)
	}
	before := ask[shownInfo](m.a, "shown")
	m.link[0].Unplug(m.a.host)
	m.link[1].Plug(m.a.host)
	after := m.a.shown(t, before)
	found := scanPorts(t, m.router[1], m.a, m.link[1].Prefixes(m.a.host, 0)[0].Addr(), names())
	require.NotEmpty(t, found)
	for _, key := range found {
		require.Equal(t, after.Key, key)
	}
}

// advertisement returns a router advertisement (RFC 4861 §4.2) with a prefix,
// from a router with a link-layer address.
func advertisement(mac net.HardwareAddr, prefix netip.Addr) []byte {
	b := []byte{134, 0, 0, 0, 64, 0, 0x0e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0}
	b = append(append(b, 1, 1), mac...)
	b = append(b, 3, 4, 64, 0xc0)
	b = binary.BigEndian.AppendUint32(b, 3600)
	b = binary.BigEndian.AppendUint32(b, 3600)
	return append(append(b, 0, 0, 0, 0), prefix.AsSlice()...)
}

// 1,000 forged router advertisements, from many routers and with many prefixes,
// end no connection, and are mistaken for another network at most once; never,
// if there is IPv4.
func TestForgedRouters(t *testing.T) {
	t.Parallel()
	for name, most := range map[string]int{"with IPv4": 1, "without IPv4": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab := netlab.New(t, 3)
			if name == "without IPv4" {
				for _, h := range lab.Hosts[:2] {
					h.Run("ip", "-4", "addr", "flush", "dev", netlab.Interface)
				}
			}
			a := hidden(t, lab.Hosts[0], nodeConfig{Debug: true}, keys[0], keys[1])
			b := hidden(t, lab.Hosts[1], nodeConfig{Debug: true}, keys[1], keys[0])
			meets(a, b, time.Time{})
			_, err := netlab.Call[echoed](a.Process, "hold", holdArgs{Peer: b.id})
			require.NoError(t, err)
			began := time.Now()
			wire := lab.Hosts[2].Wire(t)
			for i := range 1000 {
				mac := net.HardwareAddr{2, 0, 0, 0, 0, byte(i % 10)}
				from := netip.MustParseAddr(fmt.Sprintf("fe80::99:%x", i%10))
				prefix := netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::", i))
				require.NoError(t, wire.SendICMP6(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, from, netip.MustParseAddr("ff02::1"), advertisement(mac, prefix)))
				time.Sleep(5 * time.Millisecond) // the rate of the attack
			}
			require.NotEmpty(t, a.host.Run("ip", "-6", "route", "show", "default"), "the host must believe the advertisements")
			held := ask[int64](a, "held")
			until(t, func() bool { return ask[int64](a, "held") > held+20 })
			for _, n := range []*node{a, b} {
				for _, e := range n.Events() {
					require.False(t, e.At.After(began) && (e.Name == "disconnected" || e.Name == "hold failed"), "%v", e)
				}
				t.Log("shown:", shows(n, labels))
				require.LessOrEqual(t, len(shows(n, labels)), most)
			}
			a.way(b)
		})
	}
}

// forgedContact returns an announcement of a node that is visible to contacts
// only, of no real node, with random tags.
func forgedContact(t testing.TB, from netip.Addr) []byte {
	t.Helper()
	var label [8]byte
	binary.BigEndian.PutUint64(label[:], rand.Uint64())
	txt, err := tags.Layout(identity.New().Remote(), nil)
	require.NoError(t, err)
	host := hex.EncodeToString(label[:]) + ".local."
	records := forgedRecords(hex.EncodeToString(label[:]), host, from, 120)
	records[2].(*dns.TXT).Txt = txt[0]
	return pack(t, &dns.Message{Response: true, Answer: records})
}

// A forger announces 1,000 such nodes a minute, from 200 addresses, until a
// node's tables are full, and holds 50 silent connections: a contact that
// starts then is found.
func TestContactFoundAmongForged(t *testing.T) {
	t.Parallel()
	took := takes(t, "contact found among forged ones")
	lab := netlab.New(t, 3)
	a := hidden(t, lab.Hosts[0], nodeConfig{}, keys[0], keys[1])
	forger := lab.Hosts[2]
	wire := forger.Wire(t)
	forge := func(i int) {
		from := netip.AddrFrom4([4]byte{10, 77, 0, byte(20 + i%200)})
		require.NoError(t, wire.Send(netip.AddrPortFrom(from, mdnsPort), group4, forgedContact(t, from)))
	}
	for i := range 1000 { // a minute's worth, within some seconds
		forge(i)
		time.Sleep(5 * time.Millisecond)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var forging sync.WaitGroup
	defer forging.Wait()
	defer cancel()
	forging.Go(func() {
		pace := time.NewTicker(time.Minute / 1000)
		defer pace.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			forge(i)
			<-pace.C
		}
	})
	silence(t, forger, netip.AddrPortFrom(lab.Hosts[0].Addr4(), ask[shownInfo](a, "shown").Port), 50)
	rounds := 1
	if os.Getenv("SDP2P_SOAK") != "" {
		rounds = 20
	}
	var found sample
	for range rounds {
		before := ask[usage](a, "usage")
		began := time.Now()
		b := hidden(t, lab.Hosts[1], nodeConfig{}, keys[1], keys[0])
		up := b.Await(began, "started").At
		found = append(found, max(0, meets(a, b, began).Sub(up)))
		used := ask[usage](a, "usage").CPU - before.CPU
		t.Logf("found after %v; CPU of the other one: %v", found[len(found)-1], used)
		a.echoes(b)
		b.Stop()
		a.Await(up, "unavailable", b.id)
	}
	t.Log("found after both were up:", found)
	took(found.most())
}

// silence holds silent connections, and makes them again when they end.
func silence(t *testing.T, from *netlab.Host, at netip.AddrPort, n int) {
	t.Helper()
	var u *net.UDPConn
	require.NoError(t, from.Do(func() (err error) { u, err = net.ListenUDP("udp4", nil); return err }))
	tr := &quic.Transport{Conn: u}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() { cancel(); all.Wait(); tr.Close(); u.Close() })
	up := make(chan struct{}, n)
	for range n {
		all.Go(func() {
			first := sync.OnceFunc(func() { up <- struct{}{} })
			for ctx.Err() == nil {
				ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
				c, err := tr.Dial(ctx, net.UDPAddrFromAddrPort(at), newStranger(t, nil).config(), quicConfig())
				if err == nil {
					first()
					select {
					case <-c.Context().Done():
					case <-ctx.Done():
						_ = c.CloseWithError(0, "")
					}
				}
				cancel()
			}
		})
	}
	for range n {
		<-up
	}
}

// TestContactsCost measures the cost of 200 instances of strangers a minute to
// a node with the largest number of contacts.
func TestContactsCost(t *testing.T) {
	if os.Getenv("SDP2P_SOAK") == "" {
		t.Skip("set SDP2P_SOAK=1 to measure for two minutes")
	}
	t.Parallel()
	lab := netlab.New(t, 3)
	a := hidden(t, lab.Hosts[0], nodeConfig{}, keys[0])
	contacts := identities()[:contact.MaxContacts]
	_, err := netlab.Call[none](a.Process, "set contacts", contacts)
	require.NoError(t, err)
	wire := lab.Hosts[2].Wire(t)
	spend := func(forged int) time.Duration {
		before := ask[usage](a, "usage").CPU
		pace := time.NewTicker(time.Minute / 200)
		defer pace.Stop()
		for i := range 200 {
			<-pace.C
			if from := netip.AddrFrom4([4]byte{10, 77, 0, byte(20 + i)}); i < forged {
				require.NoError(t, wire.Send(netip.AddrPortFrom(from, mdnsPort), group4, forgedContact(t, from)))
			}
		}
		return ask[usage](a, "usage").CPU - before
	}
	spend(0) // excludes the work after the start
	idle, busy := spend(0), spend(200)
	t.Logf("CPU in a minute: %v, with 200 instances %v: %.2f %% of a core more", idle, busy, 100*(busy-idle).Minutes())
	v := ask[vitals](a, "vitals")
	t.Logf("%d KiB, %d goroutines", v.Heap>>10, v.Goroutines)
}
