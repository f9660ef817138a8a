package dnssd_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"

	"github.com/sdp2p/p2p/internal/dnssd"
)

// loopback returns the name of the loopback interface.
func loopback(t *testing.T) string {
	list, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range list {
		if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 {
			return i.Name
		}
	}
	t.Skip("no loopback interface")
	return ""
}

// Two engines of one process, on real sockets on the loopback interface, find
// each other, and one of them hears the other's goodbye. Since they share
// address and port, this also shows that own packets are recognized by more
// than their source.
func TestLoopback(t *testing.T) {
	if runtime.GOOS != "linux" && os.Getenv("DNSSD_LOOPBACK") == "" {
		t.Skip("multicast on loopback is only known to work on Linux")
	}
	type node struct {
		*dnssd.Engine
		found  chan dnssd.Instance
		lost   chan string
		cancel context.CancelFunc
		ended  chan error
	}
	start := func(label string) *node {
		n := &node{found: make(chan dnssd.Instance, 16), lost: make(chan string, 16), ended: make(chan error, 1)}
		ready := make(chan struct{})
		var err error
		n.Engine, err = dnssd.New(dnssd.Config{
			Service:    "_sdtest._udp",
			Interfaces: []string{loopback(t)},
			Ready:      func() { close(ready) },
			Found:      func(i dnssd.Instance) { n.found <- i },
			Lost:       func(name string) { n.lost <- name },
		})
		require.NoError(t, err)
		require.NoError(t, n.Publish(dnssd.Service{Instance: label, Port: 4242, TXT: []string{"name=" + label}, IPv4: true, IPv6: true}))
		ctx, cancel := context.WithCancel(context.Background())
		n.cancel = cancel
		go func() { n.ended <- n.Run(ctx) }()
		t.Cleanup(cancel)
		select {
		case <-ready:
		case err := <-n.ended:
			require.NoError(t, err)
		}
		return n
	}
	labelA, labelB := "O2onvM62/Z2+ik", "Zoë's \"Laptop\"\\"
	a, b := start(labelA), start(labelB)
	seenA, seenB := <-b.found, <-a.found
	require.Equal(t, labelA, seenA.Name)
	require.Equal(t, []string{"name=" + labelA}, seenA.TXT)
	require.Contains(t, sprint(seenA.Addrs), "127.0.0.1:4242")
	require.Equal(t, labelB, seenB.Name)
	require.Equal(t, []string{"name=" + labelB}, seenB.TXT)

	a.cancel()
	require.NoError(t, <-a.ended)
	require.Equal(t, labelA, <-b.lost)
	require.Positive(t, b.Stats().Own) // others on this host may also ask one-shot questions
	require.Positive(t, b.Stats().Received.Goodbyes.Packets)
	_, conflict := b.Conflict()
	require.False(t, conflict)
	b.cancel()
	require.NoError(t, <-b.ended)
}

// Run can be called only once, and a configuration is checked.
func TestNew(t *testing.T) {
	for _, s := range []string{"", "sd", "_sd", "_sd._sctp", "sd._udp", "_-sd._udp", "_sd-._udp", "_s d._udp", "_abcdefghijklmnop._udp", "_sd._udp.local."} {
		_, err := dnssd.New(dnssd.Config{Service: s})
		require.ErrorIs(t, err, dnssd.ErrInvalidService, s)
	}
	e, err := dnssd.New(dnssd.Config{Service: "_sd-p2p._udp", Interfaces: []string{"none"}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(t, e.Run(ctx))
	require.ErrorIs(t, e.Run(ctx), dnssd.ErrStarted)
}

// RFC 6762 §11: every packet leaves with an IP TTL of 255, from port 5353.
func TestTTL(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("multicast on loopback is only known to work on Linux")
	}
	lo, err := net.InterfaceByName(loopback(t))
	require.NoError(t, err)
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(224, 0, 0, 0), Port: dnssd.Port})
	require.NoError(t, err)
	defer c.Close()
	p := ipv4.NewPacketConn(c)
	require.NoError(t, p.SetControlMessage(ipv4.FlagTTL|ipv4.FlagInterface, true))
	require.NoError(t, p.JoinGroup(lo, net.UDPAddrFromAddrPort(dnssd.Groups[dnssd.IPv4])))

	e, err := dnssd.New(dnssd.Config{Service: "_sdttl._udp", Interfaces: []string{lo.Name}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	buf := make([]byte, 9000)
	for {
		n, cm, src, err := p.ReadFrom(buf)
		require.NoError(t, err)
		if bytes.Contains(buf[:n], []byte("_sdttl")) {
			require.Equal(t, 255, cm.TTL)
			require.Equal(t, lo.Index, cm.IfIndex)
			require.Equal(t, "127.0.0.1:5353", src.String())
			break
		}
	}
	cancel()
	require.NoError(t, <-ended)
}
