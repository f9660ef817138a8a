package dnssd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// If several sockets share a group, each receives packets for the interfaces on
// which it joined the group, and packets to the host alone.
func TestHears(t *testing.T) {
	u := &udpConn{joined: map[int]bool{2: true}}
	group, host := Groups[IPv6].Addr(), netip.MustParseAddr("fe80::1")
	for _, test := range []struct {
		p    Packet
		want bool
	}{
		{Packet{Dst: group, Index: 2}, true},
		{Packet{Dst: group, Index: 3}, false},
		{Packet{Dst: host, Index: 3}, true},
		{Packet{Dst: group}, true}, // the system does not tell
		{Packet{}, true},
	} {
		require.Equal(t, test.want, u.hears(&test.p), test.p)
	}
}

// A packet to the group reaches the socket that is a member, and no other
// socket of this process.
func TestMembersOnly(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("multicast on loopback is only known to work on Linux")
	}
	lo := loopbackInterface(t)
	own := fmt.Sprintf("test %d: ", os.Getpid()) // others on this host may use the group, too
	var sockets [2]*udpConn
	var heard [2]chan string
	for i := range sockets {
		heard[i] = make(chan string, 64)
		var err error
		sockets[i], err = openUDP(IPv4, func(p Packet) {
			if text, ok := strings.CutPrefix(string(p.Data), own); ok {
				heard[i] <- text
			}
		}, func(error) {})
		require.NoError(t, err)
	}
	for n := range 6 {
		member := sockets[n%2]
		require.NoError(t, member.join(lo))
		require.NoError(t, sockets[0].send(fmt.Append(nil, own, n), lo, Groups[IPv4]))
		require.Equal(t, strconv.Itoa(n), <-heard[n%2], "the first packet after joining")
		member.leave(lo)
	}
	for _, u := range sockets {
		require.NoError(t, u.close())
	}
}

// loopbackInterface returns the loopback interface.
func loopbackInterface(t *testing.T) Interface {
	list, err := System().Interfaces()
	require.NoError(t, err)
	for _, i := range list {
		if i.Loopback && i.Up && i.has(IPv4) {
			return i
		}
	}
	t.Skip("no loopback interface")
	return Interface{}
}

// If one of several sockets fails, the conn fails, once.
func TestGroupConnFails(t *testing.T) {
	var failures atomic.Int32
	c, err := sockets{}.Open(IPv4, func(Packet) {}, func(err error) {
		if errors.Is(err, net.ErrClosed) {
			failures.Add(1)
		}
	})
	require.NoError(t, err)
	g := c.(*groupConn)
	more, err := g.open()
	require.NoError(t, err)
	g.all = append(g.all, more)
	for _, u := range g.all {
		require.NoError(t, u.c.Close())
		<-u.done
	}
	require.EqualValues(t, 1, failures.Load())
	_ = c.Close()
}
