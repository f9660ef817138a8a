package mdns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// ErrNoScanner is returned by [Scan] where nothing is linked that can ask.
var ErrNoScanner = errors.New(`mdns: to scan, a program must import _ "github.com/sdp2p/p2p/mdns/scan"`)

// A Scanned is a node that a scan has found. All of it is what somebody announced: nothing is verified.
type Scanned struct {
	Identity identity.RemoteIdentity
	Metadata map[string]string
	Addrs    []netip.AddrPort // in order
	Heard    time.Time        // when it answered last
}

// A ScanConfig tunes [Scan]. The zero value asks for two seconds on every interface that is up and does multicast.
type ScanConfig struct {
	// Interface is the name of the network interface to ask on. If empty, all that are up and do multicast are asked on,
	// except loopback and point-to-point ones, which must be named.
	Interface string
	// Time is how long answers are waited for. If zero, 2 s is used.
	Time time.Duration
	// Warn, if not nil, is called before [Scan] returns, once for each interface that failed, with why. It is not called
	// where Scan fails.
	Warn func(error)
}

// An Answer is one answer to a question for the instances of a service, raw.
type Answer struct {
	Instance string
	TXT      []string
	Addrs    []netip.AddrPort
	Heard    time.Time
}

// An AskFunc asks once for the instances of a service, such as "_sd._udp", on one interface, and waits for answers, no
// longer than ctx lasts by much. It is called concurrently for several interfaces.
type AskFunc func(ctx context.Context, service string, on *net.Interface, wait time.Duration) ([]Answer, error)

var asker atomic.Pointer[AskFunc]

// RegisterScanner makes [Scan] ask with ask. Package mdns/scan calls it when it is imported; only programs that scan have to
// carry what that takes.
func RegisterScanner(ask AskFunc) { asker.Store(&ask) }

// scanRound is how long one question is waited for: one that was lost is asked again after it.
const scanRound = 500 * time.Millisecond

// Scan asks the local network which nodes of an app are there, and returns them ordered by identity. It needs no node, and
// announces none. It takes its time, unless ctx ends first, which is no error: what was found by then counts. It fails if it
// could not ask on any interface. A program that uses it imports package mdns/scan for its effect; else the error is
// [ErrNoScanner].
//
// It asks one-shot queries (RFC 6762 §5.1): a node that wants to know who comes and goes runs a [Discovery].
func Scan(ctx context.Context, app string, cfg ScanConfig) ([]Scanned, error) {
	ask := asker.Load()
	if ask == nil {
		return nil, ErrNoScanner
	}
	if err := p2p.ValidateApp(app); err != nil {
		return nil, fmt.Errorf("mdns: %w", err)
	}
	interfaces, err := scanned(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("mdns: %w", err)
	}
	return (&scan{ask: *ask, service: "_" + app + "._udp", found: map[identity.RemoteIdentity]*Scanned{}}).run(ctx, interfaces, cfg)
}

// scanned returns the interfaces to ask on.
func scanned(name string) ([]net.Interface, error) {
	if name != "" {
		on, err := net.InterfaceByName(name)
		if err != nil {
			return nil, fmt.Errorf("interface %q: %w", name, err)
		}
		return []net.Interface{*on}, nil
	}
	all, err := net.Interfaces()
	all = slices.DeleteFunc(all, func(i net.Interface) bool {
		const is, isNot = net.FlagUp | net.FlagRunning | net.FlagMulticast, net.FlagLoopback | net.FlagPointToPoint
		addrs, _ := i.Addrs()
		return i.Flags&(is|isNot) != is || len(addrs) == 0
	})
	if err == nil && len(all) == 0 {
		err = errors.New("there is no network interface that is up and does multicast; others must be named")
	}
	return all, err
}

// A scan is one that runs.
type scan struct {
	ask     AskFunc
	service string

	mu    sync.Mutex // guards all below
	found map[identity.RemoteIdentity]*Scanned
	asked bool // on one interface at least
}

func (s *scan) run(ctx context.Context, interfaces []net.Interface, cfg ScanConfig) ([]Scanned, error) {
	if cfg.Time <= 0 {
		cfg.Time = 2 * time.Second
	}
	end := time.Now().Add(cfg.Time)
	errs := make([]error, len(interfaces))
	var asking sync.WaitGroup
	for i := range interfaces {
		asking.Go(func() { errs[i] = s.on(ctx, &interfaces[i], end) })
	}
	asking.Wait()
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) > 0 && !s.asked {
		return nil, errors.Join(errs...)
	}
	for _, err := range errs {
		if cfg.Warn != nil {
			cfg.Warn(err)
		}
	}
	all := make([]Scanned, 0, len(s.found))
	for _, f := range s.found {
		slices.SortFunc(f.Addrs, netip.AddrPort.Compare)
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b Scanned) int { return cmp.Compare(a.Identity.String(), b.Identity.String()) })
	return all, nil
}

// on asks on one interface, again and again, until the end or ctx ends, or it fails.
func (s *scan) on(ctx context.Context, i *net.Interface, end time.Time) error {
	for ctx.Err() == nil && time.Now().Before(end) {
		answers, err := s.ask(ctx, s.service, i, min(scanRound, time.Until(end)))
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("mdns: interface %q: %w", i.Name, err)
		}
		s.mu.Lock()
		s.asked = true
		for _, a := range answers {
			s.add(&a)
		}
		s.mu.Unlock()
	}
	return nil
}

func (s *scan) add(a *Answer) {
	id, err := identity.Parse(a.Instance)
	if err != nil {
		return
	}
	f := s.found[id]
	if f == nil {
		f = &Scanned{Identity: id}
		s.found[id] = f
	}
	if !a.Heard.Before(f.Heard) {
		f.Heard = a.Heard
		f.Metadata, _ = parseTXT(a.TXT)
	}
	for _, addr := range a.Addrs {
		if !slices.Contains(f.Addrs, addr) {
			f.Addrs = append(f.Addrs, addr)
		}
	}
}
