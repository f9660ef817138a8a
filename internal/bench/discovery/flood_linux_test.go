package discovery

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/netlab"
)

const (
	floodSize    = 100_000
	floodRate    = 3000 // per second
	floodSources = 80
)

// measureFlood floods a node's host with forged announcements, and has real
// nodes start meanwhile.
func measureFlood(t *testing.T, r *results) {
	lab := netlab.New(t, 3)
	victim := start(t, lab.Hosts[0], ourNode)
	look := func() state {
		s, err := netlab.Call[state](victim.Process, "state", none{})
		require.NoError(t, err)
		return s
	}
	before := look()
	note := func() {
		s := look()
		r.add("flood heap", max(0, float64(s.Heap)-float64(before.Heap))/(1<<20))
		r.add("flood peers", float64(s.Peers))
	}
	cfg := config{Kind: "flood"}
	for i := range floodSources {
		addr := fmt.Sprintf("10.77.0.%d", 100+i)
		lab.Hosts[1].Run("ip", "addr", "add", addr+"/24", "dev", netlab.Interface)
		cfg.Addrs = append(cfg.Addrs, addr)
	}
	flood := begin(t, lab.Hosts[1], cfg)
	ends := flood.began.Add(floodSize * time.Second / floodRate)
	for n := 0; n < 3 || time.Until(ends) > 2*time.Second; n++ {
		newcomer := start(t, lab.Hosts[2], ourNode)
		found := victim.Await(time.Time{}, "available", newcomer.label).At
		r.took("flood found", found.Sub(newcomer.began))
		t.Logf("%.1f s after the begin of the flood: found after %v", found.Sub(flood.began).Seconds(), found.Sub(newcomer.began))
		newcomer.Stop()
		note()
	}
	sent, err := strconv.Atoi(flood.Await(time.Time{}, "flooded").About[0])
	require.NoError(t, err)
	note()
	worked := look().Received - before.Received // including some of the real nodes' packets
	r.add("flood worked on", min(100, 100*float64(worked)/float64(sent)))
}

// runFlood announces random identities, each from one of the host's addresses
// in turn.
func runFlood(t *testing.T, console *netlab.Console, cfg config) {
	type source struct {
		conn   *ipv4.PacketConn
		forged []byte
	}
	ifc, err := net.InterfaceByName(netlab.Interface)
	require.NoError(t, err)
	placeholder := strings.Repeat("x", identity.TextSize)
	var sources []source
	for _, addr := range cfg.Addrs {
		c, err := net.ListenPacket("udp4", netip.AddrPortFrom(netip.MustParseAddr(addr), dnssd.Port).String())
		require.NoError(t, err)
		defer c.Close()
		s := source{ipv4.NewPacketConn(c), forgery(t, placeholder, addr)}
		require.NoError(t, s.conn.SetMulticastInterface(ifc))
		require.NoError(t, s.conn.SetMulticastTTL(255))
		sources = append(sources, s)
	}
	group := net.UDPAddrFromAddrPort(dnssd.Groups[dnssd.IPv4])
	console.Tell("starting")
	began := time.Now()
	sent := 0
	for n := range floodSize {
		s := sources[n%len(sources)]
		packet := bytes.ReplaceAll(s.forged, []byte(placeholder), []byte(identity.New().String()))
		if _, err := s.conn.WriteTo(packet, nil, group); err == nil {
			sent++
		}
		time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / floodRate)))
	}
	console.Tell("flooded", fmt.Sprint(sent))
	console.Serve()
}

// forgery returns the announcement of a label, uncompressed.
func forgery(t *testing.T, label, addr string) []byte {
	m := dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
	service := serviceType + ".local."
	for _, text := range []string{
		service + " 4500 IN PTR " + label + "." + service,
		label + "." + service + " 120 IN SRV 0 0 4242 " + label + ".local.",
		label + "." + service + ` 4500 IN TXT "name=Nobody" "operating_system=linux" "sdp2p=2"`,
		label + ".local. 120 IN A " + addr,
	} {
		rr, err := dns.NewRR(text)
		require.NoError(t, err)
		m.Answer = append(m.Answer, rr)
	}
	b, err := m.Pack()
	require.NoError(t, err)
	return b
}
