package discovery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// metadata returns the metadata of a node with a name, in the form in which
// package mdns writes it.
func metadata(name string) []string {
	return []string{"name=" + name, "operating_system=linux", "os=Linux", "device_model=Laptop 13", "version=0.0.1", "sdp2p=2"}
}

// eth returns the interface of the n-th host of a simulated link.
func eth(n int) dnssd.Interface {
	return dnssd.Interface{
		Index: 2, Name: "eth0", MTU: 1500, Up: true, Multicast: true,
		Addrs: []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 16),
			netip.MustParsePrefix(fmt.Sprintf("fe80::%x/64", n)),
		},
	}
}

// A simulated node is an engine on a host of its own.
type simulated struct {
	*dnssd.Engine
	id   string
	host *dnssdtest.Host
}

// simulate starts the n-th node of a link. It ends with the test.
func simulate(t *testing.T, link *dnssdtest.Link, n int, lost func(id string)) *simulated {
	s := &simulated{id: identity.New().String(), host: dnssdtest.NewHost()}
	s.host.Plug(link, eth(n))
	var err error
	s.Engine, err = dnssd.New(dnssd.Config{Service: "_" + app + "._udp", Network: s.host, Lost: lost})
	require.NoError(t, err)
	name := fmt.Sprintf("Somebody's laptop %d", n)
	require.NoError(t, s.Publish(dnssd.Service{Instance: s.id, Port: 4242, TXT: metadata(name), IPv4: true, IPv6: true}))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return s
}

// sent returns how many packets and bytes a node has sent.
func (s *simulated) sent() (packets, bytes float64) {
	sent := s.Stats().Sent
	for _, c := range []dnssd.Count{sent.Probes, sent.Announcements, sent.Queries, sent.Responses, sent.Goodbyes, sent.Legacy} {
		packets += float64(c.Packets)
		bytes += float64(c.Bytes)
	}
	return packets, bytes
}

// simulateIdle counts the packets of nodes that know each other: the mean over
// an hour and all nodes, per minute.
func simulateIdle(t *testing.T, r *results) {
	for _, nodes := range idleNodes {
		synctest.Test(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			var all []*simulated
			for n := range nodes {
				all = append(all, simulate(t, link, n+1, nil))
			}
			total := func() (packets, bytes float64) {
				for _, s := range all {
					p, b := s.sent()
					packets, bytes = packets+p, bytes+b
				}
				return packets, bytes
			}
			time.Sleep(10 * time.Minute)
			packets, bytes := total()
			const window = time.Hour
			time.Sleep(window)
			p, b := total()
			for _, s := range all {
				require.Len(t, s.Instances(), nodes-1)
			}
			minutes := window.Minutes() * float64(nodes)
			r.add(idleName("packets", nodes), (p-packets)/minutes)
			r.add(idleName("bytes", nodes), (b-bytes)/minutes)
		})
	}
}

// simulateCrash takes nodes off the link, without a goodbye and at random
// times, and measures when they are lost.
func simulateCrash(t *testing.T, r *results) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		lost := make(chan string, 1)
		watcher := simulate(t, link, 1, func(id string) { lost <- id })
		for n := range count(100) {
			s := simulate(t, link, n+2, nil)
			time.Sleep(5*time.Second + rand.N(5*time.Minute))
			require.Len(t, watcher.Instances(), 1)
			crashed := time.Now()
			s.host.Unplug(eth(0).Index)
			require.Equal(t, s.id, <-lost)
			r.took("expired, simulated", time.Since(crashed))
		}
	})
}
