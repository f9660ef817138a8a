package nettest

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/sdp2p/p2p/internal/carrier"
	"github.com/sdp2p/p2p/internal/netlab"
)

// destinations counts the UDP datagrams that a host sends from now on, by
// destination.
func destinations(t *testing.T, h *netlab.Host) func() map[netip.Addr]int {
	t.Helper()
	fd := -1
	require.NoError(t, h.Do(func() (err error) {
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(all))
		return err
	}))
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}))
	var mu sync.Mutex
	sent := map[netip.Addr]int{}
	var reading sync.WaitGroup
	over := make(chan struct{})
	reading.Go(func() {
		for b := make([]byte, 1<<16); ; {
			select {
			case <-over:
				return
			default:
			}
			n, from, err := unix.Recvfrom(fd, b, 0)
			link, ok := from.(*unix.SockaddrLinklayer)
			if err != nil || !ok || link.Pkttype != unix.PACKET_OUTGOING || n < 40 {
				continue
			}
			var to netip.Addr
			switch v4 := b[0]>>4 == 4; {
			case v4 && b[9] == unix.IPPROTO_UDP:
				to, _ = netip.AddrFromSlice(b[16:20])
			case !v4 && b[6] == unix.IPPROTO_UDP:
				to, _ = netip.AddrFromSlice(b[24:40])
			default:
				continue
			}
			mu.Lock()
			sent[to]++
			mu.Unlock()
		}
	})
	t.Cleanup(func() { close(over); reading.Wait(); unix.Close(fd) })
	return func() map[netip.Addr]int {
		mu.Lock()
		defer mu.Unlock()
		all := map[netip.Addr]int{}
		for to, n := range sent {
			all[to] = n
		}
		return all
	}
}

// If connections stay in circuits, nodes send packets only to relays, although
// both are in one network; even when a relay dies. Without this setting, they
// would connect directly.
func TestAwayConfined(t *testing.T) {
	t.Parallel()
	for _, only := range []bool{true, false} {
		w := goAway(t, awayRow{together: true, relays: 2, only: only})
		var sent [2]func() map[netip.Addr]int
		for i, h := range w.inside {
			sent[i] = destinations(t, h)
		}
		path := w.hold(t)
		if !only {
			until(t, func() bool { return call[awayPath](t, w.a, "path").Kind == "direct" })
		}
		w.goesOn(t)
		if only {
			w.relay(path).Kill()
			w.goesOn(t)
			time.Sleep(6 * time.Second) // longer than an attempt
			w.goesOn(t)
		}
		for i := range sent {
			all := sent[i]()
			require.NotEmpty(t, all)
			inside := 0
			for to, n := range all {
				if to.Is6() || netip.MustParsePrefix("192.168.0.0/16").Contains(to) {
					inside += n
				}
			}
			if only {
				require.Zero(t, inside, all)
				require.LessOrEqual(t, len(all), 2, "%v: only the relays are allowed", all)
			} else {
				require.NotZero(t, inside, all)
			}
		}
	}
}

// A host on the network cannot send packets in a circuit's name: packets from
// addresses that no host can have are dropped, although the system delivers
// them.
func TestVirtualSourcesFromNetwork(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	us, them := lab.Hosts[0], lab.Hosts[1]
	var sockets [2]*net.UDPConn // the second one in the system's form
	require.NoError(t, us.Do(func() (err error) {
		for i := range sockets {
			if sockets[i], err = net.ListenUDP("udp", nil); err != nil {
				return err
			}
		}
		return nil
	}))
	socket := carrier.New(sockets[0], carrier.Config{})
	defer socket.Close()
	defer sockets[1].Close()
	wire := them.Wire(t)
	delivered := 0
	for text, virtual := range map[string]bool{
		"240.0.0.1": true, "247.1.2.3": true, "100::1": true, "100::ffff:1:2": true,
		them.Addr4().String(): false, them.Addr6().String(): false,
	} {
		from := netip.AddrPortFrom(netip.MustParseAddr(text), carrier.VirtualPort)
		at := us.Addr4()
		if from.Addr().Is6() {
			at = us.Addr6()
		}
		var lengths [2]int
		for i, c := range []net.PacketConn{socket, sockets[1]} {
			port := uint16(sockets[i].LocalAddr().(*net.UDPAddr).Port)
			require.NoError(t, wire.SendTo(us.MAC(), from, netip.AddrPortFrom(at, port), []byte("hello")))
			require.NoError(t, c.SetReadDeadline(time.Now().Add(2*time.Second)))
			lengths[i], _, _ = c.ReadFrom(make([]byte, 100))
		}
		if lengths[1] > 0 {
			delivered++
		}
		if virtual {
			require.Zero(t, lengths[0], text)
		} else {
			require.Equal(t, [2]int{5, 5}, lengths, text)
		}
	}
	require.Greater(t, delivered, 2, "the system must deliver some of the virtual packets")
}
