// Package scan lets [mdns.Scan] ask, with github.com/hashicorp/mdns as the client of one-shot queries (RFC 6762 §5.1). It is
// imported for that effect alone:
//
//	import _ "github.com/sdp2p/p2p/mdns/scan"
//
// It is a package of its own because the client links code for every type of DNS record, 0.7 MiB, which a program that
// only runs nodes does not need. On a host without IPv6 it needs a route for IPv4 multicast.
package scan

import (
	"context"
	"io"
	"log"
	"net"
	"net/netip"
	"strings"
	"time"

	hashicorp "github.com/hashicorp/mdns"

	"github.com/sdp2p/p2p/internal/dns"
	"github.com/sdp2p/p2p/mdns"
)

func init() { mdns.RegisterScanner(ask) }

// maxAnswers bounds the answers to one question.
const maxAnswers = 1024

// ask asks once. The client drops entries that it cannot send at once, and goes on writing to those that it has sent until
// it returns.
func ask(ctx context.Context, service string, on *net.Interface, wait time.Duration) (all []mdns.Answer, err error) {
	entries := make(chan *hashicorp.ServiceEntry, maxAnswers)
	params := hashicorp.DefaultParams(service)
	params.Timeout, params.Interface, params.Entries = wait, on, entries
	params.Logger = log.New(io.Discard, "", 0)
	params.WantUnicastResponse = true // others on this host that share port 5353 would take multicast answers as well
	err = hashicorp.QueryContext(ctx, params)
	close(entries)
	for e := range entries {
		if label, ok := strings.CutSuffix(e.Name, "."+service+".local."); ok {
			all = append(all, answer(label, e))
		}
	}
	return all, err
}

// answer translates an entry, in which names and strings are in presentation form.
func answer(label string, e *hashicorp.ServiceEntry) mdns.Answer {
	a := mdns.Answer{Instance: dns.Unescape(label)}
	for _, field := range e.InfoFields {
		a.TXT = append(a.TXT, dns.Unescape(field))
	}
	port := uint16(e.Port)
	if ip, ok := netip.AddrFromSlice(e.AddrV4); ok {
		a.Addrs = append(a.Addrs, netip.AddrPortFrom(ip.Unmap(), port))
	}
	if v6 := e.AddrV6IPAddr; v6 != nil && v6.IP.To4() == nil {
		if ip, ok := netip.AddrFromSlice(v6.IP); ok {
			a.Addrs = append(a.Addrs, netip.AddrPortFrom(ip.WithZone(v6.Zone), port))
		}
	}
	return a
}
