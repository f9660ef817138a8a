package discovery

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/mdns"
)

const (
	idleHosts  = 3
	idleSettle = 60 * time.Second
	idleWindow = 120 * time.Second
)

// measureIdle counts the packets that our nodes send. A node's own counters
// must agree.
func measureIdle(t *testing.T, r *results) {
	lab := netlab.New(t, idleHosts)
	var nodes []*program
	for _, h := range lab.Hosts {
		nodes = append(nodes, start(t, h, ourNode))
	}
	own := func() (all []mdns.Count) {
		for _, n := range nodes {
			c, err := netlab.Call[mdns.Count](n.Process, "sent", none{})
			require.NoError(t, err)
			all = append(all, c)
		}
		return all
	}
	var before []mdns.Count
	counted := countIdle(t, r, lab, "", func() { before = own() })
	for i, after := range own() {
		require.InDelta(t, after.Packets-before[i].Packets, counted[i].Packets, 2)
	}
	for _, a := range nodes {
		for _, b := range nodes {
			if a != b {
				a.Await(time.Time{}, "available", b.label)
			}
		}
	}
}

// measureIdleAvahi does the same for avahi-publish and avahi-browse.
func measureIdleAvahi(t *testing.T, r *results) {
	lab := netlab.New(t, idleHosts)
	var browsers []*browser
	for n, h := range lab.Hosts {
		a := h.Avahi(t)
		label := fmt.Sprint("idle ", n)
		a.Publish(t, label, serviceType, "4242", metadata(label)...)
		browsers = append(browsers, browse(t, a))
	}
	countIdle(t, r, lab, " "+avahi, func() {})
	for _, b := range browsers {
		for n := range lab.Hosts {
			b.resolved(fmt.Sprint("idle ", n), 0)
		}
	}
}

// measureIdleHashicorp does the same for servers of hashicorp/mdns that ask for
// each other every 10 s.
func measureIdleHashicorp(t *testing.T, r *results) {
	lab := netlab.New(t, idleHosts)
	var servers []*program
	for n, h := range lab.Hosts {
		h.Run("ip", "route", "add", "224.0.0.0/4", "dev", netlab.Interface) // it listens on the default interface, too
		cfg := hashicorpServer(fmt.Sprint("idle-", n))
		cfg.Every = 10 * time.Second
		servers = append(servers, start(t, h, cfg))
	}
	countIdle(t, r, lab, " "+hashicorp, func() {})
	for _, s := range servers {
		for n := range lab.Hosts {
			s.tells(time.Now().Add(-time.Minute), time.Minute, "found", fmt.Sprintf("idle-%d.%s.local.", n, serviceType))
		}
	}
}

// countIdle counts and returns the packets that the hosts of a lab send once
// they have settled. Their programs have just been started.
func countIdle(t *testing.T, r *results, lab *netlab.Lab, kind string, begins func()) (sent []mdns.Count) {
	t.Helper()
	var counters []*program
	for _, h := range lab.Hosts {
		counters = append(counters, start(t, h, config{Kind: "counter"}))
	}
	read := func() (all []mdns.Count) {
		for _, c := range counters {
			n, err := netlab.Call[mdns.Count](c.Process, "sent", none{})
			require.NoError(t, err)
			all = append(all, n)
		}
		return all
	}
	time.Sleep(short(idleSettle))
	before := read()
	begins()
	time.Sleep(short(idleWindow))
	for i, after := range read() {
		sent = append(sent, mdns.Count{Packets: after.Packets - before[i].Packets, Bytes: after.Bytes - before[i].Bytes})
		minutes := short(idleWindow).Minutes()
		r.add("idle packets"+kind, float64(sent[i].Packets)/minutes)
		r.add("idle bytes"+kind, float64(sent[i].Bytes)/minutes)
	}
	return sent
}

// short shortens a time if only the working of a measurement is checked.
func short(d time.Duration) time.Duration {
	if testing.Short() {
		return d / 6
	}
	return d
}

// runCounter counts the packets that the host sends from or to the port of
// Multicast DNS, with the sizes of their UDP payloads.
func runCounter(t *testing.T, console *netlab.Console) {
	console.Tell("starting")
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, int(all))
	require.NoError(t, err)
	var packets, bytes atomic.Uint64
	go func() {
		for b := make([]byte, 1<<16); ; {
			n, from, err := unix.Recvfrom(socket, b, 0)
			if err != nil {
				continue // interrupted by a signal
			}
			if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_OUTGOING && link.Hatype == unix.ARPHRD_ETHER {
				if size, ok := payload(b[:n]); ok {
					packets.Add(1)
					bytes.Add(uint64(size))
				}
			}
		}
	}()
	netlab.Handle(console, "sent", func(none) (mdns.Count, error) { return mdns.Count{Packets: packets.Load(), Bytes: bytes.Load()}, nil })
	console.Tell("started")
	console.Serve()
	console.Tell("stopping")
}

// payload returns the size of the UDP payload of an IP packet from or to the
// port of Multicast DNS.
func payload(ip []byte) (size int, ok bool) {
	var udp []byte
	switch {
	case len(ip) >= 20 && ip[0]>>4 == 4 && ip[9] == unix.IPPROTO_UDP:
		udp = ip[min(len(ip), int(ip[0]&15)*4):]
	case len(ip) >= 40 && ip[0]>>4 == 6 && ip[6] == unix.IPPROTO_UDP:
		udp = ip[40:]
	}
	if len(udp) < 8 {
		return 0, false
	}
	src, dst := binary.BigEndian.Uint16(udp), binary.BigEndian.Uint16(udp[2:])
	return int(binary.BigEndian.Uint16(udp[4:])) - 8, src == dnssd.Port || dst == dnssd.Port
}
