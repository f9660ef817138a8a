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
)

// An askFunc asks once for the instances of a service, such as "_sd._udp", on
// one interface, and waits for answers. It returns soon after ctx is done. It
// is called concurrently for several interfaces.
type askFunc func(ctx context.Context, service string, on *net.Interface, wait time.Duration) ([]answer, error)

// An answer is one answer to a question for the instances of a service, raw.
type answer struct {
	instance string
	txt      []string
	addrs    []netip.AddrPort
	heard    time.Time
}

// maxAnswers bounds the answers to one question over one family.
const maxAnswers = 1024

// ask asks once over each family. It fails only if both families fail; the
// client itself, told to use both, would fail if either does.
func ask(ctx context.Context, service string, on *net.Interface, wait time.Duration) ([]answer, error) {
	query := func(params *hashicorp.QueryParam) ([]answer, error) {
		params.Timeout, params.Interface, params.Logger = wait, on, log.New(io.Discard, "", 0)
		params.WantUnicastResponse = true // other programs on this host that share port 5353 would also receive multicast answers
		return query(ctx, params)
	}
	v4, v6 := hashicorp.DefaultParams(service), hashicorp.DefaultParams(service)
	v4.DisableIPv6, v6.DisableIPv4 = true, true
	var all6 []answer
	var err6 error
	var asking sync.WaitGroup
	asking.Go(func() { all6, err6 = query(v6) })
	all, err := query(v4)
	asking.Wait()
	if err != nil && err6 != nil {
		return nil, fmt.Errorf("over IPv4: %w; over IPv6: %w", err, err6)
	}
	return append(all, all6...), nil
}

// query sends a query and waits for the answers. The client drops entries that
// it cannot deliver at once, and keeps modifying delivered entries until it
// returns.
func query(ctx context.Context, params *hashicorp.QueryParam) (all []answer, err error) {
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
			a := newAnswer(e.Name[:n], e, params.Interface.Name)
			a.heard = heard[i]
			all = append(all, a)
		}
	}
	return all, err
}

// newAnswer converts an entry of the client, whose names and strings are in
// presentation form.
func newAnswer(label string, e *hashicorp.ServiceEntry, zone string) answer {
	a := answer{instance: dns.Unescape(label)}
	for _, field := range e.InfoFields {
		a.txt = append(a.txt, dns.Unescape(field))
	}
	port := uint16(e.Port)
	if ip, ok := netip.AddrFromSlice(e.AddrV4); ok {
		a.addrs = append(a.addrs, netip.AddrPortFrom(ip.Unmap(), port))
	}
	if v6 := e.AddrV6IPAddr; v6 != nil && v6.IP.To4() == nil {
		if ip, ok := netip.AddrFromSlice(v6.IP); ok {
			if ip.IsLinkLocalUnicast() {
				ip = ip.WithZone(cmp.Or(v6.Zone, zone)) // the client knows no zone if the packet came over IPv4
			}
			a.addrs = append(a.addrs, netip.AddrPortFrom(ip, port))
		}
	}
	return a
}
