package mdns

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	hashicorp "github.com/hashicorp/mdns"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
)

// A Scanned is a node that a scan has found. All of it is what somebody announced: nothing is verified.
type Scanned struct {
	Identity identity.RemoteIdentity
	Metadata map[string]string
	Addrs    []netip.AddrPort // at most one of each family
}

// A ScanConfig tunes [Scan]. The zero value asks for two seconds on the system's default interface.
type ScanConfig struct {
	// Interface is the name of the network interface to ask on. If empty, the system's default for multicast is used.
	Interface string
	// Time is how long answers are waited for. If zero, 2 s is used.
	Time time.Duration
}

// Scan asks the local network once which nodes of an app are there, and returns them ordered by identity. It needs no
// node, and announces none. It takes its time, unless ctx ends first, which is no error: what was found by then counts.
//
// It is a one-shot query (RFC 6762 §5.1): a node that wants to know who comes and goes runs a [Discovery]. On a host
// without IPv6 it needs a route for IPv4 multicast.
func Scan(ctx context.Context, app string, cfg ScanConfig) ([]Scanned, error) {
	if cfg.Time <= 0 {
		cfg.Time = 2 * time.Second
	}
	service := "_" + app + "._udp"
	if _, err := dnssd.New(dnssd.Config{Service: service}); err != nil {
		return nil, fmt.Errorf("mdns: %w", err)
	}
	var on *net.Interface
	if cfg.Interface != "" {
		var err error
		if on, err = net.InterfaceByName(cfg.Interface); err != nil {
			return nil, fmt.Errorf("mdns: interface %q: %w", cfg.Interface, err)
		}
	}
	found := map[identity.RemoteIdentity]*Scanned{}
	for end := time.Now().Add(cfg.Time); ctx.Err() == nil && time.Now().Before(end); {
		entries, err := ask(ctx, service, on, min(scanRound, time.Until(end)))
		if err != nil && ctx.Err() == nil {
			return nil, fmt.Errorf("mdns: %w", err)
		}
		for _, e := range entries {
			add(found, service, e)
		}
	}
	all := make([]Scanned, 0, len(found))
	for _, s := range found {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Scanned) int { return cmp.Compare(a.Identity.String(), b.Identity.String()) })
	return all, nil
}

const (
	scanRound  = 500 * time.Millisecond // a question that was lost is asked again after it; and ctx is looked at
	maxScanned = 1024                   // answers of one round
)

// ask asks once. The client drops entries that it cannot send at once, and goes on writing to those that it has sent until
// it returns.
func ask(ctx context.Context, service string, on *net.Interface, wait time.Duration) (all []*hashicorp.ServiceEntry, err error) {
	entries := make(chan *hashicorp.ServiceEntry, maxScanned)
	params := hashicorp.DefaultParams(service)
	params.Timeout, params.Interface, params.Entries = wait, on, entries
	params.Logger = log.New(io.Discard, "", 0)
	params.WantUnicastResponse = true // others on this host that share port 5353 would take multicast answers as well
	err = hashicorp.QueryContext(ctx, params)
	close(entries)
	for e := range entries {
		all = append(all, e)
	}
	return all, err
}

// add books an answer. Names and strings come as miekg/dns presents them, with escapes.
func add(found map[identity.RemoteIdentity]*Scanned, service string, e *hashicorp.ServiceEntry) {
	label, ok := strings.CutSuffix(e.Name, "."+service+".local.")
	if !ok {
		return
	}
	id, err := identity.Parse(dnssd.Unescape(label))
	if err != nil {
		return
	}
	s := found[id]
	if s == nil {
		s = &Scanned{Identity: id}
		found[id] = s
	}
	txt := make([]string, 0, len(e.InfoFields))
	for _, field := range e.InfoFields {
		txt = append(txt, dnssd.Unescape(field))
	}
	s.Metadata, _ = parseTXT(txt)
	var addrs []netip.Addr
	if a, ok := netip.AddrFromSlice(e.AddrV4); ok {
		addrs = append(addrs, a.Unmap())
	}
	if v6 := e.AddrV6IPAddr; v6 != nil && v6.IP.To4() == nil {
		if a, ok := netip.AddrFromSlice(v6.IP); ok {
			addrs = append(addrs, a.WithZone(v6.Zone))
		}
	}
	for _, a := range addrs {
		if addr := netip.AddrPortFrom(a, uint16(e.Port)); !slices.Contains(s.Addrs, addr) {
			s.Addrs = append(s.Addrs, addr)
		}
	}
}
