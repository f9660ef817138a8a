// Package scan lists the nodes of an app that are on the local network. It
// needs no node, and announces none:
//
//	nodes, err := scan.Scan(ctx, "sd", scan.Config{})
//
// It sends one-shot queries (RFC 6762 §5.1), with github.com/hashicorp/mdns as
// the client. An app that wants to follow nodes as they come and go runs a node
// with package mdns instead. This is a separate package because the client
// links code for every type of DNS record, 0.7 MiB, which a program that only
// runs nodes does not need.
//
// Whichever interface it asks on, the client also listens on the system's
// default interface for multicast. If there is no default interface for IPv4 or
// for IPv6, nothing is asked over that family.
package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/metadata"
)

// A Node is a node that answered a scan. Everything is as announced; nothing is
// verified.
type Node struct {
	Identity identity.RemoteIdentity
	Metadata map[string]string // never nil
	Addrs    []netip.AddrPort  // in order
	Heard    time.Time         // when the node last answered
}

// A Config tunes [Scan]. The zero value asks for two seconds on every interface
// that is up and supports multicast.
type Config struct {
	// Interface is the name of the network interface to ask on. If it is empty,
	// Scan asks on all that are up and support multicast, except loopback and
	// point-to-point ones, which must be named.
	Interface string
	// Time is how long to wait for answers. If zero, 2 s is used.
	Time time.Duration
	// Hidden, if not nil, is called before [Scan] returns for each node that is
	// visible only to its contacts, ordered by key. These nodes are not among
	// the results of Scan.
	Hidden func(Hidden)
	// Warn, if not nil, is called once for each interface that failed, with the
	// reason, before [Scan] returns. It is not called if Scan itself fails.
	Warn func(error)
}

// round is how long to wait for the answers to one question before asking
// again, since packets may be lost.
const round = 500 * time.Millisecond

// Scan asks the local network for the nodes of an app and returns those that
// answered, ordered by identity. It runs for cfg.Time or until ctx is done,
// which is not an error: it returns the nodes that it has found by then. It
// fails if it could not ask on any interface.
func Scan(ctx context.Context, app string, cfg Config) ([]Node, error) {
	return scan(ctx, app, cfg, ask)
}

// scan is Scan with another way to ask.
func scan(ctx context.Context, app string, cfg Config, ask askFunc) ([]Node, error) {
	if err := p2p.ValidateApp(app); err != nil {
		return nil, fmt.Errorf("mdns: %w", err)
	}
	all, err := interfaces(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("mdns: %w", err)
	}
	return newSurvey(app, ask).run(ctx, all, cfg)
}

// interfaces returns the interfaces to ask on: the named one, or if name is
// empty, all that are suitable.
func interfaces(name string) ([]net.Interface, error) {
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

// A survey is one run of a scan.
type survey struct {
	ask     askFunc
	service string

	mu     sync.Mutex // guards the fields below while anybody asks
	found  map[identity.RemoteIdentity]*Node
	hidden map[identity.RemoteIdentity]*Hidden
	asked  bool // on at least one interface
}

func newSurvey(app string, ask askFunc) *survey {
	return &survey{ask: ask, service: "_" + app + "._udp", found: map[identity.RemoteIdentity]*Node{}, hidden: map[identity.RemoteIdentity]*Hidden{}}
}

// run asks on all interfaces concurrently and returns the nodes that it has
// found.
func (s *survey) run(ctx context.Context, interfaces []net.Interface, cfg Config) ([]Node, error) {
	end := time.Now().Add(cmp.Or(max(cfg.Time, 0), 2*time.Second))
	errs := make([]error, len(interfaces))
	var asking sync.WaitGroup
	for i := range interfaces {
		asking.Go(func() { errs[i] = s.askOn(ctx, &interfaces[i], end) })
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
	s.tell(cfg.Hidden)
	return s.nodes(), nil
}

// askOn asks on one interface repeatedly until end or until ctx is done. It
// returns early if asking fails.
func (s *survey) askOn(ctx context.Context, on *net.Interface, end time.Time) error {
	for ctx.Err() == nil && time.Now().Before(end) {
		answers, err := s.ask(ctx, s.service, on, min(round, time.Until(end)))
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("mdns: interface %q: %w", on.Name, err)
		}
		s.add(answers)
	}
	return nil
}

// add merges the answers to one question into the nodes found so far.
func (s *survey) add(answers []answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = true
	for _, a := range answers {
		id, err := identity.Parse(a.instance)
		if err != nil {
			s.hide(a)
			continue
		}
		n := s.found[id]
		if n == nil {
			n = &Node{Identity: id}
			s.found[id] = n
		}
		n.merge(a)
	}
}

// merge adds the addresses of an answer, and its metadata unless a later answer
// is known.
func (n *Node) merge(a answer) {
	if !a.heard.Before(n.Heard) {
		n.Heard = a.heard
		n.Metadata, _ = metadata.ParseTXT(a.txt)
	}
	for _, addr := range a.addrs {
		if !slices.Contains(n.Addrs, addr) {
			n.Addrs = append(n.Addrs, addr)
		}
	}
}

// nodes returns the nodes found, in order. It must not be called while anybody
// is asking.
func (s *survey) nodes() []Node {
	all := make([]Node, 0, len(s.found))
	for _, n := range s.found {
		slices.SortFunc(n.Addrs, netip.AddrPort.Compare)
		all = append(all, *n)
	}
	slices.SortFunc(all, func(a, b Node) int { return cmp.Compare(a.Identity.String(), b.Identity.String()) })
	return all
}
