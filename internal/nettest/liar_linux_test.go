package nettest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/internal/soak"
	"github.com/sdp2p/p2p/quic"
)

// A meter counts UDP packets that are sent to a host.
type meter struct{ packets, bytes, probes atomic.Int64 }

const (
	fullPacket = 1200 // size to which probes of a path and first packets of handshakes are padded
	overIPv4   = 28   // bytes of headers
)

// metered counts the packets to one address of a host, or to all of its
// addresses, until the test ends.
func metered(t testing.TB, h *netlab.Host, ip netip.Addr) *meter {
	t.Helper()
	c := &meter{}
	var fd int
	require.NoError(t, h.Do(func() (err error) {
		all := binary.NativeEndian.Uint16([]byte{0, syscall.ETH_P_ALL})
		fd, err = syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, int(all))
		return err
	}))
	require.NoError(t, syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 100_000}))
	var running sync.WaitGroup
	running.Go(func() {
		defer syscall.Close(fd)
		for b := make([]byte, 1<<16); t.Context().Err() == nil; {
			n, from, err := syscall.Recvfrom(fd, b, 0)
			if err != nil {
				continue
			}
			if l, ok := from.(*syscall.SockaddrLinklayer); ok && l.Pkttype == syscall.PACKET_OUTGOING {
				continue
			}
			if dst, _, payload := parseUDP(b[:n]); dst.Addr() == ip {
				c.packets.Add(1)
				c.bytes.Add(int64(len(payload) + overIPv4))
				if len(payload) == fullPacket { // probes of a new path's MTU are longer
					c.probes.Add(1)
				}
			}
		}
	})
	t.Cleanup(running.Wait)
	return c
}

// A liar is a peer that claims ten times a second to be at addresses of another
// host. It supports all protocols.
type liar struct {
	addr netip.AddrPort
	said atomic.Int64
}

func startLiar(t testing.TB, h *netlab.Host, at []netip.AddrPort) *liar {
	t.Helper()
	l := &liar{addr: netip.AddrPortFrom(h.Addr4(), quic.DefaultPort)}
	var u *net.UDPConn
	require.NoError(t, h.Do(func() (err error) {
		u, err = net.ListenUDP("udp4", &net.UDPAddr{Port: quic.DefaultPort})
		return err
	}))
	listener, err := quicgo.Listen(u, newStranger(t, nil).config(), quicConfig())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := listener.Accept(ctx)
			if err != nil {
				return
			}
			running.Go(func() { agree(ctx, c) })
			running.Go(func() { l.lie(ctx, c, at) })
		}
	})
	t.Cleanup(func() {
		cancel()
		listener.Close()
		u.Close()
		running.Wait()
	})
	return l
}

// agree accepts every protocol that is asked for.
func agree(ctx context.Context, c *quicgo.Conn) {
	for {
		s, err := c.AcceptStream(ctx)
		if err != nil {
			c.CloseWithError(0, "")
			return
		}
		go io.Copy(s, s)
	}
}

func (l *liar) lie(ctx context.Context, c *quicgo.Conn, at []netip.AddrPort) {
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	for n := 0; ; n++ {
		b := []byte("\x13/multistream/1.0.0\n\x0e/sdp2p/2/move\n\x01")
		b = append(b, byte(len(at)))
		for i := range at { // claims different addresses each time
			a := at[(n+i)%len(at)]
			b = append(append(b, 4), a.Addr().AsSlice()...)
			b = binary.BigEndian.AppendUint16(b, a.Port())
		}
		if s, err := c.OpenStream(); err == nil {
			s.Write(b)
			s.Close()
			l.said.Add(1)
		}
		select {
		case <-pace.C:
		case <-c.Context().Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// A peer that keeps claiming to be at sixteen addresses of a host that does not
// answer costs that host less than 2 KB/s, except in the first half minute, and
// keeps its connection.
func TestPeerNamesAnothersAddresses(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 3)
	silent := lab.Hosts[2]
	var at []netip.AddrPort
	for i := range 16 {
		at = append(at, netip.AddrPortFrom(silent.Addr4(), uint16(40_000+i)))
	}
	l := startLiar(t, lab.Hosts[1], at)
	arrives := metered(t, silent, silent.Addr4())
	n := start(t, lab.Hosts[0], nodeConfig{QUIC: true, Manual: []string{l.addr.String()}, Idle: time.Hour, Debug: true})
	until(t, func() bool { return n.manual().State == quic.ManualReached.String() })
	began, said := time.Now(), l.said.Load()
	time.Sleep(time.Duration(soak.N(12, 60)) * time.Second)
	took := time.Since(began)
	t.Logf("%d messages in %v: %d packets, %d bytes a second", l.said.Load()-said, took, arrives.packets.Load(),
		int64(float64(arrives.bytes.Load())/took.Seconds()))
	require.Greater(t, l.said.Load()-said, int64(3*took.Seconds()))
	require.Greater(t, arrives.packets.Load(), int64(5), "the node must look for the peer there")
	require.Less(t, float64(arrives.bytes.Load()), (fullPacket+overIPv4)*(18+took.Seconds()))
	require.Zero(t, n.logs("msg=disconnected"))
}

// A node's interface goes down and up all the time. Each connection costs at
// most 4 probes a second, whichever side dialed it, and streams go on.
func TestFlappingLink(t *testing.T) {
	t.Parallel()
	for _, dialed := range []bool{false, true} {
		t.Run(map[bool]string{false: "the dialer's", true: "the listener's"}[dialed], func(t *testing.T) {
			t.Parallel()
			lab := netlab.New(t, 2)
			at := netip.AddrPortFrom(lab.Hosts[1].Addr4(), quic.DefaultPort)
			callee := start(t, lab.Hosts[1], nodeConfig{QUIC: true, Port: quic.DefaultPort, Debug: true})
			caller := start(t, lab.Hosts[0], nodeConfig{QUIC: true, Manual: []string{at.String()}, Debug: true})
			caller.discovers(callee, "quic")
			_, err := netlab.Call[echoed](caller.Process, "hold", holdArgs{Peer: callee.id})
			require.NoError(t, err)
			until(t, func() bool { return ask[int64](caller, "held") > 20 })
			began, flaps := time.Now(), 0
			arrives := metered(t, callee.host, at.Addr())
			flapping := caller.host
			if dialed {
				flapping = callee.host
			}
			for ; time.Since(began) < time.Duration(soak.N(10, 60))*time.Second; flaps++ {
				flapping.LinkDown()
				time.Sleep(time.Duration(20+flaps%7*50) * time.Millisecond)
				flapping.LinkUp()
				time.Sleep(time.Duration(20+flaps%5*80) * time.Millisecond)
			}
			took := time.Since(began)
			probes := arrives.probes.Load()
			t.Logf("%d times in %v: %d packets, of them %d probes (%.1f a second)", flaps, took, arrives.packets.Load(), probes,
				float64(probes)/took.Seconds())
			require.LessOrEqual(t, float64(probes), 4*took.Seconds())
			round := ask[int64](caller, "held")
			until(t, func() bool { return ask[int64](caller, "held") > round+5 })
			require.Empty(t, caller.failedStreams(began))
		})
	}
}
