package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/text"
	"github.com/sdp2p/p2p/quic"
)

// peerChecks says how the peer was found, and whether each of its addresses
// works.
func (f *facts) peerChecks() (checks []check) {
	p := f.peer
	if p == nil {
		return nil
	}
	switch {
	case !p.peer.IsZero():
		c := f.discovery(p)
		if f.outside.reached() && c.Verdict == fail { // the peer is elsewhere
			c.Verdict, c.Code, c.Advice = fine, codeOK, ""
			c.Value += ": it is reached through a relay"
		}
		checks = append(checks, c)
	case p.host != "":
		checks = append(checks, f.name(p))
	}
	for _, w := range p.ways {
		c := check{"peer", w.addr.String(), fine, codeOK, "", ""}
		if w.err != nil {
			c.Verdict = fail
			if p.reached() {
				c.Verdict = warn // there is a way
			}
			f.explain(&w, p.found(w.addr), &c)
		} else {
			c.Value = fmt.Sprintf("reached in %v", round(w.there.took))
			if w.there.rtt > 0 {
				c.Value += fmt.Sprintf(" (round trip %v)", round(w.there.rtt))
			}
			c.Value += ": " + w.there.String()
		}
		checks = append(checks, c)
		if w.lane.port != 0 {
			checks = append(checks, w.laneCheck())
		}
	}
	return checks
}

// laneCheck says whether the peer can be reached over TCP. If it is reached
// over UDP only, files are slower, and that is all.
func (w *wayFacts) laneCheck() check {
	l := w.lane
	c := check{"peer", fmt.Sprintf("%v, lanes", netip.AddrPortFrom(w.addr.Addr(), l.port)), fine, codeOK, fmt.Sprintf("TCP answers in %v", round(l.took)), ""}
	if l.err == nil {
		return c
	}
	c.Verdict, c.Code, c.Value = warn, codeLaneSilent, fmt.Sprintf("no answer over TCP in %v", round(l.took))
	if isAny(l.err, syscall.ECONNREFUSED, wsaRefused) {
		c.Code, c.Value = codeLaneClosed, "TCP is refused"
	}
	c.Advice = fmt.Sprintf("Its firewall has to let TCP port %d in. Without it, only files are slower if UDP gets through.", l.port)
	return c
}

// name says what the lookup of a host name returned.
func (f *facts) name(p *peerFacts) check {
	if len(p.addrs) > 0 {
		return check{"peer", p.host, fine, codeOK, text.Count(len(p.addrs), "address", "addresses"), ""}
	}
	c := check{"peer", p.host, fail, codeNoName, "the name leads nowhere", ""}
	c.Advice = "Is it spelled right? Names that end in .local need Multicast DNS in this system; an IP address always works."
	var failed *net.DNSError
	switch {
	case !f.connected():
		c.Code, c.Value, c.Advice = codeNoInterface, "not looked up: this host is in no network", "See the lines about interfaces."
	case errors.As(p.lookupErr, &failed) && failed.IsNotFound:
		c.Value = "there is no such name"
	case p.late || errors.As(p.lookupErr, &failed) && failed.IsTimeout:
		c.Code, c.Value = codeNoNameServer, "no name server answers"
		c.Advice = "Is the name server (DNS) of this host right, and does its firewall let UDP port 53 out? An IP address works without one."
	case p.lookupErr != nil:
		c.Value = p.lookupErr.Error()
	}
	return c
}

// discovery says whether a peer was discovered.
func (f *facts) discovery(p *peerFacts) check {
	c := check{"peer", p.peer.String(), fail, codeUnannounced, "", ""}
	heard := 0
	for _, x := range f.ears {
		heard += len(x.sources)
	}
	switch {
	case len(p.addrs) > 0:
		c.Verdict, c.Code, c.Value = fine, codeOK, fmt.Sprintf("discovered, with %s", text.Count(len(p.addrs), "address", "addresses"))
	case p.discovered:
		c.Code, c.Value = codeNoAddress, "discovered, but with no address that this host can dial"
		c.Advice = "Is the peer in this network, and does it have an address of a family that this host has?"
	case len(f.used()) == 0:
		c.Code, c.Value, c.Advice = codeNoInterface, "not looked for: no interface can be used", "See the lines about interfaces."
	case p.startErr != nil:
		c.Code, c.Value, c.Advice = codeNoDiscovery, fmt.Sprintf("discovery does not start: %v", p.startErr), "See the lines about multicast."
	default:
		c.Value = fmt.Sprintf("nobody announced it in %v", f.wait)
		c.Advice = "Nor was anybody else heard: see the lines about multicast. "
		if heard > 0 {
			c.Advice = "Others were heard: is it on, in this network, and is its discovery enabled, for this --app? "
		}
		if f.contacts.hidden > 0 {
			c.Advice += "It may be visible to its contacts only: --key and --contact show whether a contact is here. "
		}
		c.Advice += "Run the doctor there, too. With its address (sdp2p doctor ADDRESS), discovery is not needed."
	}
	return c
}

// explain says why an address, which discovery may have found, did not lead to
// the peer, and what to do.
func (f *facts) explain(w *wayFacts, found bool, c *check) {
	say := func(code code, value, advice string) { c.Code, c.Value, c.Advice = code, value, advice }
	switch {
	case errors.Is(w.err, quic.ErrOtherPeer):
		say(codeOtherPeer, "another peer is there: "+w.there.String(),
			"The address has passed on to another device, or somebody announces it falsely. Restart the app on the right device.")
	case errors.Is(w.err, quic.ErrLinkLocal):
		say(codeNoZone, "not tried: a link-local IPv6 address needs an interface",
			"Name it, as in [fe80::1%eth0]:7373, or use another address of the peer: IPv4, or IPv6 that begins with 2, 3 or fd.")
	case errors.Is(w.err, quic.ErrDisabled):
		say(codeNoFamily, "not tried: this host does not have the address family", "Use another address of the peer, or enable the family in this system.")
	case errors.Is(w.err, p2p.ErrConnectionLost):
		say(codeCloses, "a node is there, but closes the connection",
			"The path works. The app there admits only nodes that it knows (p2p.Config.Allow), which never include the doctor; or it was shutting down.")
	case w.small.err != nil:
		f.explainError(w, &w.small, found, c)
	case w.large.err != nil:
		f.explainError(w, &w.large, found, c)
	case !isSilence(w.err) && !f.clock.valid():
		say(codeClock, "not reached: "+w.err.Error(), "By this host's clock, no certificate is valid: see the line about it.")
	case !isSilence(w.err):
		say(codeForeign, w.err.Error(), fmt.Sprintf("Something answers, but not as a node does: another program, or a device whose clock is before %d.", validFrom.Year()))
	default:
		f.explainSilence(w, found, c)
	}
}

// explainError says why the system or the network refused packets.
func (f *facts) explainError(w *wayFacts, k *knock, found bool, c *check) {
	port := w.addr.Port()
	switch own := k.reject == nil || f.owns(k.reject.from); {
	case k.isTooLarge():
		f.explainSize(w, k, c)
	case k.doing == routing:
		f.explainRoute(k, c)
	case k.doing == sending && own && isRefused(k.err), k.reject != nil && own && k.reject.class() == prohibited && k.reject.from != w.addr.Addr():
		c.Code, c.Value = codeBlockedOut, fmt.Sprintf("this host does not let packets out: %v", k.err)
		c.Advice = fmt.Sprintf("A rule of it, most often of its firewall, drops packets that it sends to UDP port %d: %s", port, letOut(f.system, port))
	case k.reject != nil:
		f.explainReject(w, k.reject, found, c)
	default:
		f.explainErrno(w, k.err, found, c)
	}
}

// explainSize says that QUIC's packets do not fit.
func (f *facts) explainSize(w *wayFacts, k *knock, c *check) {
	c.Code = codeMTU
	c.Value = fmt.Sprintf("packets of %d bytes, with which QUIC begins, do not fit this host's interface", knockLarge)
	if k.reject != nil && k.reject.from.IsValid() {
		c.Value = fmt.Sprintf("packets of %d bytes, with which QUIC begins, do not fit the path, according to %v (%v)", knockLarge, k.reject.from, k.reject)
	}
	if k.reject != nil && k.reject.mtu > 0 {
		c.Value += fmt.Sprintf("; the MTU is %d", k.reject.mtu)
	}
	c.Advice = fmt.Sprintf("Raise the MTU of that link, most often a tunnel or a VPN, to %d or more.", mtuWanted)
}

// explainRoute says that no route leads there.
func (f *facts) explainRoute(k *knock, c *check) {
	c.Code = codeNoRoute
	switch {
	case !f.connected():
		c.Code, c.Value, c.Advice = codeNoInterface, "no route: this host is in no network", "See the lines about interfaces."
	case isNoFamily(k.err):
		c.Code, c.Value, c.Advice = codeNoFamily, "no route: this host has no address of the family", "Use another address of the peer, or enable the family in this system."
	case isAny(k.err, syscall.EACCES, syscall.EPERM, syscall.EINVAL, syscall.EHOSTUNREACH):
		c.Value = fmt.Sprintf("a route of this host forbids it: %v", k.err)
		c.Advice = "It is of type prohibit, blackhole or unreachable: \"ip route\" shows it. A VPN may have set it."
	default:
		c.Value = "no route: no network of this host leads there"
		c.Advice = "Connect this host to the peer's network, or use an address of the peer in one that this host has."
	}
}

// explainReject says what an ICMP message means, depending on its sender.
func (f *facts) explainReject(w *wayFacts, r *reject, found bool, c *check) {
	host, port := w.addr.Addr().WithZone(""), w.addr.Port()
	fromHost, fromHere := r.from == host, r.from != host && f.owns(r.from)
	c.Code = codeFirewall
	said := fmt.Sprintf("%v answers %q", host, r)
	c.Advice = fmt.Sprintf("The device is there. Its firewall has to let UDP port %d in. Run the doctor there.", port)
	if !fromHost {
		said = fmt.Sprintf("%v, on the path, answers %q", r.from, r)
		c.Advice = fmt.Sprintf("The firewall of %v has to let UDP port %d through.", r.from, port)
	}
	switch r.class() {
	case closedPort:
		switch {
		case found:
			c.Value = fmt.Sprintf("a firewall rejects: %s, although discovery has found exactly that port", said)
		case fromHost:
			c.Code, c.Value = codeClosed, fmt.Sprintf("refused: %s: nothing on it listens on UDP port %d, or its firewall rejects that", said, port)
			c.Advice = "Start the app there. Is it the right port? \"sdp2p scan\" in its network shows it. If it is, look at the firewall there."
		default:
			c.Value = "a firewall rejects: " + said
		}
	case noHost, noWay:
		f.explainUnreachable(said, fromHost, fromHere, found, c)
	case goingRound:
		c.Code, c.Value = codeRouter, fmt.Sprintf("packets go in circles: %s", said)
		c.Advice = "Two routers send them to each other: a route is wrong there."
	default:
		c.Value = "a firewall rejects: " + said
	}
}

// explainUnreachable explains a message that the host is unreachable, depending
// on its sender.
func (f *facts) explainUnreachable(said string, fromHost, fromHere, found bool, c *check) {
	switch {
	case fromHost: // it can be reached
		c.Value = fmt.Sprintf("a firewall rejects: %s of itself", said)
	case fromHere && found:
		c.Code, c.Value = codeNoHost, "no device answers for that address, although it was discovered with it"
		c.Advice = "Wi-Fi may isolate the devices (guest network, client isolation), or it has just gone."
	case fromHere:
		c.Code, c.Value = codeNoHost, "no device answers for that address"
		c.Advice = "Is the device on, in the same network, and does it still have that address? Wi-Fi may isolate devices (guest network, client isolation)."
	default: // even if discovered: a device may announce addresses that do not lead to it from everywhere
		c.Code, c.Value = codeRouter, fmt.Sprintf("rejected by a router: %s: a firewall there, or no route to a device with that address", said)
		c.Advice = "Is the device on, and does it still have that address? Otherwise look at the firewall and the routes of that router."
	}
}

// explainErrno does the same if the system only returns an error number.
func (f *facts) explainErrno(w *wayFacts, err error, found bool, c *check) {
	port := w.addr.Port()
	c.Code, c.Value = codeForeign, err.Error()
	c.Advice = "The system refuses to send there."
	switch {
	case isAny(err, syscall.ECONNREFUSED, wsaReset) && found:
		c.Code, c.Value = codeFirewall, "a firewall rejects: \"port unreachable\", although discovery has found exactly that port"
		c.Advice = fmt.Sprintf("Let UDP port %d in at the device's firewall. Run the doctor there.", port)
	case isAny(err, syscall.ECONNREFUSED, wsaReset):
		c.Code, c.Value = codeClosed, fmt.Sprintf("refused: nothing listens on UDP port %d there, or a firewall rejects that", port)
		c.Advice = "Start the app there. Is it the right port? \"sdp2p scan\" in its network shows it. If it is, look at the firewall there."
	case isNoRoute(err) || isAny(err, syscall.EHOSTUNREACH, syscall.EHOSTDOWN, wsaHostUnreach):
		c.Code, c.Value = codeNoHost, fmt.Sprintf("not reached: %v: no device answers for that address, or a firewall rejects", err)
		c.Advice = "Is the device on, in the same network, and does it still have that address? If it is, its firewall, one on the path, or Wi-Fi isolates it."
		if f.system == "darwin" {
			c.Advice += " Or this app may not use the local network: System Settings, Privacy & Security, Local Network."
		}
	}
}

// explainSilence says why nothing may have come back at all.
func (f *facts) explainSilence(w *wayFacts, found bool, c *check) {
	port, link := w.addr.Port(), f.linkTo(w.addr.Addr())
	c.Code, c.Value = codeSilent, fmt.Sprintf("no answer in %v", round(w.there.took))
	switch {
	case w.small.answered && !w.large.answered && w.large.sent > 1:
		c.Code = codeMTU
		c.Value = fmt.Sprintf("small packets are answered, but those of %d bytes, with which QUIC begins, are lost silently", knockLarge)
		c.Advice = fmt.Sprintf("A link on the path, most often a tunnel or a VPN, does not carry packets of that size, and a firewall drops the message that says so. "+
			"Raise its MTU to %d or more.", mtuWanted)
	case w.small.answered:
		c.Code, c.Value = codeHandshake, c.Value+" to a handshake, although a node is there: it answers other packets"
		c.Advice = fmt.Sprintf("Packets of %d bytes may get lost on the path, most likely on the way back: the MTU of a tunnel or a VPN has to be %d or more. "+
			"Or the node has no room for strangers at the moment: try again.", knockLarge, mtuWanted)
	case !f.connected() && !f.owns(w.addr.Addr()):
		c.Code, c.Advice = codeNoInterface, "This host is in no network: see the lines about interfaces."
	case link != nil && (found || f.alive(w.addr.Addr())):
		sign := "its network card answers"
		if found {
			sign = "it announces itself"
		}
		c.Code, c.Value = codeFirewall, fmt.Sprintf("%s, although the device is there: %s", c.Value, sign)
		c.Advice = fmt.Sprintf("Its firewall drops UDP port %d, or Wi-Fi isolates devices (guest network): without a firewall, the host would say that nothing listens. Run the doctor there.", port)
	default:
		c.Advice = fmt.Sprintf("Is the device on, the app running, and this its address? Does its firewall let UDP port %d in? Is there Wi-Fi that isolates devices (guest network), "+
			"a VPN, or a path that does not carry packets of %d bytes in between? Run the doctor there.", port, knockLarge)
	}
}
