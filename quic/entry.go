package quic

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// An entry is the parsed form of a manual peer: an address, or a name that is
// looked up at each attempt.
type entry struct {
	text string
	addr netip.Addr // if host is ""
	host string
	port uint16
}

// parseEntry parses "host", "host:port", "ip", "ip:port" or "[ipv6]:port".
func parseEntry(text string) (entry, error) {
	fail := func(why string) (entry, error) {
		return entry{}, fmt.Errorf("quic: manual peer %q: %s; expected host, host:port, ip, ip:port or [ipv6]:port", text, why)
	}
	e := entry{text: text, port: DefaultPort}
	host := text
	if addr, err := netip.ParseAddr(text); err == nil {
		e.addr = addr
		return e.checkAddr(fail)
	}
	if h, p, err := net.SplitHostPort(text); err == nil {
		port, err := strconv.ParseUint(p, 10, 16)
		if err != nil || port == 0 || p[0] == '+' {
			return fail("the port is not a number from 1 to 65535")
		}
		host, e.port = h, uint16(port)
		bracketed := strings.HasPrefix(text, "[")
		if addr, err := netip.ParseAddr(host); err == nil && bracketed == addr.Is6() {
			e.addr = addr
			return e.checkAddr(fail)
		}
		if bracketed {
			return fail("no IPv6 address between the brackets")
		}
	} else if inner, ok := strings.CutPrefix(text, "["); ok {
		if inner, ok := strings.CutSuffix(inner, "]"); ok {
			if addr, err := netip.ParseAddr(inner); err == nil && addr.Is6() {
				e.addr = addr
				return e.checkAddr(fail)
			}
		}
		return fail("no IPv6 address between the brackets")
	}
	if why := checkHost(host); why != "" {
		return fail(why)
	}
	e.host = host
	return e, nil
}

func (e entry) checkAddr(fail func(string) (entry, error)) (entry, error) {
	switch {
	case e.addr.IsUnspecified():
		return fail("the unspecified address is nobody's")
	case e.addr.IsMulticast() || e.addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fail("not the address of one peer")
	case e.addr.Is6() && e.addr.IsLinkLocalUnicast() && e.addr.Zone() == "":
		return fail("a link-local IPv6 address needs the interface, as in fe80::1%eth0")
	case e.addr.Zone() != "" && !e.addr.IsLinkLocalUnicast():
		return fail("an interface is named, and the address is not a link-local one")
	}
	e.addr = e.addr.Unmap()
	return e, nil
}

// checkHost says what is wrong with a host name (RFC 1123 §2.1, but underscores
// are in use), or returns "".
func checkHost(host string) string {
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > 253 {
		return "a host name has 1 to 253 characters"
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "not a host name"
		}
		for _, r := range label {
			if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
				return "not a host name"
			}
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "not an IP address" // a name cannot end in a number: 300.1.1.1
	}
	return ""
}

// resolve returns the present addresses of the entry.
func (e entry) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	addrs := []netip.Addr{e.addr}
	if e.host != "" {
		var err error
		if addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", e.host); err != nil {
			return nil, err
		}
	}
	var all []netip.AddrPort
	for _, a := range addrs {
		all = append(all, netip.AddrPortFrom(a.Unmap(), e.port))
	}
	return all, nil
}
