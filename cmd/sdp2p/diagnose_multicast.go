package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/text"
)

// treeTime is how long a switch with spanning tree may take until it forwards
// packets of a new device: twice 15 s (IEEE 802.1D), and some more until the
// device has an address.
const treeTime = 45 * time.Second

// multicast judges the multicast that was heard, and that the node with the
// port hears.
func (f *facts) multicast() (checks []check) {
	for _, x := range f.ears {
		checks = append(checks, f.ear(&x))
	}
	for _, l := range f.used() {
		if holder := f.holder(); holder != nil && l.empty == [2]bool{true, true} && !l.Loopback {
			checks = append(checks, check{"multicast", l.Name, warn, codeAppDeaf,
				fmt.Sprintf("the node at UDP port %d does not listen to multicast here: %v", f.port, holder),
				"Is its discovery enabled, and on this interface? If so, it ran out of multicast groups when it started: " + f.moreGroups()})
		}
	}
	return checks
}

// holder returns the node that has the port, or nil.
func (f *facts) holder() *resident {
	for _, p := range f.ports {
		if p.holder != nil {
			return p.holder
		}
	}
	return nil
}

// moreGroups says how to raise the limit of multicast groups.
func (f *facts) moreGroups() string {
	if f.system != "linux" {
		return "use fewer interfaces (mdns.Config.Interfaces)."
	}
	return fmt.Sprintf("\"sysctl -w net.ipv4.igmp_max_memberships=%d\" as root, or fewer interfaces (mdns.Config.Interfaces).", max(f.groups*5, 100))
}

// ear judges one interface over one family.
func (f *facts) ear(x *earFacts) check {
	c := check{"multicast", x.link.Name + " " + x.family.String(), fail, codeOK, "", ""}
	if x.err != nil {
		f.deafness(x, &c)
		return c
	}
	if x.back == 0 {
		c.Code = codeBlockedIn
		c.Value = "its own query does not come back; " + x.others()
		c.Advice = fmt.Sprintf("Something on this host, most often its firewall, drops packets that arrive at UDP port %d: %s", dnssd.Port, letIn(f.system, dnssd.Port))
		return c
	}
	c.Verdict, c.Value = fine, fmt.Sprintf("its own query came back after %v; %s", round(x.back), x.others())
	if x.packets == 0 && !x.link.Loopback {
		f.silence(x, &c)
	}
	return c
}

// deafness says why nothing can be sent or heard.
func (f *facts) deafness(x *earFacts, c *check) {
	c.Value = fmt.Sprintf("%s: %v", x.doing, x.err)
	switch {
	case errors.Is(x.err, syscall.EAFNOSUPPORT):
		c.Verdict, c.Value = fine, "this host has no "+x.family.String()
	case x.link.Loopback && isNoRoute(x.err):
		c.Verdict, c.Value = fine, "loopback has no multicast over "+x.family.String()+", as is common"
	case x.doing == opening && isInUse(x.err):
		c.Code, c.Value = codePortTaken, fmt.Sprintf("another program has UDP port %d exclusively", dnssd.Port)
		c.Advice = "End it, or make it share the port. " + whoHas(f.system, dnssd.Port)
	case x.doing == opening:
		c.Code = codeRefused
		c.Advice = fmt.Sprintf("The system refuses UDP port %d to this program: a sandbox, or a rule about programs or ports.", dnssd.Port)
	case x.doing == joining && (errors.Is(x.err, dnssd.ErrNoMembership) || isAny(x.err, syscall.ENOBUFS, syscall.ENOMEM, wsaNoBuffers)):
		c.Code = codeMemberships
		c.Value = fmt.Sprintf("deaf: %s: no membership is left after %s", x.doing, text.Count(x.joined, "interface", "interfaces"))
		if f.groups > 0 && x.family == dnssd.IPv4 {
			c.Value += fmt.Sprintf(", and net.ipv4.igmp_max_memberships is %d", f.groups)
		}
		c.Advice = "Nobody is discovered over this interface. Container networks use up the memberships: " + f.moreGroups()
	case x.doing == joining:
		c.Code, c.Value = codeDeaf, "deaf: "+c.Value
		c.Advice = "Nobody is discovered over this interface. Is it connected, and may this program use the local network?"
	case isRefused(x.err):
		c.Code = codeBlockedOut
		c.Advice = fmt.Sprintf("A rule of this host, most often its firewall's, drops packets that it sends to UDP port %d: %s", dnssd.Port, letOut(f.system, dnssd.Port))
	case f.system == "darwin" && isAny(x.err, syscall.EHOSTUNREACH):
		c.Code = codeBlockedOut
		c.Advice = "The app may not use the local network, or the interface has lost it: " + letOut(f.system, dnssd.Port)
	case isAny(x.err, syscall.EADDRNOTAVAIL):
		c.Code = codeMute
		c.Advice = "The system is still checking whether another device has the address, or one has. Run the doctor again; if this persists, give this host another address."
	default:
		c.Code = codeMute
		c.Advice = "Discovery does not work over this interface. Is it connected, and does it have a route for multicast?"
	}
}

// silence says why no multicast from others may have arrived although our own
// does.
func (f *facts) silence(x *earFacts, c *check) {
	direct, otherFamily := x.direct, false
	for _, o := range f.ears {
		if o.link.Index == x.link.Index && o.family != x.family {
			otherFamily = o.packets > 0
			if len(direct) == 0 && !otherFamily {
				direct = o.direct
			}
		}
	}
	met, announced := f.met(x)
	link := f.linkFacts(x.link.Index)
	switch {
	case len(direct) > 0 || announced && !otherFamily:
		c.Verdict, c.Code = fail, codeSnooping
		if otherFamily {
			c.Verdict = warn // it can be reached
		}
		c.Value += "; but " + somebody(direct, met) + " by unicast"
		c.Advice = "The network drops multicast: IGMP or MLD snooping in a switch without a querier, or an access point that filters it. " +
			"Switch that off, or a querier on. A typed-in address works: \"sdp2p doctor ADDRESS\"."
	case otherFamily: // one silent family is common
	case met.IsValid():
		c.Verdict, c.Code = warn, codeSnooping
		c.Value += fmt.Sprintf("; but %v was reached by unicast", met)
		c.Advice = "If discovery is enabled there, the network drops multicast: IGMP snooping in a switch without a querier, or an access point " +
			"that filters it. Switch that off, or a querier on. A typed-in address works."
	case len(f.container()) > 0:
		c.Verdict, c.Code = warn, codeUnheard
		c.Advice = "This is expected: see the line about the container."
	case link != nil && link.age > 0 && link.age < treeTime:
		c.Verdict, c.Code = warn, codeSpanningTree
		c.Value += fmt.Sprintf("; the interface got its address %v ago", round(link.age))
		c.Advice = "A switch with spanning tree forwards nothing for 30 s after a cable was plugged in. Run the doctor again in " +
			fmt.Sprintf("%v; if others are heard then, make the port of the switch an edge port (portfast).", round((treeTime-link.age).Truncate(time.Second)+time.Second))
	default:
		c.Verdict, c.Code = warn, codeUnheard
		advice := "If there are other devices: "
		if n := f.devices(link); n > 0 {
			c.Value += fmt.Sprintf("; the system knows %s there", text.Count(n, "other device", "other devices"))
			advice = "If one of them announces something: "
		}
		c.Advice = advice + "Wi-Fi that isolates them (guest network, client isolation), a switch that drops multicast (IGMP snooping), a firewall " +
			"here or there that drops UDP port 5353 from outside, or a network with nobody else in it, such as a Docker bridge."
	}
}

// met returns a device that was reached by unicast but sends no multicast, and
// whether the device announces itself.
func (f *facts) met(x *earFacts) (met netip.Addr, announced bool) {
	if f.peer == nil {
		return met, false
	}
	for _, w := range f.peer.ways {
		a := w.addr.Addr()
		l := f.linkTo(a)
		if w.err == nil && !f.owns(a) && l != nil && l.Index == x.link.Index {
			return a, f.peer.found(w.addr)
		}
	}
	return met, false
}

// linkFacts returns the facts about an interface, or nil.
func (f *facts) linkFacts(index int) *linkFacts {
	i := slices.IndexFunc(f.links, func(l linkFacts) bool { return l.Index == index })
	if i < 0 {
		return nil
	}
	return &f.links[i]
}

// somebody names devices that answer.
func somebody(direct []netip.Addr, met netip.Addr) string {
	if len(direct) == 0 {
		return fmt.Sprintf("%v answers", met)
	}
	var names []string
	for _, a := range direct[:min(len(direct), 3)] {
		names = append(names, a.String())
	}
	if len(direct) > 3 {
		names = append(names, "…")
	}
	return strings.Join(names, ", ") + map[bool]string{true: " answers", false: " answer"}[len(direct) == 1]
}

// others describes what was heard.
func (x *earFacts) others() string {
	s := "nothing from others"
	if x.link.Loopback {
		s = "there are no others on loopback"
	}
	if len(x.sources) > 0 {
		s = fmt.Sprintf("%d from %d others: ", x.packets, len(x.sources))
		for i, o := range x.sources[:min(len(x.sources), 3)] {
			s += []string{"", ", "}[min(i, 1)] + fmt.Sprintf("%v (%d)", o.Source, o.Packets)
		}
		if len(x.sources) > 3 {
			s += " …"
		}
	}
	if x.local > 0 {
		s += fmt.Sprintf("; %d from programs on this host", x.local)
	}
	return s
}
