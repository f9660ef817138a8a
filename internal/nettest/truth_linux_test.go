package nettest

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

// again bounds how long a peer that has come back stays unreachable once
// discovery has announced it.
const again = time.Second

// announced waits until a node has announced itself, and returns the latest
// possible time of that.
func (n *node) announced() time.Time {
	n.t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if ask[mdns.Stats](n, "stats").Sent.Announcements.Packets > 0 {
			return time.Now()
		}
		if time.Since(began) > netlab.Patience {
			n.t.Fatal("the node does not announce itself")
		}
	}
}

// reaches has n try to exchange a few bytes with other, again and again as apps
// do, and returns how long that took.
func (n *node) reaches(other string, since time.Time) time.Duration {
	n.t.Helper()
	for {
		r, err := netlab.Call[connected](n.Process, "connect", connectArgs{Peer: other, Within: 30 * time.Second, Keep: true})
		require.NoError(n.t, err)
		if r.Err == "" {
			return time.Since(since)
		}
		n.t.Logf("not reached, after %v: %s", r.Took, r.Err)
		if time.Since(since) > netlab.Patience {
			n.t.Fatal("the peer was not reached")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A peer is killed and comes back at once with the same key: at the same port,
// where it resets the old connection, or at another port. The node that was
// connected to it, whichever side had dialed, reaches it within a second of its
// announcement.
func TestRestartedPeer(t *testing.T) {
	for _, c := range []struct {
		name        string
		first, then uint16
		peerDials   bool
	}{
		{"same port", 7501, 7501, false},
		{"another port", 7501, 7502, false},
		{"same port, it had dialed", 7501, 7501, true},
		{"another port, it had dialed", 7501, 7502, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			record := takes(t, "restarted, "+c.name)
			lab := netlab.New(t, 2)
			cfg := nodeConfig{Name: "restarted", QUIC: true, MDNS: true, Port: c.first, Seed: bytes.Repeat([]byte{'r'}, identity.SeedSize)}
			n := start(t, lab.Hosts[0], onLAN)
			peer := start(t, lab.Hosts[1], cfg)
			n.discovers(peer, "mdns")
			peer.discovers(n, "mdns")
			if c.peerDials {
				peer.echoes(n)
			}
			n.echoes(peer)

			killed := peer.Kill()
			cfg.Port = c.then
			peer = start(t, lab.Hosts[1], cfg)
			back := peer.announced()
			took := n.reaches(peer.id, back)
			t.Logf("back %v after it was killed; reached %v after that", back.Sub(killed), took)
			record(took)
			require.LessOrEqual(t, took, again)
			require.Zero(t, n.count("unavailable", peer))
		})
	}
}

// failedStreams returns the failures of streams that a node has reported since
// a time, whether it opened or served them.
func (n *node) failedStreams(since time.Time) (all []netlab.Event) {
	for _, e := range n.Events() {
		if (e.Name == "hold failed" || e.Name == "serving failed") && e.At.After(since) {
			all = append(all, e)
		}
	}
	return all
}

// The network of one of two connected nodes goes away: its link is down, or its
// address is gone. Streams go on, or fail on either side with an error that
// says that the connection was lost.
func TestStreamErrorsOfLostNetwork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cut  func(h *netlab.Host)
		mend func(h *netlab.Host)
	}{
		{"link down for 5 s", (*netlab.Host).LinkDown, (*netlab.Host).LinkUp},
		{"own addresses removed", func(h *netlab.Host) {
			h.Run("ip", "addr", "flush", "dev", netlab.Interface)
		}, (*netlab.Host).LinkUp},
		{"the link's other end down for 5 s", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lab := netlab.New(t, 2)
			a, b := start(t, lab.Hosts[0], onLAN), start(t, lab.Hosts[1], onLAN)
			a.discovers(b, "mdns")
			b.discovers(a, "mdns")
			_, err := netlab.Call[echoed](a.Process, "hold", holdArgs{Peer: b.id})
			require.NoError(t, err)
			until(t, func() bool { return ask[int64](a, "held") > 3 })
			host := a.host
			if c.cut == nil {
				c.cut, c.mend, host = (*netlab.Host).LinkDown, (*netlab.Host).LinkUp, b.host
			}
			broken := time.Now()
			c.cut(host)
			time.Sleep(5 * time.Second)
			c.mend(host)
			mended, round := time.Now(), ask[int64](a, "held")
			until(t, func() bool { return len(a.failedStreams(broken)) > 0 || ask[int64](a, "held") > round+20 })
			if len(a.failedStreams(broken)) > 0 {
				until(t, func() bool { return len(b.failedStreams(broken)) > 0 })
			}
			for _, e := range append(a.failedStreams(broken), b.failedStreams(broken)...) {
				t.Logf("%s %v after the network went away: lost %s: %s", e.Name, e.At.Sub(broken), e.About[1], e.About[2])
				require.Equal(t, "true", e.About[1], "%s: the error does not say that the connection was lost", e.About[2])
			}
			t.Logf("reached again %v after the network came back", a.reaches(b.id, mended))
		})
	}
}

// narrowPath makes two hosts whose only path has a router in the middle that
// silently drops packets over 1,280 bytes.
func narrowPath(t *testing.T) (from, to *netlab.Host, addrs []netip.Addr) {
	lab := netlab.New(t, 3)
	from, to, router := lab.Hosts[0], lab.Hosts[1], lab.Hosts[2]
	near, far := lab.Segment(1, from, router), lab.Segment(2, to, router)
	for _, h := range lab.Hosts {
		h.LinkDown()
	}
	for _, s := range []*netlab.Segment{near, far} {
		router.Run("ip", "link", "set", s.Interface, "mtu", "1280")
	}
	router.Run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
	for s, h := range map[*netlab.Segment]*netlab.Host{near: from, far: to} {
		for _, gateway := range s.Prefixes(router, 0)[:2] {
			h.Run("ip", family(gateway.Addr()), "route", "add", "default", "via", gateway.Addr().String())
		}
	}
	for _, p := range far.Prefixes(to, 0)[:2] {
		addrs = append(addrs, p.Addr())
	}
	return from, to, addrs
}

func family(addr netip.Addr) string {
	if addr.Is4() {
		return "-4"
	}
	return "-6"
}

// passes reports whether a datagram of a given size arrives.
func passes(t *testing.T, from, to *netlab.Host, addr netip.Addr, size int) bool {
	t.Helper()
	var in, out *net.UDPConn
	require.NoError(t, to.Do(func() (err error) {
		in, err = net.ListenUDP("udp", &net.UDPAddr{IP: addr.AsSlice()})
		return err
	}))
	defer in.Close()
	require.NoError(t, from.Do(func() (err error) {
		out, err = net.DialUDP("udp", nil, in.LocalAddr().(*net.UDPAddr))
		return err
	}))
	defer out.Close()
	_ = in.SetReadDeadline(time.Now().Add(time.Second))
	_, err := out.Write(make([]byte, size))
	require.NoError(t, err)
	_, err = in.Read(make([]byte, 2000))
	return err == nil
}

// Between hosts whose interfaces allow 1,500 bytes, the path allows 1,280: ten
// of ten connections work, over IPv4 and over IPv6.
func TestNarrowPath(t *testing.T) {
	t.Parallel()
	for i, name := range []string{"IPv4", "IPv6"} {
		t.Run(name, func(t *testing.T) {
			from, to, addrs := narrowPath(t)
			require.True(t, passes(t, from, to, addrs[i], 1200))
			require.False(t, passes(t, from, to, addrs[i], 1300))
			b := start(t, to, nodeConfig{QUIC: true, Port: quic.DefaultPort})
			for k := range 10 {
				a := start(t, from, nodeConfig{QUIC: true, Manual: []string{addrs[i].String()}})
				began := time.Now()
				until(t, func() bool {
					return a.manual().State == quic.ManualReached.String() || time.Since(began) > 5*time.Second
				})
				require.Equal(t, quic.ManualReached.String(), a.manual().State, "connection %d: %s", k, a.manual().Err)
				text := strings.Repeat(fmt.Sprint(k), 100_000)
				r, err := netlab.Call[echoed](a.Process, "echo", echoArgs{b.id, text})
				require.NoError(t, err)
				require.Empty(t, r.DialError)
				a.Stop()
			}
		})
	}
}
