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

// A target is the meaning of the argument: a peer, or either a host or an addr
// with a port.
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
	err = quic.New(quic.Config{}).SetManualPeers([]string{text}) // which checks the text, and starts nothing
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
			p.ways[i].lane = d.tryLane(ctx, &p.ways[i], p.lane)
		})
	}
	trying.Wait()
	return p
}

// resolve looks up the host's name.
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

// discover looks for a peer as nodes do. It announces nothing, since there is
// no listener to announce.
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
			info := peer.Info()
			p.lane = p2p.LanePort(info.Metadata)
			for _, candidate := range info.Candidates {
				p.addrs = append(p.addrs, candidate.Addr)
			}
		}
	}
}

// node starts a node of the doctor's own, with one hook.
func (d *doctor) node(ctx context.Context, hook p2p.Hook) (*p2p.P2P, error) {
	return p2p.Start(ctx, p2p.Config{
		App: d.app, Name: "sdp2p doctor", Hooks: []p2p.Hook{hook}, Logger: slog.New(slog.DiscardHandler),
	})
}

// shutdown ends a node, even if ctx has ended. The node has no data to lose.
func shutdown(ctx context.Context, node *p2p.P2P) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = node.Shutdown(ctx)
}

// A resident is the node at an address.
type resident struct {
	id   identity.RemoteIdentity
	name string
	took time.Duration
	rtt  time.Duration // 0 if unknown
	lane uint16        // the TCP port of its lanes, 0 if it names none
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

// reach knocks at an address and connects to it with a node of its own, so that
// no other connection is taken for this one. If want is not zero and another
// peer is there, the error is [quic.ErrOtherPeer].
func (d *doctor) reach(ctx context.Context, addr netip.AddrPort, want identity.RemoteIdentity) (w wayFacts) {
	w.addr = addr
	if a := addr.Addr(); a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
		w.err = quic.ErrLinkLocal
		return w
	}
	// A first handshake asks for the identity of the node that is there, and a
	// second one proves it.
	meeting, cancel := context.WithTimeout(ctx, 2*d.wait)
	defer cancel()
	var knocking sync.WaitGroup
	knocking.Go(func() {
		w.small, w.large = knocks(meeting, addr, min(quietTime, d.wait/2), d.wait+quietTime)
		if w.small.err != nil || w.large.err != nil {
			cancel() // no answer is coming
		}
	})
	w.there, w.err = d.meet(meeting, addr)
	switch {
	case w.err != nil && isSilence(w.err): // the network may still say why
	case w.err == nil, errors.Is(w.err, quic.ErrDisabled), errors.Is(w.err, p2p.ErrConnectionLost):
		cancel()
	default: // the system or the other side reported an error: is it the network's?
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

// tryLane connects to the port of a peer's lanes, which the peer itself or an
// announcement has named. It makes no lane: lanes are for peers that know each
// other.
func (d *doctor) tryLane(ctx context.Context, w *wayFacts, announced uint16) laneFacts {
	l := laneFacts{port: announced}
	if w.there.lane != 0 {
		l.port = w.there.lane
	}
	if l.port == 0 {
		return l
	}
	ctx, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	began := time.Now()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", netip.AddrPortFrom(w.addr.Addr(), l.port).String())
	l.took, l.err = time.Since(began), err
	if err == nil {
		c.Close()
	}
	return l
}

// knocks knocks at an address with packets of both sizes, until one of them
// meets an error.
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
				_, _ = peer.WaitMetadata(said) // nodes of the first implementation do not send it this way
				stop()
				info := peer.Info()
				there.name, there.lane = info.Name, p2p.LanePort(info.Metadata)
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

// isSilence reports whether nothing was heard.
func isSilence(err error) bool {
	var late net.Error
	return errors.Is(err, errNoAnswer) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &late) && late.Timeout()
}
