package nettest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

// A shownInfo is what a node with contacts shows. Such a node also has the
// calls "set mode" and "set contacts".
type shownInfo struct { // "shown"
	Label, Key string // empty if nothing is shown
	Port       uint16
}

// discover returns a node's discovery, and the hook of its contacts if there is
// one.
func discover(t testing.TB, console *netlab.Console, cfg nodeConfig, listener *quic.Listener) (*mdns.Discovery, []p2p.Hook) {
	if cfg.Contacts == nil {
		return mdns.New(mdns.Config{Interfaces: cfg.Interfaces}), nil
	}
	contacts := contact.New(contact.Config{Listener: listener})
	contacts.Pace(junction.Pace{Every: cfg.Epoch})
	set := func(list []string) (none, error) {
		all := make([]identity.RemoteIdentity, len(list))
		for i, text := range list {
			var err error
			if all[i], err = identity.Parse(text); err != nil {
				return none{}, err
			}
		}
		return none{}, contacts.Set(all)
	}
	_, err := set(cfg.Contacts)
	require.NoError(t, err)
	discovery := mdns.New(mdns.Config{Interfaces: cfg.Interfaces, Mode: cfg.Mode, Contacts: contacts})
	netlab.Handle(console, "set contacts", set)
	netlab.Handle(console, "set mode", func(m mdns.Mode) (none, error) { discovery.SetMode(m); return none{}, nil })
	netlab.Handle(console, "shown", func(none) (shownInfo, error) {
		shown, ok, _ := contacts.Show()
		if !ok {
			return shownInfo{}, nil
		}
		return shownInfo{shown.Label, shown.Key.String(), shown.At.Port}, nil
	})
	go func() { // until the process ends
		for {
			shown, ok, changed := contacts.Show()
			if ok {
				console.Tell("shows", shown.Label, shown.Key.String(), strconv.Itoa(int(shown.At.Port)))
			}
			<-changed
		}
	}()
	return discovery, []p2p.Hook{contacts}
}

// hidden starts a node that is visible only to its contacts, which have the
// given seeds.
func hidden(t testing.TB, h *netlab.Host, cfg nodeConfig, seed byte, contacts ...byte) *node {
	t.Helper()
	cfg.MDNS, cfg.QUIC, cfg.Mode, cfg.Contacts = true, true, mdns.ContactsOnly, []string{}
	for _, c := range contacts {
		cfg.Contacts = append(cfg.Contacts, idOf(t, c))
	}
	return start(t, h, seeded(cfg, seed))
}

// meets waits until both nodes have found each other after a given time, each
// by an announcement of the other, and are connected. It returns the time of
// that.
func meets(a, b *node, since time.Time) time.Time {
	a.t.Helper()
	at := a.Await(since, "discovered", b.id, "contact").At
	if e := b.Await(since, "discovered", a.id, "contact"); e.At.After(at) {
		at = e.At
	}
	return at
}

// Two contacts find each other once both are up, and can use each other for as
// long as their keys change.
func TestContactFound(t *testing.T) {
	t.Parallel()
	took := takes(t, "contact found")
	lab := netlab.New(t, 2)
	rounds := 3
	if os.Getenv("SDP2P_SOAK") != "" {
		rounds = 100
	}
	var found sample
	for range rounds {
		a := hidden(t, lab.Hosts[0], nodeConfig{Name: "a", Epoch: 2 * time.Second}, keys[0], keys[1])
		b := hidden(t, lab.Hosts[1], nodeConfig{Name: "b", Epoch: 2 * time.Second}, keys[1], keys[0])
		up := b.Await(time.Time{}, "started").At
		found = append(found, max(0, meets(a, b, time.Time{}).Sub(up)))
		t.Log("found after", found[len(found)-1])
		a.echoes(b)
		b.echoes(a)
		a.Stop()
		b.Await(up, "unavailable", a.id)
		b.Stop()
	}
	t.Log("found after both were up:", found)
	took(found.most())
}

// A moved is two contacts on a segment with a router, whose network changes.
type moved struct {
	t      *testing.T
	lab    *netlab.Lab
	router [2]*netlab.Host
	link   [2]*netlab.Segment
	sent   [2]*netlab.Recording // the packets on each link
	a, b   *node
}

// newMoved starts two contacts in one network, and prepares another network.
func newMoved(t *testing.T, seeds [2]byte, cfg func(i int) nodeConfig, before ...func(*moved)) *moved {
	t.Helper()
	lab := netlab.New(t, 4)
	m := &moved{t: t, lab: lab, router: [2]*netlab.Host{lab.Hosts[2], lab.Hosts[3]}}
	m.link[0] = lab.Segment(1, lab.Hosts[0], lab.Hosts[1], m.router[0])
	m.link[1] = lab.Segment(2, m.router[1])
	lab.Disconnect()
	for i, link := range m.link {
		m.sent[i] = link.Record(t)
	}
	for _, h := range lab.Hosts[:2] {
		m.via(h, m.link[0], 0)
	}
	for _, f := range before {
		f(m)
	}
	m.a = hidden(t, lab.Hosts[0], cfg(0), seeds[0], seeds[1])
	m.b = hidden(t, lab.Hosts[1], cfg(1), seeds[1], seeds[0])
	meets(m.a, m.b, time.Time{})
	return m
}

// via gives a host a default route to the router of a network.
func (m *moved) via(h *netlab.Host, link *netlab.Segment, router int) {
	addr := link.Prefixes(m.router[router], 0)[0].Addr().String()
	h.Run("ip", "route", "replace", "default", "via", addr, "dev", link.Interface)
	m.outside(h)
}

// outside has a host send a packet through its router, so that the router's
// link-layer address is known.
func (m *moved) outside(h *netlab.Host) {
	require.NoError(m.t, h.Do(func() error {
		c, err := net.Dial("udp4", "192.0.2.1:9")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("x"))
		return err
	}))
}

// pull unplugs the hosts' cables, and returns once the nodes have noticed, and
// the systems no longer hold back packets while they look for a neighbor.
func (m *moved) pull() {
	since := time.Now()
	for _, n := range []*node{m.a, m.b} {
		m.link[0].Pull(n.host)
		n.Await(since, "network")
		until(m.t, func() bool {
			return !strings.Contains(n.host.Run("ip", "neigh", "show", "dev", m.link[0].Interface), "INCOMPLETE")
		})
	}
}

// shown returns what a node shows, once that has changed.
func (n *node) shown(t *testing.T, before shownInfo) (now shownInfo) {
	t.Helper()
	until(t, func() bool {
		now = ask[shownInfo](n, "shown")
		return now.Key != "" && now.Key != before.Key
	})
	return now
}

// at returns the port of a node's newest connection with another one, or 0 if
// there is none.
func at(n, other *node) uint16 {
	for _, p := range ask[[]peerInfo](n, "peers") {
		if remote, err := netip.ParseAddrPort(p.Remote); err == nil && p.Identity == other.id {
			return remote.Port()
		}
	}
	return 0
}

// Contacts that move to another network, which shows by another interface, by
// another prefix, or only by another router, find each other there, and show
// nothing that they have shown before.
func TestContactMoves(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(m *moved){
		"interface": func(m *moved) {
			for _, h := range m.lab.Hosts[:2] {
				m.link[0].Unplug(h)
				m.link[1].Plug(h)
				m.via(h, m.link[1], 1)
			}
		},
		"prefix": func(m *moved) {
			for i, h := range m.lab.Hosts[:2] {
				m.link[0].Remove(h, m.link[0].Prefixes(h, 0)...)
				m.link[0].Add(h, netip.MustParsePrefix(fmt.Sprintf("10.79.1.%d/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("fd79::%d/64", i+1)))
			}
		},
		"router": func(m *moved) { // with the same addresses as before
			m.router[1].Run("ip", "addr", "add", m.link[0].Prefixes(m.router[0], 0)[0].String(), "dev", m.link[1].Interface)
			m.pull()
			for _, h := range m.lab.Hosts[:2] {
				m.link[0].Replug(h, m.link[1])
				m.outside(h)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			took := takes(t, "contact found after a move, "+name)
			m := newMoved(t, keys, func(int) nodeConfig { return nodeConfig{Debug: true} })
			before := []shownInfo{ask[shownInfo](m.a, "shown"), ask[shownInfo](m.b, "shown")}
			move(m)
			since := time.Now()
			after := []shownInfo{m.a.shown(t, before[0]), m.b.shown(t, before[1])}
			until(t, func() bool { return at(m.a, m.b) == after[1].Port && at(m.b, m.a) == after[0].Port })
			took(time.Since(since))
			m.a.way(m.b)
			if name == "router" { // otherwise, their addresses are gone
				require.NotZero(t, m.a.logs("the network of a connection is gone")+m.b.logs("the network of a connection is gone"))
			}
			for i := range before {
				require.NotEqual(t, before[i].Label, after[i].Label)
				require.NotEqual(t, before[i].Port, after[i].Port)
			}
		})
	}
}

// An interface comes up later, and nothing shows that its network is another
// one, since it has no IPv4. Announcements there have another key and another
// port, and the contact that is only there is found.
func TestContactOnFurtherInterface(t *testing.T) {
	t.Parallel()
	took := takes(t, "contact found on a further interface")
	m := newMoved(t, keys, func(int) nodeConfig { return nodeConfig{Debug: true} }, func(m *moved) {
		for _, h := range m.lab.Hosts[:2] {
			m.link[1].Plug(h)
			m.link[1].Down(h)
		}
	})
	before := ask[shownInfo](m.a, "shown")
	gone := time.Now()
	m.link[0].Unplug(m.b.host)
	for _, h := range m.lab.Hosts[:2] {
		m.link[1].Up(h, m.link[1].Prefixes(h, 0)[1:]...)
	}
	since := time.Now()
	after := m.a.shown(t, before)
	took(m.b.Await(gone, "connected", m.a.id).At.Sub(since))
	require.True(t, m.a.way(m.b).Remote.Addr().Is6())
	require.NotEqual(t, before.Port, after.Port)
}
