package netmon

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// packet returns a netlink message.
func packet(typ uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	return append(append(b, make([]byte, unix.NLMSG_HDRLEN-len(b))...), body...)
}

// attribute appends an attribute to a message's payload.
func attribute(b []byte, typ uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	return append(b, make([]byte, aligned(len(value))-len(value))...)
}

func word(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func routeMessage(dstLen byte, flags uint32) []byte {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1], b[4], b[7] = unix.AF_INET, dstLen, unix.RT_TABLE_MAIN, unix.RTN_UNICAST
	copy(b[8:], word(flags))
	return b
}

func neighborMessage(index uint32, addr, link string) []byte {
	b := make([]byte, unix.SizeofNdMsg)
	copy(b[4:], word(index))
	b = attribute(b, unix.NDA_DST, netip.MustParseAddr(addr).AsSlice())
	if link != "" {
		b = attribute(b, unix.NDA_LLADDR, []byte(link))
	}
	return b
}

// Some of the kernel's messages make the monitor look, and some that come often
// do not.
func TestMatters(t *testing.T) {
	e := &events{s: &system{}}
	router := wired(2)
	router.Gateways[IPv4] = gateway("10.0.0.254", "616263")
	other := wired(3)
	other.Gateways[IPv6] = gateway("fe80::1", "")
	e.Seen(&Snapshot{Interfaces: []Interface{router, other}})
	for _, test := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"link", packet(unix.RTM_NEWLINK, make([]byte, unix.SizeofIfInfomsg)), true},
		{"address", packet(unix.RTM_DELADDR, make([]byte, unix.SizeofIfAddrmsg)), true},
		{"default route", packet(unix.RTM_NEWROUTE, routeMessage(0, 0)), true},
		{"half of it", packet(unix.RTM_DELROUTE, routeMessage(1, 0)), true},
		{"another route", packet(unix.RTM_NEWROUTE, routeMessage(24, 0)), false},
		{"a cached route", packet(unix.RTM_NEWROUTE, routeMessage(0, unix.RTM_F_CLONED)), false},
		{"the router as it was", packet(unix.RTM_NEWNEIGH, neighborMessage(2, "10.0.0.254", "abc")), false},
		{"another router", packet(unix.RTM_NEWNEIGH, neighborMessage(2, "10.0.0.254", "abd")), true},
		{"a router that does not answer", packet(unix.RTM_NEWNEIGH, neighborMessage(2, "10.0.0.254", "")), false},
		{"on another interface", packet(unix.RTM_NEWNEIGH, neighborMessage(4, "10.0.0.254", "abd")), false},
		{"a router that becomes known", packet(unix.RTM_NEWNEIGH, neighborMessage(3, "fe80::1", "abd")), true},
		{"a neighbor", packet(unix.RTM_NEWNEIGH, neighborMessage(2, "10.0.0.9", "abd")), false},
		{"several", append(packet(unix.RTM_NEWROUTE, routeMessage(24, 0)), packet(unix.RTM_NEWADDR, nil)...), true},
		{"cut off", packet(unix.RTM_NEWROUTE, routeMessage(0, 0))[:20], false},
	} {
		require.Equal(t, test.want, e.matters(test.b), test.name)
	}
}

// The number of times that a link was switched off is counted until the link is
// gone.
func TestBounces(t *testing.T) {
	e := &events{s: &system{}}
	link := func(typ uint16, family byte, flags uint32) {
		b := make([]byte, unix.SizeofIfInfomsg)
		b[0] = family
		copy(b[4:], word(7))
		copy(b[8:], word(flags))
		require.True(t, e.matters(packet(typ, b)))
	}
	link(unix.RTM_NEWLINK, 0, unix.IFF_UP)
	require.Zero(t, e.s.bounces.of(7))
	link(unix.RTM_NEWLINK, 0, 0)
	link(unix.RTM_NEWLINK, 0, unix.IFF_UP)
	link(unix.RTM_NEWLINK, 0, 0)
	require.EqualValues(t, 2, e.s.bounces.of(7))
	link(unix.RTM_DELLINK, unix.AF_BRIDGE, unix.IFF_UP) // the link leaves a bridge
	require.EqualValues(t, 2, e.s.bounces.of(7))
	link(unix.RTM_DELLINK, 0, 0)
	require.Empty(t, e.s.bounces.n)
}

// A default route may have several next hops; the metrics decide between
// routes.
func TestRoutes(t *testing.T) {
	via := func(index uint32, addr string) []byte {
		a := netip.MustParseAddr(addr)
		return append(append(binary.NativeEndian.AppendUint16(nil, 16), 0, 0), attribute(word(index), unix.RTA_GATEWAY, a.AsSlice())...)
	}
	r := &reading{state: Snapshot{Interfaces: []Interface{wired(2), wired(3)}}, metrics: map[place]uint32{}}
	take := func(metric uint32, b []byte) {
		r.take(unix.RTM_NEWROUTE, attribute(b, unix.RTA_PRIORITY, word(metric)))
	}
	take(100, attribute(routeMessage(0, 0), unix.RTA_MULTIPATH, append(via(2, "10.0.0.9"), via(3, "10.1.0.9")...)))
	take(200, attribute(attribute(routeMessage(0, 0), unix.RTA_OIF, word(2)), unix.RTA_GATEWAY, []byte{10, 0, 0, 1}))
	take(50, attribute(attribute(routeMessage(0, 0), unix.RTA_OIF, word(3)), unix.RTA_GATEWAY, []byte{10, 1, 0, 1}))
	take(50, attribute(attribute(routeMessage(0, 0), unix.RTA_OIF, word(3)), unix.RTA_GATEWAY, []byte{10, 1, 0, 2}))
	take(1, attribute(attribute(routeMessage(24, 0), unix.RTA_OIF, word(3)), unix.RTA_GATEWAY, []byte{10, 1, 0, 3}))
	take(1, attribute(attribute(routeMessage(0, 0), unix.RTA_OIF, word(9)), unix.RTA_GATEWAY, []byte{10, 9, 0, 3}))
	mpls := routeMessage(0, 0)
	mpls[0] = unix.AF_MPLS
	take(1, attribute(attribute(mpls, unix.RTA_OIF, word(3)), unix.RTA_GATEWAY, []byte{10, 1, 0, 4}))
	local := routeMessage(0, 0)
	local[4] = unix.RT_TABLE_LOCAL
	take(1, attribute(attribute(local, unix.RTA_OIF, word(3)), unix.RTA_GATEWAY, []byte{10, 1, 0, 5}))
	require.Equal(t, "10.0.0.9", r.state.Interfaces[0].Gateways[IPv4].Addr.String())
	require.Equal(t, "10.1.0.1", r.state.Interfaces[1].Gateways[IPv4].Addr.String())
	require.True(t, r.state.Interfaces[0].Routed[IPv4])
}

// FuzzMessages hands arbitrary bytes to the parsers.
func FuzzMessages(f *testing.F) {
	f.Add(packet(unix.RTM_NEWROUTE, attribute(routeMessage(0, 0), unix.RTA_MULTIPATH, make([]byte, 16))))
	f.Add(packet(unix.RTM_NEWNEIGH, neighborMessage(2, "fe80::1", "abcdef")))
	f.Add(packet(unix.RTM_NEWLINK, attribute(make([]byte, unix.SizeofIfInfomsg), unix.IFLA_LINKINFO, attribute(nil, unix.IFLA_INFO_KIND, []byte("veth")))))
	f.Add(packet(unix.RTM_NEWADDR, attribute(make([]byte, unix.SizeofIfAddrmsg), unix.IFA_ADDRESS, make([]byte, 16))))
	f.Fuzz(func(t *testing.T, b []byte) {
		e := &events{s: &system{}}
		e.matters(b)
		r := &reading{metrics: map[place]uint32{}, links: map[hop]string{}, state: Snapshot{Interfaces: make([]Interface, 1)}}
		messages(b, r.take)
	})
}

// The kernel's timer fires when the clock is set, as the kernel does when the
// computer resumes. The test sets the clock forward by a nanosecond.
func TestClockTimer(t *testing.T) {
	if os.Getenv("SDP2P_NETTEST") == "" || os.Geteuid() != 0 {
		t.Skip("set SDP2P_NETTEST=1 to set this computer's clock forward by a nanosecond, as root")
	}
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	require.NoError(t, err)
	fired := make(chan struct{})
	stop := make(chan struct{})
	e := &events{}
	e.changed = func() {
		select {
		case fired <- struct{}{}:
		case <-stop:
		}
	}
	e.open(fd, e.watchClock)
	for range 2 { // the clock is set once more
		for got := false; !got; {
			tx := unix.Timex{Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO}
			tx.Time.Usec = 1 // in nanoseconds
			if _, err := unix.Adjtimex(&tx); err != nil {
				t.Skip("the clock cannot be set: ", err)
			}
			select {
			case <-fired:
				got = true
			case <-time.After(time.Second): // the timer may not have been armed yet
			}
		}
	}
	close(stop)
	e.Close()
}
