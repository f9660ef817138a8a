package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sdp2p/p2p/internal/dnssd"
)

// describeLinks adds Linux's knowledge of the links to the facts, before
// anything is sent. Facts that cannot be read stay unknown.
func describeLinks(f *facts) {
	limit, _ := os.ReadFile("/proc/sys/net/ipv4/igmp_max_memberships")
	f.groups, _ = strconv.Atoi(strings.TrimSpace(string(limit)))
	kinds, _ := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	addrs, _ := syscall.NetlinkRIB(syscall.RTM_GETADDR, syscall.AF_UNSPEC)
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	kind, age := parseKinds(kinds), parseAges(addrs, time.Duration(now.Nano()))
	igmp, err4 := os.ReadFile("/proc/net/igmp")
	igmp6, err6 := os.ReadFile("/proc/net/igmp6")
	members := [2]map[string]int{parseIGMP(string(igmp)), parseIGMP6(string(igmp6))}
	for i := range f.links {
		l := &f.links[i]
		l.kind, l.age = kind[l.Index], age[l.Index]
		for family, err := range []error{err4, err6} {
			l.empty[family] = err == nil && members[family][l.Name] == 0
		}
	}
	f.place = place(os.DirFS("/"), os.Getenv)
}

// listNeighbors returns the devices on the links that Linux knows.
func listNeighbors() []neighbor {
	dump, err := syscall.NetlinkRIB(syscall.RTM_GETNEIGH, syscall.AF_UNSPEC)
	if err != nil {
		return nil
	}
	return parseNeighbors(dump)
}

// messages yields the messages of a dump that are of a kind and have a header.
func messages(dump []byte, kind uint16, header int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		all, _ := syscall.ParseNetlinkMessage(dump)
		for _, m := range all {
			if m.Header.Type == kind && len(m.Data) >= header && !yield(m.Data) {
				return
			}
		}
	}
}

// attributes yields the attributes of a netlink message, after its header.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofRtAttr || size > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// parseKinds returns the kinds of virtual interfaces, by index.
func parseKinds(dump []byte) map[int]string {
	kinds := map[int]string{}
	for m := range messages(dump, unix.RTM_NEWLINK, unix.SizeofIfInfomsg) {
		index := int(binary.NativeEndian.Uint32(m[4:]))
		for kind, info := range attributes(m[unix.SizeofIfInfomsg:]) {
			if kind != unix.IFLA_LINKINFO {
				continue
			}
			for kind, name := range attributes(info) {
				if kind == unix.IFLA_INFO_KIND {
					kinds[index] = string(bytes.TrimRight(name, "\x00"))
				}
			}
		}
	}
	return kinds
}

// parseAges returns how long ago each interface got the oldest of its
// addresses, by index. The kernel counts in hundredths of a second since it
// started, as now does.
func parseAges(dump []byte, now time.Duration) map[int]time.Duration {
	const created = 8 // in struct ifa_cacheinfo
	ages := map[int]time.Duration{}
	for m := range messages(dump, unix.RTM_NEWADDR, unix.SizeofIfAddrmsg) {
		index := int(binary.NativeEndian.Uint32(m[4:]))
		for kind, info := range attributes(m[unix.SizeofIfAddrmsg:]) {
			if kind == unix.IFA_CACHEINFO && len(info) >= created+4 {
				at := time.Duration(binary.NativeEndian.Uint32(info[created:])) * time.Second / 100
				ages[index] = max(ages[index], now-at, 1)
			}
		}
	}
	return ages
}

// parseNeighbors reads the table of ARP and of IPv6's neighbor discovery.
func parseNeighbors(dump []byte) (all []neighbor) {
	const header = 12 // struct ndmsg
	for m := range messages(dump, unix.RTM_NEWNEIGH, header) {
		state := binary.NativeEndian.Uint16(m[8:])
		for kind, addr := range attributes(m[header:]) {
			a, ok := netip.AddrFromSlice(addr)
			if kind != unix.NDA_DST || !ok || a.IsMulticast() || a.IsLoopback() {
				continue
			}
			all = append(all, neighbor{
				addr: a, index: int(binary.NativeEndian.Uint32(m[4:])), alive: state&unix.NUD_REACHABLE != 0,
				known: state&(unix.NUD_REACHABLE|unix.NUD_STALE|unix.NUD_DELAY|unix.NUD_PROBE) != 0,
			})
		}
	}
	return all
}

// parseIGMP returns the number of programs in discovery's IPv4 group on each
// interface, from /proc/net/igmp: lines that begin with an index name the
// interface, those below it its groups, in the byte order of the machine.
func parseIGMP(table string) map[string]int {
	group := dnssd.Groups[dnssd.IPv4].Addr().As4()
	want := fmt.Sprintf("%08X", binary.NativeEndian.Uint32(group[:]))
	members, name := map[string]int{}, ""
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		if line[0] != '\t' && line[0] != ' ' {
			name = strings.TrimSuffix(fields[1], ":")
		} else if fields[0] == want {
			members[name], _ = strconv.Atoi(fields[1])
		}
	}
	return members
}

// parseIGMP6 does the same for /proc/net/igmp6, in which each line has the
// index, the interface, the group and the number.
func parseIGMP6(table string) map[string]int {
	want := fmt.Sprintf("%x", dnssd.Groups[dnssd.IPv6].Addr().As16())
	members := map[string]int{}
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) >= 4 && fields[2] == want {
			members[fields[1]], _ = strconv.Atoi(fields[3])
		}
	}
	return members
}
