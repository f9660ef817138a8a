package mdns

import (
	"cmp"
	"context"
	"errors"
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
// It is a one-shot query (RFC 6762 §5.1): a node that wants to know who comes and goes runs a [Discovery].
func Scan(ctx context.Context, app string, cfg ScanConfig) ([]Scanned, error) {
	if cfg.Time <= 0 {
		cfg.Time = 2 * time.Second
	}
	service := "_" + app + "._udp"
	if _, err := dnssd.New(dnssd.Config{Service: service}); err != nil {
		return nil, fmt.Errorf("mdns: %w", err)
	}
	entries := make(chan *hashicorp.ServiceEntry)
	params := hashicorp.DefaultParams(service)
	params.Timeout = cfg.Time
	params.Entries = entries
	params.Logger = log.New(io.Discard, "", 0)
	params.WantUnicastResponse = true // its sockets may share port 5353 with others, which would take multicast answers as well
	if cfg.Interface != "" {
		ifi, err := net.InterfaceByName(cfg.Interface)
		if err != nil {
			return nil, fmt.Errorf("mdns: interface %q: %w", cfg.Interface, err)
		}
		params.Interface = ifi
	}
	result := make(chan error, 1)
	go func() {
		defer close(entries)
		result <- hashicorp.QueryContext(ctx, params)
	}()
	found := map[identity.RemoteIdentity]*Scanned{}
	for e := range entries {
		add(found, service, e)
	}
	if err := <-result; err != nil && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return nil, fmt.Errorf("mdns: %w", err)
	}
	all := make([]Scanned, 0, len(found))
	for _, s := range found {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Scanned) int { return cmp.Compare(a.Identity.String(), b.Identity.String()) })
	return all, nil
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
	for _, ip := range []net.IP{e.AddrV4, addrV6(e)} {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			addr := netip.AddrPortFrom(addr.Unmap(), uint16(e.Port))
			if !slices.Contains(s.Addrs, addr) {
				s.Addrs = append(s.Addrs, addr)
			}
		}
	}
}

func addrV6(e *hashicorp.ServiceEntry) net.IP {
	if e.AddrV6IPAddr == nil || e.AddrV6IPAddr.IP.To4() != nil {
		return nil
	}
	return e.AddrV6IPAddr.IP
}
