// Package scan lets [mdns.Scan] ask, with github.com/hashicorp/mdns as the client of one-shot queries (RFC 6762 §5.1). It is
// imported for that effect alone:
//
//	import _ "github.com/sdp2p/p2p/mdns/scan"
//
// It is a package of its own because the client links code for every type of DNS record, 0.7 MiB, which a program that
// only runs nodes does not need. Whichever interface it asks on, it listens on the system's default one for multicast as
// well, and where there is none for a family, it does not ask over that.
package scan

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	hashicorp "github.com/hashicorp/mdns"

	"github.com/sdp2p/p2p/internal/dns"
	"github.com/sdp2p/p2p/mdns"
)

func init() { mdns.RegisterScanner(ask) }

// maxAnswers bounds the answers to one question over one family.
const maxAnswers = 1024

// ask asks once over each family. It fails if neither works: the client, if asked to use both, would if either does not.
func ask(ctx context.Context, service string, on *net.Interface, wait time.Duration) (all []mdns.Answer, err error) {
	query := func(params *hashicorp.QueryParam) ([]mdns.Answer, error) {
		params.Timeout, params.Interface, params.Logger = wait, on, log.New(io.Discard, "", 0)
		params.WantUnicastResponse = true // others on this host that share port 5353 would take multicast answers as well
		return query(ctx, params)
	}
	v4, v6 := hashicorp.DefaultParams(service), hashicorp.DefaultParams(service)
	v4.DisableIPv6, v6.DisableIPv4 = true, true
	var all6 []mdns.Answer
	var err6 error
	var asking sync.WaitGroup
	asking.Go(func() { all6, err6 = query(v6) })
	all, err = query(v4)
	asking.Wait()
	if err != nil && err6 != nil {
		return nil, fmt.Errorf("over IPv4: %w; over IPv6: %w", err, err6)
	}
	return append(all, all6...), nil
}

// query waits for the answers to one query. The client drops entries that it cannot send at once, and goes on writing to
// those that it has sent until it returns.
func query(ctx context.Context, params *hashicorp.QueryParam) (all []mdns.Answer, err error) {
	entries := make(chan *hashicorp.ServiceEntry, maxAnswers)
	var heard []time.Time
	var sent []*hashicorp.ServiceEntry
	var listening sync.WaitGroup
	listening.Go(func() {
		for e := range entries {
			if len(sent) < maxAnswers {
				sent, heard = append(sent, e), append(heard, time.Now())
			}
		}
	})
	params.Entries = entries
	err = hashicorp.QueryContext(ctx, params)
	close(entries)
	listening.Wait()
	suffix := "." + params.Service + ".local."
	for i, e := range sent {
		if n := len(e.Name) - len(suffix); n > 0 && strings.EqualFold(e.Name[n:], suffix) {
			a := answer(e.Name[:n], e, params.Interface.Name)
			a.Heard = heard[i]
			all = append(all, a)
		}
	}
	return all, err
}

// answer translates an entry, in which names and strings are in presentation form.
func answer(label string, e *hashicorp.ServiceEntry, zone string) mdns.Answer {
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
			if ip.IsLinkLocalUnicast() {
				ip = ip.WithZone(cmp.Or(v6.Zone, zone)) // the client knows none if the packet came over IPv4
			}
			a.Addrs = append(a.Addrs, netip.AddrPortFrom(ip, port))
		}
	}
	return a
}
