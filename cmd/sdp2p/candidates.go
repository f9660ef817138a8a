package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

// A target is what the argument means: a peer, or one of host and addr with a
// port.
type target struct {
	text string
	peer identity.RemoteIdentity
	host string
	addr netip.Addr
	port uint16
}

func parseTarget(text string) (*target, error) {
	id, err := identity.Parse(text)
	if err == nil {
		return &target{text: text, peer: id}, nil
	}
	if len(text) == identity.TextSize && !strings.ContainsAny(text, ".:") {
		return nil, fmt.Errorf("%q has the length of an identity: %w", text, err)
	}
	t := &target{text: text, host: text, port: quic.DefaultPort}
	if host, port, err := net.SplitHostPort(text); err == nil {
		if p, err := strconv.ParseUint(port, 10, 16); err == nil {
			t.host, t.port = host, uint16(p)
		}
	}
	if addr, err := netip.ParseAddr(strings.Trim(t.host, "[]")); err == nil {
		t.host, t.addr = "", addr.Unmap()
	}
	err = quic.New(quic.Config{}).SetManualPeers([]string{text}) // which knows the rules, and starts nothing
	if err != nil && !(t.addr.Is6() && t.addr.IsLinkLocalUnicast() && t.port != 0) {
		return nil, fmt.Errorf("%w; or the 43 characters of an identity", err)
	}
	return t, nil
}

// lookFor tries every address of a target.
func (d *doctor) lookFor(ctx context.Context, t *target) *peerFacts {
	p := &peerFacts{target: *t}
	switch {
	case !t.peer.IsZero():
		d.discover(ctx, p)
	case t.host == "":
		p.addrs = []netip.AddrPort{netip.AddrPortFrom(t.addr, t.port)}
	default:
		d.resolve(ctx, p)
	}
	p.ways = make([]wayFacts, len(p.addrs))
	var trying sync.WaitGroup
	room := make(chan struct{}, 8)
	for i, addr := range p.addrs {
		trying.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			p.ways[i] = d.reach(ctx, addr, t.peer)
		})
	}
	trying.Wait()
	return p
}

// resolve looks the host's name up.
func (d *doctor) resolve(ctx context.Context, p *peerFacts) {
	ctx, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	var addrs []netip.Addr
	addrs, p.lookupErr = d.lookup(ctx, p.host)
	p.late = p.lookupErr != nil && ctx.Err() != nil
	for _, a := range addrs {
		if addr := netip.AddrPortFrom(a.Unmap(), p.port); !slices.Contains(p.addrs, addr) {
			p.addrs = append(p.addrs, addr)
		}
	}
}

// discover looks for a peer as nodes do, and announces nothing: there is no
// listener to announce.
func (d *doctor) discover(ctx context.Context, p *peerFacts) {
	ctx, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	var cfg mdns.Config
	if d.on != "" {
		cfg.Interfaces = []string{d.on}
	}
	node, err := d.node(ctx, mdns.New(cfg))
	if err != nil {
		p.startErr = err
		return
	}
	defer shutdown(ctx, node)
	for range node.Watch(ctx) {
		if peer, ok := node.Peer(p.peer); ok {
			p.discovered, p.addrs = true, nil
			for _, candidate := range peer.Info().Candidates {
				p.addrs = append(p.addrs, candidate.Addr)
			}
		}
	}
}

// node starts one of the doctor's own, with one hook.
func (d *doctor) node(ctx context.Context, hook p2p.Hook) (*p2p.P2P, error) {
	return p2p.Start(ctx, p2p.Config{
		App: d.app, Name: "sdp2p doctor", Hooks: []p2p.Hook{hook}, Logger: slog.New(slog.DiscardHandler),
	})
}

// shutdown ends a node, also if ctx has ended. There is nothing of its own that
// it could lose.
func shutdown(ctx context.Context, node *p2p.P2P) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = node.Shutdown(ctx)
}

// A resident is who is at an address.
type resident struct {
	id   identity.RemoteIdentity
	name string
	took time.Duration
	rtt  time.Duration // 0 if unknown
}

func (r resident) String() string {
	if name := printable(r.name); name != "" {
		return fmt.Sprintf("%s, %v", name, r.id)
	}
	return r.id.String()
}

// nameTime is how long a peer that was reached may take to say its name.
const nameTime = time.Second

var errNoAnswer = errors.New("no answer")

// reach connects to an address by a node of its own, so that no other
// connection counts for this one, and knocks at it. If want is not zero and
// another peer is there, the error is [quic.ErrOtherPeer].
func (d *doctor) reach(ctx context.Context, addr netip.AddrPort, want identity.RemoteIdentity) (w wayFacts) {
	w.addr = addr
	if a := addr.Addr(); a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
		w.err = quic.ErrLinkLocal
		return w
	}
	// Who is there is asked by a first handshake, and proved by a second
	// one.
	meeting, cancel := context.WithTimeout(ctx, 2*d.wait)
	defer cancel()
	var knocking sync.WaitGroup
	knocking.Go(func() {
		w.small, w.large = knocks(meeting, addr, min(quietTime, d.wait/2), d.wait+quietTime)
		if w.small.err != nil || w.large.err != nil {
			cancel() // there will be no answer
		}
	})
	w.there, w.err = d.meet(meeting, addr)
	switch {
	case w.err != nil && isSilence(w.err): // the network may still say why
	case w.err == nil, errors.Is(w.err, quic.ErrDisabled), errors.Is(w.err, p2p.ErrConnectionLost):
		cancel()
	default: // the system or the other side said something: is it the network?
		cancel()
		knocking.Wait()
		if w.small.err == nil && w.large.err == nil {
			w.small, w.large = knocks(ctx, addr, 0, quietTime)
		}
	}
	knocking.Wait()
	if w.err == nil && !want.IsZero() && w.there.id != want {
		w.err = quic.ErrOtherPeer
	}
	return w
}

// knocks knocks at an address by packets of both sizes, until one of them meets
// an error.
func knocks(ctx context.Context, addr netip.AddrPort, quiet, wait time.Duration) (small, large knock) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var both sync.WaitGroup
	for k, size := range map[*knock]int{&small: knockSmall, &large: knockLarge} {
		both.Go(func() {
			if *k = knockAt(ctx, addr, size, quiet, wait); k.err != nil {
				cancel()
			}
		})
	}
	both.Wait()
	return small, large
}

// meet connects to the node at an address.
func (d *doctor) meet(ctx context.Context, addr netip.AddrPort) (there resident, err error) {
	listener := quic.New(quic.Config{DialTimeout: d.wait})
	node, err := d.node(ctx, listener)
	if err != nil {
		return there, err
	}
	defer shutdown(ctx, node)
	began := time.Now()
	if err := listener.SetManualPeers([]string{addr.String()}); err != nil {
		return there, err
	}
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		m := listener.ManualPeers()[0]
		switch m.State {
		case quic.ManualReached:
			there.id, there.took = m.Identity, m.Since.Sub(began)
			if peer, ok := node.Peer(m.Identity); ok {
				said, stop := context.WithTimeout(ctx, nameTime)
				_, _ = peer.WaitMetadata(said) // the ancestor's nodes do not say it so
				stop()
				info := peer.Info()
				there.name = info.Name
				if len(info.Connections) > 0 {
					there.rtt = info.Connections[0].RTT
				}
			}
			return there, nil
		case quic.ManualFailed:
			there.took = m.Since.Sub(began)
			return there, m.Err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			there.took = time.Since(began)
			return there, errNoAnswer
		}
	}
}

// isSilence tells whether nothing was heard.
func isSilence(err error) bool {
	var late net.Error
	return errors.Is(err, errNoAnswer) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &late) && late.Timeout()
}
