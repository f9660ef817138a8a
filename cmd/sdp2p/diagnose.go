package main

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"
)

// diagnose returns the checks that follow from the facts, in the order of the
// table.
func (f *facts) diagnose() (all []check) {
	all = append(f.interfaces(), f.container()...)
	return slices.Concat(all, f.multicast(), f.udp(), f.socket.checks(), f.clock.checks(), f.contacts.checks(f), f.outsideChecks(), f.peerChecks())
}

// interfaces describes the interfaces that are up.
func (f *facts) interfaces() (checks []check) {
	if f.listErr != nil {
		return []check{{"interfaces", "", fail, codeUnlisted, fmt.Sprintf("cannot be listed: %v", f.listErr),
			"The system refuses it: a sandbox, or on Android the permissions of the app."}}
	}
	for _, l := range f.links {
		if l.Up {
			checks = append(checks, f.link(&l))
		}
	}
	if len(f.used()) == 0 {
		checks = append(checks, f.nothingUsed())
	}
	return checks
}

const (
	mtuWanted = 1280 // bytes; IPv6 requires it (RFC 8200 §5)
	mtuNeeded = 20 + 8 + knockLarge
)

// link describes an interface that is up.
func (f *facts) link(l *linkFacts) check {
	var parts []string
	for _, p := range l.Addrs {
		parts = append(parts, p.String())
	}
	use := "used"
	if why := f.unused(l); why != "" {
		use = "not used: " + why
	}
	c := check{"interfaces", l.Name, fine, codeOK, strings.Join(append(parts, use), ", "), ""}
	if l.MTU <= 0 || l.MTU >= mtuWanted || len(l.Addrs) == 0 {
		return c
	}
	c.Verdict, c.Code = warn, codeMTU
	c.Value += fmt.Sprintf(", MTU %d", l.MTU)
	c.Advice = fmt.Sprintf("IPv6 needs an MTU of %d. Set it to that or more, at best to 1500.", mtuWanted)
	if l.MTU < mtuNeeded {
		c.Advice = fmt.Sprintf("QUIC begins with packets that need an MTU of %d, and cannot use this interface. Set it to %d or more, at best to 1500.", mtuNeeded, mtuWanted)
		if use == "used" {
			c.Verdict = fail
		}
	}
	return c
}

// nothingUsed says why no interface can be used.
func (f *facts) nothingUsed() check {
	c := check{"interfaces", f.on, fail, codeNoInterface, "", ""}
	var names, states []string
	for _, l := range f.links {
		names = append(names, l.Name)
		state := ""
		switch {
		case l.Up && len(l.Addrs) == 0:
			state = "has no address"
		case l.Up:
		case l.enabled:
			state = "has no carrier: no cable, or no Wi-Fi"
		default:
			state = "is switched off"
		}
		if l.Name == f.on {
			c.Value = "it " + state
			c.Advice = "Switch it on, plug it in, and see that it gets an address."
			return c
		}
		if state != "" && !l.Loopback {
			states = append(states, l.Name+" "+state)
		}
	}
	if f.on != "" {
		c.Value, c.Advice = "there is no such interface", "There are: "+strings.Join(names, " ")+"."
		return c
	}
	c.Value = strings.Join(append([]string{"none is up, has an address and supports multicast"}, states...), "; ")
	c.Advice = "Connect this host to a network by Wi-Fi or cable. Peers behind a VPN need a typed-in address."
	return c
}

// udp judges the port.
func (f *facts) udp() (checks []check) {
	for _, p := range f.ports {
		c := check{"port", fmt.Sprintf("%d %v", f.port, p.family), fine, codeOK, "free", ""}
		switch {
		case p.err == nil:
		case isNoFamily(p.err):
			c.Value = "this host does not have the family"
		case p.holder != nil:
			c.Value = "in use by the node " + p.holder.String()
		case isInUse(p.err):
			c.Verdict, c.Code, c.Value = fail, codePortTaken, "in use, but not by a node that can be reached"
			c.Advice = "Choose another quic.Config.Port, or 0 for a free one; or end the program that has it. " + whoHas(f.system, f.port)
		case isRefused(p.err):
			c.Verdict, c.Code, c.Value = fail, codeRefused, p.err.Error()
			c.Advice = "On most systems, ports below 1024 are reserved for the administrator: choose a higher one."
		default:
			c.Verdict, c.Code, c.Value = fail, codeRefused, p.err.Error()
			c.Advice = "The system refuses the socket: a sandbox, or too many open files."
		}
		checks = append(checks, c)
		for _, a := range p.arrivals {
			checks = append(checks, f.arrival(a))
		}
	}
	return checks
}

// arrival judges a packet that this host sent to itself.
func (f *facts) arrival(a arrival) check {
	c := check{"port", netip.AddrPortFrom(a.to, f.port).String(), fail, codeBlockedIn, "", ""}
	switch {
	case a.arrived:
		c.Verdict, c.Code, c.Value = fine, codeOK, fmt.Sprintf("reached from %v in %v", a.from, round(a.took))
	case !a.socket:
		c.Verdict, c.Code, c.Value = warn, codeRefused, "not tried: no socket for another address of this host"
		c.Advice = "The system refuses the socket: a sandbox, or too many open files."
	case isRefused(a.err):
		c.Code = codeBlockedOut
		c.Value = fmt.Sprintf("cannot send from %v: %v", a.from, a.err)
		c.Advice = fmt.Sprintf("A rule of this host, most often its firewall's, drops packets that it sends to UDP port %d: %s", f.port, letOut(f.system, f.port))
	case a.err != nil:
		c.Code = codeLoopback
		c.Value = fmt.Sprintf("cannot send from %v: %v", a.from, a.err)
		c.Advice = "Packets of a host to itself use the loopback interface. Is it up?"
	case slices.ContainsFunc(f.links, func(l linkFacts) bool { return l.Loopback && !l.Up }):
		c.Code = codeLoopback
		c.Value = fmt.Sprintf("a packet from %v does not arrive: the loopback interface is down", a.from)
		c.Advice = "Packets of a host to itself use it. Switch it on."
	default:
		c.Value = fmt.Sprintf("a packet from %v does not arrive", a.from)
		c.Advice = fmt.Sprintf("Something on this host, most often its firewall, drops packets that arrive at UDP port %d: %s", f.port, letIn(f.system, f.port))
	}
	return c
}

// bufferWanted is the size in bytes of the buffers that quic-go requests for a
// socket in each direction.
const bufferWanted = 7 << 20

// checks judges the buffers and features of a socket.
func (s *socketFacts) checks() []check {
	if !s.asked {
		return []check{
			{"socket", "buffers", fine, codeOK, "not applicable on " + runtime.GOOS, ""},
			{"socket", "GSO", fine, codeOK, "not applicable on " + runtime.GOOS, ""},
		}
	}
	if s.err != nil {
		return []check{{"socket", "", fail, codeRefused, s.err.Error(), "The system refuses the socket: a sandbox, or too many open files."}}
	}
	return []check{
		buffer("receive buffer", "rmem_max", s.in, s.inErr),
		buffer("send buffer", "wmem_max", s.out, s.outErr),
		segmentation(s.segmentation, s.disabled),
	}
}

// buffer judges the size granted, which Linux doubles, since it needs room of
// its own.
func buffer(subject, limit string, granted int, err error) check {
	c := check{"socket", subject, fine, codeOK, fmt.Sprintf("%d KiB of %d wanted", granted>>10, bufferWanted>>10), ""}
	if err != nil {
		c.Verdict, c.Code, c.Value = warn, codeBuffers, err.Error()
	} else if granted < bufferWanted {
		c.Verdict, c.Code = warn, codeBuffers
		c.Advice = fmt.Sprintf("Fast transfers lose packets and become slow. \"sysctl -w net.core.%s=7500000\" as root; a file in /etc/sysctl.d makes it last.", limit)
	}
	return c
}

// segmentation judges UDP_SEGMENT: whether the kernel splits large writes into
// packets.
func segmentation(err error, disabled bool) check {
	c := check{"socket", "GSO", fine, codeOK, "on", ""}
	switch {
	case disabled:
		c.Verdict, c.Code, c.Value = warn, codeNoGSO, "switched off by QUIC_GO_DISABLE_GSO"
		c.Advice = "Sending takes more CPU. Unset it, unless the driver needs it."
	case err != nil:
		c.Verdict, c.Code, c.Value = warn, codeNoGSO, "not available: "+err.Error()
		c.Advice = "Sending takes more CPU. Linux has it since version 4.18."
	}
	return c
}

// clockJump is how far the wall clock may deviate from elapsed time during a
// check-up.
const clockJump = 500 * time.Millisecond

// Nodes' certificates are valid between these times.
var (
	validFrom  = time.Date(1975, time.January, 1, 0, 0, 0, 0, time.UTC)
	validUntil = time.Date(4096, time.January, 1, 0, 0, 0, 0, time.UTC)
)

// valid reports whether certificates are valid, by this host's clock.
func (c *clockFacts) valid() bool { return !c.now.Before(validFrom) && c.now.Before(validUntil) }

// checks judges the wall clock.
func (c *clockFacts) checks() []check {
	value := c.now.UTC().Format(time.RFC3339)
	times := check{"clock", "time", fine, codeOK, value, ""}
	switch {
	case !c.valid():
		times.Verdict, times.Code = fail, codeClock
		times.Value = fmt.Sprintf("%s, when no certificate is valid", value)
		times.Advice = fmt.Sprintf("Set the clock, best by NTP. Nodes' certificates are valid from %d to %d: this host cannot connect to any node.", validFrom.Year(), validUntil.Year()-1)
	case c.now.Before(c.built):
		times.Verdict, times.Code = fail, codeClock
		times.Value = fmt.Sprintf("%s, but this program was made after %s", value, c.built.Format(time.DateOnly))
		times.Advice = "Set the clock, best by NTP. Nodes still connect, but libraries use it to tell which of two changes is later, and when an old secret expires."
	}
	steps := check{"clock", "steps", fine, codeOK, "none", ""}
	if by := c.now.Sub(c.began) - c.elapsed; by.Abs() > clockJump {
		steps.Verdict, steps.Code = warn, codeClockSteps
		steps.Value = fmt.Sprintf("it jumped by %v while this ran", by.Round(10*time.Millisecond))
		steps.Advice = "Something sets it, or the computer was asleep. If it happens again: two programs that set the clock, or a virtual machine without its guest tools."
	}
	return []check{times, steps}
}

// round rounds a duration for people.
func round(d time.Duration) time.Duration {
	for unit := time.Second; unit > time.Microsecond; unit /= 10 {
		if d >= unit {
			return d.Round(unit / 100)
		}
	}
	return d.Round(time.Microsecond)
}
