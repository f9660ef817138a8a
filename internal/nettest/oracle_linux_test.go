package nettest

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/quic"
)

// sniff returns a packet of a connection that the host sends to an address, as
// other hosts on the link see it, and its source port.
func sniff(t testing.TB, h *netlab.Host, to netip.AddrPort) (packet []byte, port uint16) {
	t.Helper()
	require.NoError(t, h.Do(func() error {
		all := binary.NativeEndian.Uint16([]byte{0, syscall.ETH_P_ALL})
		fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, int(all))
		if err != nil {
			return err
		}
		defer syscall.Close(fd)
		patience := syscall.Timeval{Sec: 1}
		if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &patience); err != nil {
			return err
		}
		for began, b := time.Now(), make([]byte, 4096); time.Since(began) < netlab.Patience; {
			n, _, err := syscall.Recvfrom(fd, b, 0)
			if err != nil {
				continue
			}
			dst, source, payload := parseUDP(b[:n])
			if dst == to && len(payload) > 0 && payload[0]&0xc0 == 0x40 { // a short header (RFC 9000 §17.3.1)
				packet, port = payload, source
				return nil
			}
		}
		return errors.New("the host sends nothing there")
	}))
	return packet, port
}

// parseUDP parses an IP packet if it is UDP.
func parseUDP(b []byte) (dst netip.AddrPort, source uint16, payload []byte) {
	var addr netip.Addr
	var udp []byte
	switch {
	case len(b) > 28 && b[0]>>4 == 4 && b[9] == syscall.IPPROTO_UDP:
		addr, udp = netip.AddrFrom4([4]byte(b[16:20])), b[int(b[0]&15)*4:]
	case len(b) > 48 && b[0]>>4 == 6 && b[6] == syscall.IPPROTO_UDP:
		addr, udp = netip.AddrFrom16([16]byte(b[24:40])), b[40:]
	}
	if len(udp) < 8 {
		return dst, 0, nil
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(udp[2:])), binary.BigEndian.Uint16(udp), udp[8:]
}

// askToReset sends packets with a connection's ID to a node's address, and
// returns the answers, of which there may be none.
func askToReset(t testing.TB, h *netlab.Host, packet []byte, to netip.AddrPort) (answers [][]byte) {
	t.Helper()
	var u *net.UDPConn
	require.NoError(t, h.Do(func() (err error) {
		u, err = net.ListenUDP("udp", nil)
		return err
	}))
	defer u.Close()
	for range 10 {
		b := append([]byte(nil), packet[:min(len(packet), 21)]...)
		b = append(b, make([]byte, 100)...)
		_, _ = rand.Read(b[len(b)-100:])
		_, err := u.WriteToUDPAddrPort(b, to)
		require.NoError(t, err)
		_ = u.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		answer := make([]byte, 2000)
		if n, err := u.Read(answer); err == nil {
			answers = append(answers, answer[:n])
		}
	}
	return answers
}

// A host on the link copies the ID of a live connection into packets to the
// node's socket of the other family, or to another node with the same key. If
// these answer that they do not know the connection, the answer must not end it
// (RFC 9000 §21.11).
func TestResetOracle(t *testing.T) {
	t.Parallel()
	const second = quic.DefaultPort + 1
	for _, c := range []struct {
		name        string
		over, other func(h *netlab.Host) netip.Addr
		port        uint16 // the port that is asked
	}{
		{"IPv4 connection, IPv6 socket", (*netlab.Host).Addr4, (*netlab.Host).Addr6, quic.DefaultPort},
		{"IPv6 connection, IPv4 socket", (*netlab.Host).Addr6, (*netlab.Host).Addr4, quic.DefaultPort},
		{"another process with the same key", (*netlab.Host).Addr4, (*netlab.Host).Addr4, second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lab := netlab.New(t, 3)
			seed := bytes.Repeat([]byte{'o'}, identity.SeedSize)
			n := start(t, lab.Hosts[0], nodeConfig{QUIC: true, Port: quic.DefaultPort, Seed: seed})
			start(t, lab.Hosts[0], nodeConfig{QUIC: true, Port: second, Seed: seed})
			at := netip.AddrPortFrom(c.over(n.host), quic.DefaultPort)
			peer := start(t, lab.Hosts[1], nodeConfig{QUIC: true, Manual: []string{at.Addr().String()}})
			peer.discovers(n, "quic")
			_, err := netlab.Call[echoed](peer.Process, "hold", holdArgs{Peer: n.id})
			require.NoError(t, err)

			packet, port := sniff(t, peer.host, at)
			answers := askToReset(t, lab.Hosts[2], packet, netip.AddrPortFrom(c.other(n.host), c.port))
			t.Logf("%d answers", len(answers))
			began, round := time.Now(), ask[int64](peer, "held")
			wire := lab.Hosts[2].Wire(t)
			for _, b := range answers {
				require.NoError(t, wire.SendTo(peer.host.MAC(), at, netip.AddrPortFrom(c.over(peer.host), port), b))
			}
			time.Sleep(2 * time.Second)
			require.Empty(t, peer.failedStreams(began))
			require.Zero(t, peer.count("disconnected", n))
			require.Greater(t, ask[int64](peer, "held"), round+10)
		})
	}
}

// toldTo returns the metadata that a node sends to a stranger that connects to
// its address.
func toldTo(t testing.TB, from *netlab.Host, n *node, seed []byte) (all string) {
	t.Helper()
	p := startAttack(t, from, attackConfig{
		Mode: "told", Target: netip.AddrPortFrom(n.host.Addr4(), quic.DefaultPort), Seed: seed, Lasts: 10 * time.Second,
	})
	time.Sleep(2 * time.Second)
	require.Equal(t, int64(1), counted(t, p).Handshakes, counted(t, p).LastError)
	for _, e := range p.Events() {
		if e.Name == "told" {
			all += e.About[0]
		}
	}
	p.Stop()
	return all
}

// A stranger is told what discovery would tell it: everything if the node
// announces itself, and otherwise nothing that shows whose node it is. A member
// is always told everything.
func TestWhatStrangersAreTold(t *testing.T) {
	t.Parallel()
	for name, announces := range map[string]bool{"with discovery": true, "without discovery": false} {
		t.Run(name, func(t *testing.T) {
			lab := netlab.New(t, 2)
			member := newStranger(t, memberSeed).id.Remote().String()
			const library, instance = "d66e0000-0000-4000-8000-000000000001", "iyN9eI6Oqu9VDG0SWCP6RfH9X8KbLIi9+HERlHH8ExI"
			n := start(t, lab.Hosts[0], nodeConfig{
				Name: "Zoe's node", QUIC: true, MDNS: announces, Port: quic.DefaultPort, Track: []string{member},
				Metadata: map[string]string{library: instance, "color": "green"},
			})
			stranger, tracked := toldTo(t, lab.Hosts[1], n, nil), toldTo(t, lab.Hosts[1], n, memberSeed)
			t.Logf("a stranger is told %s, a member %s", stranger, tracked)
			for _, secret := range []string{"Zoe's node", library, "green", "linux"} {
				require.Contains(t, tracked, secret)
				if announces {
					require.Contains(t, stranger, secret)
				} else {
					require.NotContains(t, stranger, secret)
				}
			}
		})
	}
}
