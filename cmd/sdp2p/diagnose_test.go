package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/quic"
)

// eth0 is a real interface, with other devices on its link.
var eth0 = dnssd.Interface{Index: 2, Name: "eth0", MTU: 1500, Up: true, Multicast: true, Gateway: netip.MustParseAddr("10.0.0.1"),
	Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/24"), netip.MustParsePrefix("fd00::7/64")}}

var (
	far  = netip.MustParseAddrPort("10.0.0.9:7373")
	far6 = netip.MustParseAddrPort("[fd00::9]:7373")
	away = netip.MustParseAddrPort("192.0.2.9:7373")
)

// healthy returns the facts of a host where nothing is wrong.
func healthy() *facts {
	now := time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)
	heard := func(family dnssd.Family) earFacts {
		return earFacts{link: eth0, family: family, back: time.Millisecond, packets: 1,
			sources: []source{{"eth0", family.String(), netip.MustParseAddr("10.0.0.8"), 1}}}
	}
	port := func(family dnssd.Family, addr string) portFacts {
		return portFacts{family: family, arrivals: []arrival{{from: localhost, to: netip.MustParseAddr(addr), socket: true, arrived: true, took: time.Millisecond}}}
	}
	return &facts{
		system: "linux", app: "test", port: 7373, wait: 3 * time.Second, groups: 20,
		links:  []linkFacts{{Interface: eth0, enabled: true, age: time.Hour}},
		ears:   []earFacts{heard(dnssd.IPv4), heard(dnssd.IPv6)},
		ports:  []portFacts{port(dnssd.IPv4, "10.0.0.7"), port(dnssd.IPv6, "fd00::7")},
		socket: socketFacts{asked: true, in: bufferWanted, out: bufferWanted},
		clock:  clockFacts{began: now, now: now.Add(time.Second), elapsed: time.Second, built: now.Add(-time.Hour)},
	}
}

// unheard removes the packets that came from others.
func unheard(f *facts) {
	for i := range f.ears {
		f.ears[i].packets, f.ears[i].sources = 0, nil
	}
}

// unplugged leaves the host without any network.
func unplugged(f *facts) {
	f.links[0].Up, f.ears = false, nil
	f.ports = []portFacts{{family: dnssd.IPv4, arrivals: []arrival{{from: localhost, to: localhost, socket: true, arrived: true}}}}
}

// inside puts the host into a network inside a computer.
func inside(kind string, place placeFacts) func(*facts) {
	return func(f *facts) {
		f.links[0].kind, f.links[0].Gateway, f.place = kind, netip.MustParseAddr("172.17.0.1"), place
		f.links[0].Addrs = []netip.Prefix{netip.MustParsePrefix("172.17.0.2/16")}
	}
}

// try adds an attempt to reach addr, which ended as w says.
func try(addr netip.AddrPort, w wayFacts) func(*facts) {
	return func(f *facts) {
		w.addr, w.there.took = addr, 3*time.Second
		if w.err == nil {
			w.err = errNoAnswer
		}
		f.peer = &peerFacts{target: target{text: addr.String(), addr: addr.Addr(), port: addr.Port()}, addrs: []netip.AddrPort{addr}, ways: []wayFacts{w}}
	}
}

// lane makes a peer that is reached, but whose port for lanes is not.
func lane(err error) func(*facts) {
	return func(f *facts) {
		try(far, wayFacts{})(f)
		w := &f.peer.ways[0]
		w.err, w.lane = nil, laneFacts{port: 7374, took: 3 * time.Second, err: err}
	}
}

// discovered says that discovery found the peer at the addresses that were
// tried.
func discovered(f *facts) {
	f.peer.discovered, f.peer.peer, f.peer.target.addr = true, identity.New().Remote(), netip.Addr{}
}

func op(err error) error { return &net.OpError{Op: "write", Net: "udp", Err: err} }

// rejected is an attempt that an ICMP message ended.
func rejected(from string, kind, code uint8) wayFacts {
	a := netip.MustParseAddr(from)
	return wayFacts{small: knock{doing: hearing, err: op(syscall.EHOSTUNREACH), reject: &reject{from: a, kind: kind, code: code, v6: a.Is6()}}}
}

// refused is an attempt that the system ended with an error number and nothing
// else.
func refused(do doing, err error) wayFacts {
	return wayFacts{small: knock{doing: do, err: op(err)}}
}

func reachedAt(addr netip.AddrPort) func(*facts) {
	return func(f *facts) {
		try(addr, wayFacts{})(f)
		f.peer.ways[0].err, f.peer.ways[0].there.id = nil, identity.New().Remote()
	}
}

func all(changes ...func(*facts)) func(*facts) {
	return func(f *facts) {
		for _, c := range changes {
			c(f)
		}
	}
}

func earWith(change func(x *earFacts)) func(*facts) { return func(f *facts) { change(&f.ears[0]) } }

func earErr(do doing, err error) func(*facts) {
	return earWith(func(x *earFacts) { x.doing, x.err, x.joined = do, op(err), 20 })
}

// A fault is a set of facts, and the line that they must produce: says is part
// of its value, advises is part of its advice.
type fault struct {
	name    string
	facts   func(*facts)
	topic   string
	verdict verdict
	code    code
	says    string
	advises string
}

const (
	in   = "ufw allow 7373/udp"
	out  = "ufw allow out 7373/udp"
	in53 = "ufw allow 5353/udp"
)

var faults = []fault{
	{"not listed", func(f *facts) { f.links, f.listErr, f.ears = nil, syscall.EPERM, nil }, "interfaces", fail, codeUnlisted, "cannot be listed: operation not permitted", "sandbox"},
	{"no carrier", func(f *facts) { unplugged(f); f.links[0].enabled = true }, "interfaces", fail, codeNoInterface, "eth0 has no carrier", "Connect this host"},
	{"switched off", func(f *facts) { unplugged(f); f.links[0].enabled = false }, "interfaces", fail, codeNoInterface, "eth0 is switched off", "Connect this host"},
	{"no address", func(f *facts) { unplugged(f); f.links[0].Up, f.links[0].Addrs = true, nil }, "interfaces", fail, codeNoInterface, "eth0 has no address", "Connect this host"},
	{"that interface", func(f *facts) { unplugged(f); f.on = "eth0" }, "interfaces", fail, codeNoInterface, "it has no carrier", "plug it in"},
	{"no such interface", func(f *facts) { unplugged(f); f.on = "eth1" }, "interfaces", fail, codeNoInterface, "there is no such interface", "There are: eth0."},
	{"tiny MTU", func(f *facts) { f.links[0].MTU = 1000 }, "interfaces", fail, codeMTU, "used, MTU 1000", "need an MTU of 1228"},
	{"small MTU", func(f *facts) { f.links[0].MTU = 1240 }, "interfaces", warn, codeMTU, "used, MTU 1240", "IPv6 needs an MTU of 1280"},
	{"tiny MTU of a VPN", func(f *facts) { f.links = append(f.links, linkFacts{Interface: vpn}); f.links[1].MTU = 1000 }, "interfaces", warn, codeMTU, "most VPNs are, MTU 1000", "need an MTU of 1228"},

	{"Docker", inside("veth", placeFacts{container: "Docker"}), "container", warn, codeContainer,
		"its interface eth0 (172.17.0.2/16 behind the router 172.17.0.1) is on a network inside its computer, which multicast does not leave", "docker run -p 7373:7373/udp). Then type HOST:7373"},
	{"Podman without root", inside("tun", placeFacts{container: "Podman"}), "container", warn, codeContainer, "multicast does not leave", "podman run -p 7373:7373/udp"},
	{"Kubernetes", inside("veth", placeFacts{container: kubernetes}), "container", warn, codeContainer, "multicast does not leave", "hostPort 7373, protocol UDP"},
	{"another container", all(unheard, inside("veth", placeFacts{container: "lxc"})), "container", warn, codeContainer, "multicast does not leave", "HOST:7373"},
	{"masquerade", all(unheard, inside("veth", placeFacts{})), "container", warn, codeContainer, "this looks like a container: its interface eth0", "172.17.0.2 means nothing to them"},
	{"WSL", all(unheard, inside("", placeFacts{wsl: true})), "container", warn, codeNAT, "inside Windows, which multicast does not leave", "networkingMode=mirrored"},
	{"virtual machine", all(unheard, func(f *facts) { f.links[0].Gateway = netip.MustParseAddr("10.0.2.2") }), "container", warn, codeNAT, "inside its computer, which multicast does not leave", "HOST:7373"},
	{"multicast in a container", all(unheard, inside("veth", placeFacts{container: "Docker"})), "multicast", warn, codeUnheard, "nothing from others", "see the line about the container"},

	{"5353 is taken", earErr(opening, syscall.EADDRINUSE), "multicast", fail, codePortTaken, "another program has UDP port 5353 exclusively", "ss -ulpn sport = :5353"},
	{"5353 is refused", earErr(opening, syscall.EACCES), "multicast", fail, codeRefused, "no socket: write udp: permission denied", "a sandbox, or a rule about programs"},
	{"memberships", earErr(joining, syscall.ENOBUFS), "multicast", fail, codeMemberships, "deaf: cannot join the multicast group: no membership is left after 20 interfaces, and net.ipv4.igmp_max_memberships is 20", "sysctl -w net.ipv4.igmp_max_memberships=100"},
	{"memberships on Windows", all(earErr(joining, wsaNoBuffers), func(f *facts) { f.system, f.groups = "windows", 0 }), "multicast", fail, codeMemberships, "no membership is left after 20 interfaces", "use fewer interfaces"},
	{"deaf", earErr(joining, syscall.ENODEV), "multicast", fail, codeDeaf, "deaf: cannot join the multicast group: write udp: no such device", "Nobody is discovered over this"},
	{"the node is deaf", func(f *facts) {
		f.ports[0], f.links[0].empty = portFacts{err: op(syscall.EADDRINUSE), holder: &resident{name: "app"}}, [2]bool{true, true}
	}, "multicast", warn, codeAppDeaf, "the node at UDP port 7373 does not listen to multicast here: app", "igmp_max_memberships"},
	{"own firewall, multicast out", earErr(sending, syscall.EPERM), "multicast", fail, codeBlockedOut, "cannot send: write udp: operation not permitted", "ufw allow out 5353/udp"},
	{"no local network on macOS", all(earErr(sending, syscall.EHOSTUNREACH), func(f *facts) { f.system = "darwin" }), "multicast", fail, codeBlockedOut, "cannot send: write udp: no route to host", "Local Network"},
	{"mute", earErr(sending, syscall.ENETDOWN), "multicast", fail, codeMute, "cannot send: write udp: network is down", "Is it connected"},
	{"tentative address", earErr(sending, syscall.EADDRNOTAVAIL), "multicast", fail, codeMute, "cannot assign requested address", "whether another device has the address"},
	{"own firewall, multicast in", earWith(func(x *earFacts) { x.back = 0 }), "multicast", fail, codeBlockedIn, "own query does not come back", in53},
	{"snooping", all(unheard, earWith(func(x *earFacts) { x.direct = []netip.Addr{far.Addr()} })), "multicast", fail, codeSnooping, "nothing from others; but 10.0.0.9 answers by unicast", "IGMP or MLD snooping in a switch without a querier"},
	{"snooping, answers by the other family", all(unheard, func(f *facts) { f.ears[1].direct = []netip.Addr{far6.Addr()} }), "multicast", fail, codeSnooping, "nothing from others; but fd00::9 answers by unicast", "IGMP or MLD snooping"},
	{"snooping of one family", earWith(func(x *earFacts) { x.packets, x.sources, x.direct = 0, nil, []netip.Addr{far.Addr(), away.Addr()} }), "multicast", warn, codeSnooping, "but 10.0.0.9, 192.0.2.9 answer by unicast", "snooping"},
	{"snooping, a peer", all(unheard, reachedAt(far), discovered), "multicast", fail, codeSnooping, "but 10.0.0.9 answers by unicast", "snooping"},
	{"snooping, perhaps", all(unheard, reachedAt(far)), "multicast", warn, codeSnooping, "but 10.0.0.9 was reached by unicast", "If discovery is enabled there, the network drops multicast"},
	{"spanning tree", all(unheard, func(f *facts) { f.links[0].age = 12 * time.Second }), "multicast", warn, codeSpanningTree, "the interface got its address 12s ago", "Run the doctor again in 34s"},
	{"unheard", unheard, "multicast", warn, codeUnheard, "nothing from others", "If there are other devices: Wi-Fi that isolates them"},
	{"unheard by known devices", all(unheard, func(f *facts) {
		f.neighbors = []neighbor{{eth0.Gateway, 2, true, true}, {far.Addr(), 2, true, false}, {away.Addr(), 2, false, false}, {far.Addr(), 3, true, true}}
	}), "multicast", warn, codeUnheard, "nothing from others; the system knows 1 other device there", "If one of them announces something"},

	{"port taken", func(f *facts) { f.ports[0] = portFacts{err: op(syscall.EADDRINUSE)} }, "port", fail, codePortTaken, "in use, but not by a node", "quic.Config.Port"},
	{"port refused", func(f *facts) { f.ports[0] = portFacts{err: op(syscall.EACCES)} }, "port", fail, codeRefused, "permission denied", "choose a higher one"},
	{"too many files", func(f *facts) { f.ports[0] = portFacts{err: op(syscall.EMFILE)} }, "port", fail, codeRefused, "too many open files", "sandbox"},
	{"no second socket", func(f *facts) { f.ports[0].arrivals[0] = arrival{to: eth0.Addrs[0].Addr()} }, "port", warn, codeRefused, "not tried", "sandbox"},
	{"own firewall, port in", func(f *facts) { f.ports[0].arrivals[0].arrived = false }, "port", fail, codeBlockedIn, "a packet from 127.0.0.1 does not arrive", in},
	{"own firewall, port out", func(f *facts) {
		f.ports[0].arrivals[0] = arrival{from: localhost, socket: true, err: op(syscall.EPERM)}
	}, "port", fail, codeBlockedOut, "cannot send from 127.0.0.1", out},
	{"no loopback", func(f *facts) {
		f.ports[0].arrivals[0] = arrival{from: localhost, socket: true, err: op(syscall.ENETUNREACH)}
	}, "port", fail, codeLoopback, "cannot send from 127.0.0.1", "loopback interface"},
	{"loopback is down", func(f *facts) {
		f.links = append(f.links, linkFacts{Interface: dnssd.Interface{Name: "lo", Loopback: true}})
		f.ports[0].arrivals[0].arrived = false
	}, "port", fail, codeLoopback, "does not arrive: the loopback interface is down", "Switch it on"},
	{"buffers", func(f *facts) { f.socket.in = 4096 }, "socket", warn, codeBuffers, "4 KiB of 7168 wanted", "net.core.rmem_max"},
	{"no GSO", func(f *facts) { f.socket.segmentation = syscall.ENOPROTOOPT }, "socket", warn, codeNoGSO, "not available", "4.18"},
	{"no socket", func(f *facts) { f.socket.err = syscall.EMFILE }, "socket", fail, codeRefused, "too many open files", "sandbox"},
	{"clock of 1970", func(f *facts) { f.clock.now = time.Unix(0, 0) }, "clock", fail, codeClock, "1970-01-01T00:00:00Z, when no certificate is valid", "valid from 1975 to 4095"},
	{"old clock", func(f *facts) { f.clock.now = f.clock.built.Add(-time.Hour) }, "clock", fail, codeClock, "but this program was made after 2100", "libraries use it to tell"},
	{"contact is not here", contactIs(nil), "contacts", warn, codeNoContact, "none of them announced itself to this key as that contact in 3s", "is this key among its contacts?"},
	{"contact's clock", contactIs(&sightingFacts{[]netip.AddrPort{far}, 45 * time.Minute}), "contacts", fail, codeClock, "here at [10.0.0.9:7373], but its clock is about 0.75 hours ahead of this one's", "Set the clock that is wrong"},
	{"own clock", all(contactIs(&sightingFacts{ahead: -3 * time.Hour}), contactIs(&sightingFacts{ahead: -3 * time.Hour})), "contacts", fail, codeClock, "its clock is about 3 hours behind this one's", "most likely this host's clock"},
	{"two clocks", all(contactIs(&sightingFacts{ahead: -3 * time.Hour}), contactIs(&sightingFacts{ahead: 3 * time.Hour})), "contacts", fail, codeClock, "its clock is about 3 hours behind", "Set the clock that is wrong"},
	{"contacts without a network", func(f *facts) {
		contactIs(nil)(f)
		f.contacts.err = errors.New("x")
	}, "contacts", fail, codeNoDiscovery, "not looked for: x", "lines about interfaces"},
	{"clock jumps", func(f *facts) { f.clock.elapsed = time.Minute }, "clock", warn, codeClockSteps, "it jumped by -59s", "sets it"},
}

// contactIs adds a contact that the doctor is asked about, and where it was
// seen, if at all.
func contactIs(at *sightingFacts) func(*facts) {
	return func(f *facts) {
		id := identity.New().Remote()
		c := &f.contacts
		c.asked, c.hidden = append(c.asked, id), c.hidden+1
		if c.here == nil {
			c.here = map[identity.RemoteIdentity]sightingFacts{}
		}
		if at != nil {
			c.here[id] = *at
		}
	}
}

var peerFaults = []fault{
	{"not announced, perhaps hidden", all(sought(func(*peerFacts) {}), func(f *facts) { f.contacts.hidden = 1 }), "peer", fail, codeUnannounced, "nobody announced it", "It may be visible to its contacts only"},
	{"no name", named(&net.DNSError{IsNotFound: true}), "peer", fail, codeNoName, "there is no such name", "spelled"},
	{"nothing behind the name", named(nil), "peer", fail, codeNoName, "leads nowhere", "spelled"},
	{"odd name", named(errors.New("odd")), "peer", fail, codeNoName, "odd", "spelled"},
	{"no name server", named(&net.DNSError{IsTimeout: true}), "peer", fail, codeNoNameServer, "no name server answers", "UDP port 53 out"},
	{"name without network", all(named(&net.DNSError{IsNotFound: true}), unplugged), "peer", fail, codeNoInterface, "this host is in no network", "lines about interfaces"},
	{"no discovery", sought(func(p *peerFacts) { p.startErr = errors.New("x") }), "peer", fail, codeNoDiscovery, "discovery does not start: x", "lines about multicast"},
	{"discovery without network", all(unplugged, sought(func(*peerFacts) {})), "peer", fail, codeNoInterface, "no interface can be used", "lines about interfaces"},
	{"not announced", sought(func(*peerFacts) {}), "peer", fail, codeUnannounced, "nobody announced it in 3s", "Others were heard: is it on"},
	{"nobody announced", all(unheard, sought(func(*peerFacts) {})), "peer", fail, codeUnannounced, "nobody announced it in 3s", "Nor was anybody else heard: see the lines about multicast"},
	{"no address", sought(func(p *peerFacts) { p.discovered = true }), "peer", fail, codeNoAddress, "no address that this host can dial", "a family that this host has"},

	{"lanes closed", lane(syscall.ECONNREFUSED), "peer", warn, codeLaneClosed, "TCP is refused", "TCP port 7374 in"},
	{"lanes silent", lane(errNoAnswer), "peer", warn, codeLaneSilent, "no answer over TCP", "TCP port 7374 in"},

	{"other peer", try(far, wayFacts{err: quic.ErrOtherPeer}), "peer", fail, codeOtherPeer, "another peer is there", "passed on"},
	{"no zone", try(far, wayFacts{err: quic.ErrLinkLocal}), "peer", fail, codeNoZone, "needs an interface", "fe80::1%eth0"},
	{"no family", try(far6, wayFacts{err: quic.ErrDisabled}), "peer", fail, codeNoFamily, "does not have the address family", "another address"},
	{"closes", try(far, wayFacts{err: fmt.Errorf("x: %w", p2p.ErrConnectionLost)}), "peer", fail, codeCloses, "a node is there, but closes", "Config.Allow"},
	{"another program", try(far, wayFacts{err: errors.New("something odd")}), "peer", fail, codeForeign, "something odd", "not as a node does"},
	{"our clock", all(try(far, wayFacts{err: errors.New("bad certificate")}), func(f *facts) { f.clock.now = time.Unix(0, 0) }), "peer", fail, codeClock, "bad certificate", "no certificate is valid"},

	{"no route", try(away, refused(routing, syscall.ENETUNREACH)), "peer", fail, codeNoRoute, "no route", "Connect this host to the peer's network"},
	{"no network", all(unplugged, try(away, refused(routing, syscall.ENETUNREACH))), "peer", fail, codeNoInterface, "this host is in no network", "lines about interfaces"},
	{"silence without network", all(unplugged, try(away, wayFacts{})), "peer", fail, codeNoInterface, "no answer in 3s", "lines about interfaces"},
	{"no IPv6", try(far6, refused(routing, syscall.EADDRNOTAVAIL)), "peer", fail, codeNoFamily, "no address of the family", "enable the family"},
	{"a route that forbids", try(away, refused(routing, syscall.EACCES)), "peer", fail, codeNoRoute, "a route of this host forbids it", "prohibit"},
	{"own firewall drops", try(far, refused(sending, syscall.EPERM)), "peer", fail, codeBlockedOut, "this host does not let packets out", out},
	{"own firewall drops, on Windows", all(try(far, refused(sending, wsaAccess)), func(f *facts) { f.system = "windows" }), "peer", fail, codeBlockedOut, "this host does not let packets out", "Outbound Rules"},
	{"own firewall rejects", try(far, own(syscall.EPERM, 3, 3)), "peer", fail, codeBlockedOut, "this host does not let packets out", out},
	{"own firewall prohibits", try(far, own(syscall.EHOSTUNREACH, 3, 13)), "peer", fail, codeBlockedOut, "this host does not let packets out", out},

	{"port unreachable", try(far, rejected("10.0.0.9", 3, 3)), "peer", fail, codeClosed, `10.0.0.9 answers "port unreachable": nothing on it listens on UDP port 7373, or its firewall rejects`, "Start the app there"},
	{"port unreachable, discovered", all(try(far, rejected("10.0.0.9", 3, 3)), discovered), "peer", fail, codeFirewall, `a firewall rejects: 10.0.0.9 answers "port unreachable", although discovery has found exactly that port`, "let UDP port 7373 in"},
	{"port unreachable by a router", try(away, rejected("10.0.0.1", 3, 3)), "peer", fail, codeFirewall, `a firewall rejects: 10.0.0.1, on the path, answers "port unreachable"`, "The firewall of 10.0.0.1"},
	{"IPv6 port unreachable", try(far6, rejected("fd00::9", 1, 4)), "peer", fail, codeClosed, `fd00::9 answers "port unreachable"`, "Start the app there"},
	{"IPv6 port unreachable, discovered", all(try(far6, rejected("fd00::9", 1, 4)), discovered), "peer", fail, codeFirewall, "a firewall rejects: fd00::9", "let UDP port 7373 in"},
	{"host unreachable by itself", try(far, rejected("10.0.0.9", 3, 1)), "peer", fail, codeFirewall, `a firewall rejects: 10.0.0.9 answers "host unreachable" of itself`, "let UDP port 7373 in"},
	{"net unreachable by itself", try(far, rejected("10.0.0.9", 3, 0)), "peer", fail, codeFirewall, `10.0.0.9 answers "network unreachable" of itself`, "let UDP port 7373 in"},
	{"IPv6 no route by itself", try(far6, rejected("fd00::9", 1, 0)), "peer", fail, codeFirewall, `fd00::9 answers "no route" of itself`, "let UDP port 7373 in"},
	{"IPv6 address unreachable by itself", try(far6, rejected("fd00::9", 1, 3)), "peer", fail, codeFirewall, `fd00::9 answers "address unreachable" of itself`, "let UDP port 7373 in"},
	{"no such host", try(far, rejected("10.0.0.7", 3, 1)), "peer", fail, codeNoHost, "no device answers for that address", "Is the device on"},
	{"no such host, IPv6", try(far6, rejected("fd00::7", 1, 3)), "peer", fail, codeNoHost, "no device answers for that address", "Is the device on"},
	{"isolated by Wi-Fi", all(try(far, rejected("10.0.0.7", 3, 1)), discovered), "peer", fail, codeNoHost, "no device answers for that address, although it was discovered", "guest network"},
	{"host unreachable by a router", try(away, rejected("10.0.0.1", 3, 1)), "peer", fail, codeRouter, `10.0.0.1, on the path, answers "host unreachable": a firewall there, or no route`, "that router"},
	{"net unreachable by a router", try(away, rejected("10.0.0.1", 3, 0)), "peer", fail, codeRouter, `10.0.0.1, on the path, answers "network unreachable": a firewall there, or`, "that router"},
	{"host unreachable by a router, discovered", all(try(away, rejected("10.0.0.1", 3, 1)), discovered), "peer", fail, codeRouter, `10.0.0.1, on the path, answers "host unreachable"`, "that router"},
	{"a loop", try(away, rejected("10.0.0.1", 11, 0)), "peer", fail, codeRouter, "packets go in circles: 10.0.0.1", "a route is wrong"},
	{"unknown code", try(far, rejected("10.0.0.9", 3, 77)), "peer", fail, codeFirewall, `a firewall rejects: 10.0.0.9 answers "unreachable"`, "let UDP port 7373 in"},

	{"refused, no more is known", try(far, refused(hearing, syscall.ECONNREFUSED)), "peer", fail, codeClosed, "nothing listens on UDP port 7373 there, or a firewall rejects", "Start the app"},
	{"refused on Windows", try(far, refused(hearing, wsaReset)), "peer", fail, codeClosed, "nothing listens on UDP port 7373 there, or a firewall rejects", "Start the app"},
	{"refused, discovered", all(try(far, refused(hearing, syscall.ECONNREFUSED)), discovered), "peer", fail, codeFirewall, "a firewall rejects", "Let UDP port 7373 in"},
	{"unreachable, no more is known", try(far, refused(hearing, syscall.EHOSTUNREACH)), "peer", fail, codeNoHost, "no device answers for that address, or a firewall rejects", "firewall"},
	{"unreachable on macOS", all(try(far, refused(sending, syscall.EHOSTUNREACH)), func(f *facts) { f.system = "darwin" }), "peer", fail, codeNoHost, "no device answers for that address, or a firewall rejects", "Local Network"},
	{"odd number", try(far, refused(sending, syscall.EIO)), "peer", fail, codeForeign, "input/output error", "refuses"},

	{"path MTU", try(away, wayFacts{large: knock{doing: hearing, err: op(syscall.EMSGSIZE), reject: &reject{from: netip.MustParseAddr("10.0.0.1"), kind: 3, code: 4, mtu: 1100}}}),
		"peer", fail, codeMTU, `do not fit the path, according to 10.0.0.1 (fragmentation needed); the MTU is 1100`, "to 1280 or more"},
	{"path MTU, IPv6", try(far6, wayFacts{large: knock{doing: hearing, err: op(syscall.EMSGSIZE), reject: &reject{from: netip.MustParseAddr("fd00::1"), kind: 2, v6: true, mtu: 1100}}}),
		"peer", fail, codeMTU, "do not fit the path, according to fd00::1 (packet too big)", "to 1280 or more"},
	{"interface MTU", try(far, wayFacts{large: knock{doing: sending, err: op(syscall.EMSGSIZE), reject: &reject{kind: 3, code: 4, mtu: 1000}}}),
		"peer", fail, codeMTU, "do not fit this host's interface; the MTU is 1000", "to 1280 or more"},
	{"interface MTU on Windows", try(far, wayFacts{large: knock{doing: sending, err: op(wsaTooLarge)}}), "peer", fail, codeMTU, "do not fit this host's interface", "to 1280 or more"},
	{"black hole", try(far, wayFacts{small: knock{sent: 1, answered: true}, large: knock{sent: 6}}), "peer", fail, codeMTU, "small packets are answered, but those of 1200 bytes, with which QUIC begins, are lost", "Raise its MTU"},
	{"the way back", try(far, wayFacts{small: knock{sent: 1, answered: true}, large: knock{sent: 1, answered: true}}), "peer", fail, codeHandshake, "although a node is there", "on the path, most likely on the way back"},
	{"dropped", all(try(far, wayFacts{}), func(f *facts) { f.neighbors = []neighbor{{far.Addr(), 2, true, true}} }), "peer", fail, codeFirewall, "no answer in 3s, although the device is there: its network card answers", "Its firewall drops UDP port 7373"},
	{"dropped, discovered", all(try(far, wayFacts{}), discovered), "peer", fail, codeFirewall, "although the device is there: it announces itself", "Its firewall drops UDP port 7373"},
	{"silent elsewhere, discovered", all(try(away, wayFacts{}), discovered), "peer", fail, codeSilent, "no answer in 3s", "Does its firewall let UDP port 7373 in?"},
	{"silent", try(away, wayFacts{}), "peer", fail, codeSilent, "no answer in 3s", "Does its firewall let UDP port 7373 in?"},
}

// prohibitions are the codes of ICMP and ICMPv6 that only firewalls send.
func prohibitions() (all []fault) {
	for code, text := range map[uint8]string{9: "network prohibited", 10: "host prohibited", 13: "administratively prohibited", 2: "protocol unreachable"} {
		all = append(all,
			fault{"ICMP " + text, try(far, rejected("10.0.0.9", 3, code)), "peer", fail, codeFirewall, fmt.Sprintf("a firewall rejects: 10.0.0.9 answers %q", text), "Its firewall has to let UDP port 7373 in"},
			fault{"ICMP on the way " + text, try(away, rejected("10.0.0.1", 3, code)), "peer", fail, codeFirewall, fmt.Sprintf("a firewall rejects: 10.0.0.1, on the path, answers %q", text), "The firewall of 10.0.0.1 has to let"})
	}
	for code, text := range map[uint8]string{1: "administratively prohibited", 5: "source address failed policy", 6: "reject route"} {
		all = append(all, fault{"ICMPv6 " + text, try(far6, rejected("fd00::9", 1, code)), "peer", fail, codeFirewall, fmt.Sprintf("a firewall rejects: fd00::9 answers %q", text), "Its firewall has to let UDP port 7373 in"})
	}
	return all
}

// named says that a name was looked up without success.
func named(err error) func(*facts) {
	return func(f *facts) { f.peer = &peerFacts{target: target{host: "laptop"}, lookupErr: err} }
}

// sought says that discovery looked for a peer.
func sought(change func(*peerFacts)) func(*facts) {
	return func(f *facts) {
		f.peer = &peerFacts{target: target{peer: identity.New().Remote()}}
		change(f.peer)
	}
}

// own is an attempt that this host itself rejected.
func own(err error, kind, code uint8) wayFacts {
	w := rejected("10.0.0.7", kind, code)
	w.small.doing, w.small.err = sending, op(err)
	return w
}

// Each fault has a line that names its cause, and no line blames a firewall for
// any other fault.
func TestFaults(t *testing.T) {
	f := healthy()
	for _, c := range f.diagnose() {
		require.Equal(t, check{c.Topic, c.Subject, fine, codeOK, c.Value, ""}, c, "a healthy host has no fault")
	}
	told := map[code]bool{codeOK: true}
	for _, fault := range append(append(faults, peerFaults...), prohibitions()...) {
		t.Run(fault.name, func(t *testing.T) {
			f := healthy()
			fault.facts(f)
			r := f.report()
			var bad []check
			for _, c := range r.Checks {
				require.Equal(t, c.Verdict == fine, c.Code == codeOK, c)
				require.Equal(t, c.Verdict == fine, c.Advice == "", c)
				require.True(t, strings.HasSuffix(strings.TrimSuffix(c.Advice, "\""), ".") || c.Advice == "" || strings.HasSuffix(c.Advice, "?"), c.Advice)
				if c.Topic == fault.topic && c.Verdict != fine {
					bad = append(bad, c)
				}
			}
			require.NotEmpty(t, bad, r.Checks)
			c := bad[0]
			require.Equal(t, fault.verdict, c.Verdict, c)
			require.Equal(t, fault.code, c.Code, c)
			require.Contains(t, c.Value, fault.says)
			require.Contains(t, c.Advice, fault.advises)
			require.NotEqual(t, fine, r.Verdict)
			var asJSON bytes.Buffer
			require.NoError(t, writeJSON(&asJSON, r))
			require.Equal(t, r.Checks, decoded(t, asJSON.String()).Checks)
			told[c.Code] = true
			if !f.connected() { // no firewall is to blame for this
				for _, c := range r.Checks {
					require.NotContains(t, c.Value+c.Advice, "irewall")
				}
			}
			if c.Code == codeBlockedOut && f.system == "linux" {
				require.Contains(t, c.Advice, "allow out")
			}
		})
	}
	beyond := false // TestDoctorRelayFaults covers the codes for what is beyond the local network
	for _, c := range codes {
		beyond = beyond || c.code == codeNoToken
		require.True(t, told[c.code] || beyond, "no fault leads to %s", c.code)
		delete(told, c.code)
		require.Contains(t, "\n"+codesHelp(), "\n    "+string(c.code)+" ")
	}
	require.Empty(t, told, "these codes are not documented")
}

// The codes that the guide explains all exist.
func TestGuideCodes(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide.md")
	require.NoError(t, err)
	_, chapter, ok := strings.Cut(string(text), "### The doctor")
	require.True(t, ok)
	named := 0
	for _, row := range regexp.MustCompile(`(?m)^\|[^|]*\|([^|]*`+"`"+`[^|]*)\|`).FindAllStringSubmatch(chapter, -1) {
		for _, name := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(row[1], -1) {
			named++
			require.True(t, slices.ContainsFunc(codes, func(c struct {
				code  code
				about string
			}) bool {
				return string(c.code) == name[1]
			}), name[1])
		}
	}
	require.Greater(t, named, 10)
}
