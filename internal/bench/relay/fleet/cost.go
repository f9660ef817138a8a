package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/bench/report"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/token"
)

const (
	startIn  = 2 * time.Minute // for all clients of a measurement
	lookTime = 5 * time.Millisecond
)

// Costs are what one device costs a relay, once for each round.
type costs struct {
	take                   report.Sample // CPU seconds for a handshake, a token and a reservation
	idle                   report.Sample // CPU seconds a second for a reservation
	heap, stacks, resident report.Sample // bytes
	goroutines             report.Sample
}

// measure has clients come to a relay, and stay there.
func measure(ctx context.Context, p plan) (c costs, err error) {
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		return c, err
	}
	defer os.RemoveAll(dir)
	for range p.rounds {
		if err := c.round(ctx, dir, p); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *costs) round(ctx context.Context, dir string, p plan) (err error) {
	s, err := startSide(ctx, dir)
	if err != nil {
		return err
	}
	defer s.stop()
	clients := crowd{server: s.hello, issuer: identity.New()}
	defer func() { err = errors.Join(err, clients.end()) }()
	if err := clients.come(ctx, 1); err != nil { // what the first one costs, others do not
		return err
	}
	before, err := s.look()
	if err != nil {
		return err
	}
	if err := clients.come(ctx, p.clients); err != nil {
		return err
	}
	there, err := s.look()
	if err != nil {
		return err
	}
	began := time.Now()
	select {
	case <-time.After(p.idle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	stayed := time.Since(began)
	after, err := s.look()
	if err != nil {
		return err
	}
	n := float64(p.clients)
	c.take = append(c.take, (there.CPU-before.CPU).Seconds()/n)
	c.idle = append(c.idle, (after.CPU-there.CPU).Seconds()/stayed.Seconds()/n)
	c.heap = append(c.heap, (after.Heap-before.Heap)/n)
	c.stacks = append(c.stacks, (after.Stacks-before.Stacks)/n)
	c.resident = append(c.resident, (after.Resident-before.Resident)/n)
	c.goroutines = append(c.goroutines, (after.Goroutines-before.Goroutines)/n)
	return nil
}

// A crowd are clients of one relay.
type crowd struct {
	server hello
	issuer identity.Identity
	all    []*client
}

// come starts so many, and waits for their reservations.
func (c *crowd) come(ctx context.Context, n int) error {
	first := len(c.all)
	for range n {
		one, err := startClient(ctx, c.server, c.issuer)
		if err != nil {
			return err
		}
		c.all = append(c.all, one)
	}
	for _, one := range c.all[first:] {
		if err := one.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *crowd) end() (err error) {
	for _, one := range c.all {
		err = errors.Join(err, one.node.Shutdown(context.Background()))
	}
	return err
}

// A client is a node that has a reservation.
type client struct {
	node   *p2p.P2P
	relays *relay.Client
}

func startClient(ctx context.Context, at hello, issuer identity.Identity) (*client, error) {
	id := identity.New()
	t, err := token.Token{
		Node: id.Remote(), Account: uuid.New(), Rights: token.Reserve | token.Connect,
		NotBefore: time.Now().Add(-time.Minute), Expiry: time.Now().Add(time.Hour),
	}.Sign(issuer)
	if err != nil {
		return nil, err
	}
	listener := quic.New(quic.Config{})
	relays := relay.New(relay.Config{
		Listener: listener, Tokens: []token.Token{t}, Only: true,
		Servers: []relay.Server{{Identity: at.Identity, Addrs: []netip.AddrPort{at.Addr}}},
	})
	node, err := p2p.Start(ctx, p2p.Config{App: "fleet", Identity: id, Hooks: []p2p.Hook{listener, relays}})
	if err != nil {
		return nil, err
	}
	return &client{node, relays}, nil
}

// ready waits until the client can be called.
func (c *client) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startIn)
	defer cancel()
	for {
		s := c.relays.States()[0]
		if s.State == relay.Ready {
			return nil
		}
		select {
		case <-time.After(lookTime):
		case <-ctx.Done():
			return fmt.Errorf("no reservation: %v: %w", s.State, errors.Join(s.Err, ctx.Err()))
		}
	}
}
