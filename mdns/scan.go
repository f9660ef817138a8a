package mdns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
)

// ErrNoScanner is returned by [Scan] where nothing is linked that can ask.
var ErrNoScanner = errors.New(`mdns: to scan, a program must import _ "github.com/sdp2p/p2p/mdns/scan"`)

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

// An Answer is one answer to a question for the instances of a service, raw.
type Answer struct {
	Instance string
	TXT      []string
	Addrs    []netip.AddrPort
}

// An AskFunc asks once for the instances of a service, such as "_sd._udp", on one interface or the default one if that is
// nil, and waits for answers, no longer than ctx lasts by much.
type AskFunc func(ctx context.Context, service string, on *net.Interface, wait time.Duration) ([]Answer, error)

var asker atomic.Pointer[AskFunc]

// RegisterScanner makes [Scan] ask with ask. Package mdns/scan calls it when it is imported; only programs that scan have to
// carry what that takes.
func RegisterScanner(ask AskFunc) { asker.Store(&ask) }

// scanRound is how long one question is waited for: one that was lost is asked again after it.
const scanRound = 500 * time.Millisecond

// Scan asks the local network which nodes of an app are there, and returns them ordered by identity. It needs no node, and
// announces none. It takes its time, unless ctx ends first, which is no error: what was found by then counts. A program that
// uses it imports package mdns/scan for its effect; else the error is [ErrNoScanner].
//
// It asks one-shot queries (RFC 6762 §5.1): a node that wants to know who comes and goes runs a [Discovery].
func Scan(ctx context.Context, app string, cfg ScanConfig) ([]Scanned, error) {
	ask := asker.Load()
	if ask == nil {
		return nil, ErrNoScanner
	}
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
		answers, err := (*ask)(ctx, service, on, min(scanRound, time.Until(end)))
		if err != nil && ctx.Err() == nil {
			return nil, fmt.Errorf("mdns: %w", err)
		}
		for _, a := range answers {
			a.add(found)
		}
	}
	all := make([]Scanned, 0, len(found))
	for _, s := range found {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Scanned) int { return cmp.Compare(a.Identity.String(), b.Identity.String()) })
	return all, nil
}

func (a *Answer) add(found map[identity.RemoteIdentity]*Scanned) {
	id, err := identity.Parse(a.Instance)
	if err != nil {
		return
	}
	s := found[id]
	if s == nil {
		s = &Scanned{Identity: id}
		found[id] = s
	}
	s.Metadata, _ = parseTXT(a.TXT)
	for _, addr := range a.Addrs {
		if !slices.Contains(s.Addrs, addr) {
			s.Addrs = append(s.Addrs, addr)
		}
	}
}
