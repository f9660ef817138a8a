package main

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// attribute returns an attribute of netlink.
func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

// message returns a message of netlink. Its header begins with a family and has
// an index at offset 4.
func message(kind uint16, header, index int, attributes ...[]byte) []byte {
	data := make([]byte, header)
	binary.NativeEndian.PutUint32(data[4:], uint32(index))
	for _, a := range attributes {
		data = append(data, a...)
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(data)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), make([]byte, unix.SizeofNlMsghdr-6)...)
	return append(b, data...)
}

func TestNetlink(t *testing.T) {
	kind := func(name string) []byte {
		return attribute(unix.IFLA_LINKINFO|unix.NLA_F_NESTED, attribute(unix.IFLA_INFO_KIND, []byte(name+"\x00")))
	}
	dump := append(message(unix.RTM_NEWLINK, unix.SizeofIfInfomsg, 2, attribute(unix.IFLA_MTU, make([]byte, 4)), kind("veth")),
		message(unix.RTM_NEWLINK, unix.SizeofIfInfomsg, 3)...)
	require.Equal(t, map[int]string{2: "veth"}, parseKinds(dump))

	since := func(hundredths uint32) []byte {
		return attribute(unix.IFA_CACHEINFO, binary.NativeEndian.AppendUint32(make([]byte, 8), hundredths))
	}
	dump = append(message(unix.RTM_NEWADDR, unix.SizeofIfAddrmsg, 2, since(9500)), message(unix.RTM_NEWADDR, unix.SizeofIfAddrmsg, 2, since(9000))...)
	// A time after now, since the clocks differ.
	dump = append(dump, message(unix.RTM_NEWADDR, unix.SizeofIfAddrmsg, 3, since(20000))...)
	require.Equal(t, map[int]time.Duration{2: 10 * time.Second, 3: 1}, parseAges(dump, 100*time.Second))

	neighborAt := func(addr string, state byte) []byte {
		m := message(unix.RTM_NEWNEIGH, 12, 2, attribute(unix.NDA_DST, netip.MustParseAddr(addr).AsSlice()))
		m[unix.SizeofNlMsghdr+8] = state
		return m
	}
	dump = append(neighborAt("10.0.0.8", unix.NUD_REACHABLE), neighborAt("fe80::8", unix.NUD_STALE)...)
	dump = append(append(dump, neighborAt("10.0.0.9", unix.NUD_FAILED)...), neighborAt("224.0.0.251", unix.NUD_NOARP)...)
	require.Equal(t, []neighbor{
		{netip.MustParseAddr("10.0.0.8"), 2, true, true}, {netip.MustParseAddr("fe80::8"), 2, true, false}, {netip.MustParseAddr("10.0.0.9"), 2, false, false},
	}, parseNeighbors(dump))

	for n := range dump { // a dump that is cut off anywhere causes no panic
		parseNeighbors(dump[:n])
		parseKinds(dump[:n])
	}
}

func TestMemberships(t *testing.T) {
	require.Equal(t, map[string]int{"eth0": 2}, parseIGMP(strings.Join([]string{
		"Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter",
		"1\tlo        :     1      V3", "\t\t\t\t010000E0     1 0:00000000\t\t0",
		"2\teth0      :     2      V3", "\t\t\t\tFB0000E0     2 0:00000000\t\t0", "\t\t\t\t010000E0     1 0:00000000\t\t0", "short",
	}, "\n")))
	require.Equal(t, map[string]int{"eth0": 1}, parseIGMP6(strings.Join([]string{
		"1    lo              ff020000000000000000000000000001     1 0000000C 0",
		"2    eth0            ff0200000000000000000000000000fb     1 00000004 0", "short",
	}, "\n")))
}

func TestParseReject(t *testing.T) {
	said := func(level, kind int32, errno uint32, origin byte, icmp, code byte, info uint32, from []byte) unix.SocketControlMessage {
		data := append(binary.NativeEndian.AppendUint32(nil, errno), origin, icmp, code, 0)
		data = append(binary.NativeEndian.AppendUint32(data, info), 0, 0, 0, 0)
		return unix.SocketControlMessage{Header: unix.Cmsghdr{Level: level, Type: kind}, Data: append(data, from...)}
	}
	from4 := append(binary.NativeEndian.AppendUint16(nil, unix.AF_INET), 0, 0, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)
	from6 := append(append(binary.NativeEndian.AppendUint16(nil, unix.AF_INET6), make([]byte, 6)...), netip.MustParseAddr("fd00::1").AsSlice()...)
	from6 = append(from6, 0, 0, 0, 0)
	for _, c := range []struct {
		m    unix.SocketControlMessage
		want *reject
	}{
		{said(unix.IPPROTO_IP, unix.IP_RECVERR, 113, unix.SO_EE_ORIGIN_ICMP, 3, 13, 7, from4), &reject{from: netip.MustParseAddr("10.0.0.1"), kind: 3, code: 13}},
		{said(unix.IPPROTO_IP, unix.IP_RECVERR, 90, unix.SO_EE_ORIGIN_ICMP, 3, 4, 1100, from4), &reject{from: netip.MustParseAddr("10.0.0.1"), kind: 3, code: 4, mtu: 1100}},
		{said(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 13, unix.SO_EE_ORIGIN_ICMP6, 1, 1, 0, from6), &reject{from: netip.MustParseAddr("fd00::1"), kind: 1, code: 1, v6: true}},
		{said(unix.IPPROTO_IP, unix.IP_RECVERR, uint32(unix.EMSGSIZE), unix.SO_EE_ORIGIN_LOCAL, 0, 0, 1000, from4), &reject{kind: 3, code: 4, mtu: 1000}},
		{said(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, uint32(unix.EMSGSIZE), unix.SO_EE_ORIGIN_LOCAL, 0, 0, 1000, nil), &reject{kind: 2, v6: true, mtu: 1000}},
		{said(unix.IPPROTO_IP, unix.IP_RECVERR, 113, unix.SO_EE_ORIGIN_LOCAL, 0, 0, 0, from4), nil},
		{said(unix.IPPROTO_IP, unix.IP_RECVERR, 113, unix.SO_EE_ORIGIN_TXTIME, 0, 0, 0, from4), nil},
		{said(unix.IPPROTO_IP, unix.IP_TTL, 113, unix.SO_EE_ORIGIN_ICMP, 3, 13, 7, from4), nil},
		{said(unix.IPPROTO_IP, unix.IP_RECVERR, 113, unix.SO_EE_ORIGIN_ICMP, 3, 13, 7, nil), &reject{kind: 3, code: 13}},
		{unix.SocketControlMessage{Header: unix.Cmsghdr{Level: unix.IPPROTO_IP, Type: unix.IP_RECVERR}, Data: []byte{1}}, nil},
	} {
		require.Equal(t, c.want, parseReject(c.m))
	}
}
