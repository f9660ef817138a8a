package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/labels"
)

// Causes of failed attempts.
var (
	ErrNotRunning = errors.New("tcp: the listener is not running")
	ErrNoLanes    = errors.New("tcp: the peer has announced no port for lanes")
	ErrHidden     = errors.New("tcp: no lanes while this node hides its address, or its address of this family")

	errNoAddress = errors.New("tcp: a lane cannot use this address")
	errNotTried  = errors.New("tcp: not tried: the dial ended first")
	errFullThere = errors.New("tcp: the peer has no room for a handshake now, or another service is at this address")
)

// Dial opens a lane to a peer. It tries the addresses of the candidates with
// the port that the peer has announced, starting a further one every 250 ms. If
// no other listener is connected with the peer, it opens and keeps one more
// lane, so that the peer stays connected. It fails with a *[p2p.DialError].
func (l *Listener) Dial(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
	r := l.running()
	if r == nil {
		return nil, failedAll(to, via, ErrNotRunning)
	}
	ctx, cancel := r.within(ctx)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, failedAll(to, via, context.Cause(ctx))
	}
	if !p2p.IsBulk(ctx) && !r.elsewhere(to) {
		if failed := r.connect(ctx, to, via); failed != nil {
			return nil, failed
		}
	}
	lane, failed := r.dial(ctx, to, via, forStream)
	if failed != nil {
		return nil, failed
	}
	if !r.start(func() { lane.pump(nil) }) {
		lane.cut()
		return nil, &p2p.DialError{Peer: to, Err: ErrNotRunning}
	}
	return lane, nil
}

// failedAll returns the error of a dial that has tried nothing.
func failedAll(to identity.RemoteIdentity, via []p2p.Candidate, err error) *p2p.DialError {
	failed := &p2p.DialError{Peer: to, Err: err}
	for _, c := range via {
		failed.Attempts = append(failed.Attempts, p2p.Attempt{Candidate: c, Err: errNotTried})
	}
	return failed
}

// An attempt is an attempt to connect with a peer, which any number of callers
// may wait for.
type attempt struct {
	done   chan struct{}
	failed *p2p.DialError // readable once done
	gaveUp bool           // likewise: the context of the caller that dialed is over
}

// connect makes sure that a lane to a peer is kept.
func (r *run) connect(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) *p2p.DialError {
	if b := r.bond(to); b != nil && b.kept() != nil {
		return nil
	}
	r.mu.Lock()
	a := r.keeping[to]
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		r.keeping[to] = a
		r.mu.Unlock()
		a.failed = r.hold(ctx, to, via)
		a.gaveUp = ctx.Err() != nil
		r.mu.Lock()
		delete(r.keeping, to)
		r.mu.Unlock()
		close(a.done)
		return a.failed
	}
	r.mu.Unlock()
	select {
	case <-a.done:
	case <-ctx.Done():
		return failedAll(to, via, context.Cause(ctx))
	}
	if a.failed != nil && a.gaveUp && ctx.Err() == nil {
		return r.connect(ctx, to, via)
	}
	return a.failed
}

// hold dials a lane and keeps it.
func (r *run) hold(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) *p2p.DialError {
	l, failed := r.dial(ctx, to, via, forPeer)
	if failed != nil {
		return failed
	}
	b := r.bond(to)
	if b == nil || !r.start(func() { r.keep(l) }) || !r.start(func() { b.goBack(l) }) {
		l.cut()
		return &p2p.DialError{Peer: to, Err: p2p.ErrConnectionLost}
	}
	return nil
}

// A target is an address to dial for a candidate.
type target struct {
	of   p2p.Candidate
	addr netip.AddrPort
	err  error // why it must not be dialed
}

// targets returns the addresses at which a peer's lanes may be: those of its
// connections first, then those in the networks of this host.
func (r *run) targets(to identity.RemoteIdentity, via []p2p.Candidate) (all []target) {
	port := r.laneOf(to)
	for _, path := range r.paths(to) {
		if path.Kind != p2p.Relay && !slices.ContainsFunc(via, func(v p2p.Candidate) bool { return v.Addr.Addr() == path.Remote.Addr() }) {
			via = append([]p2p.Candidate{{Kind: path.Kind, Addr: path.Remote}}, via...)
		}
	}
	for _, c := range via {
		ip := c.Addr.Addr().Unmap()
		t := target{of: c, addr: netip.AddrPortFrom(ip, port)}
		switch {
		case c.Kind == p2p.Relay, !ip.IsValid(), ip.IsUnspecified(), ip.IsMulticast(),
			ip.Is6() && ip.IsLinkLocalUnicast() && ip.Zone() == "":
			t.err = errNoAddress
		case port == 0:
			t.err = ErrNoLanes
		case !r.shows(ip):
			t.err = ErrHidden
		case slices.ContainsFunc(all, func(o target) bool { return o.err == nil && o.addr == t.addr }):
			t.err = errNotTried
		}
		all = append(all, t)
	}
	slices.SortStableFunc(all, func(a, b target) int { return a.rank() - b.rank() })
	return all
}

// paths returns the paths of all connections with a peer.
func (r *run) paths(to identity.RemoteIdentity) (all []p2p.Path) {
	for _, c := range r.others(to) {
		all = append(all, c.Path())
	}
	if b := r.bond(to); b != nil {
		for _, l := range b.list() {
			all = append(all, l.path)
		}
	}
	return all
}

func (t target) rank() int {
	switch {
	case t.err != nil:
		return 2
	case near(t.addr.Addr()):
		return 0
	}
	return 1
}

// laneOf returns the port that a peer has announced for lanes, or 0.
func (r *run) laneOf(id identity.RemoteIdentity) uint16 {
	peer, ok := r.scope.Node().Peer(id)
	if !ok {
		return 0
	}
	value, _ := peer.Entry(p2p.KeyLane)
	return p2p.LanePort(map[string]string{p2p.KeyLane: value})
}

// A tried is the result of an attempt.
type tried struct {
	lane *lane
	p2p.Attempt
}

// dial makes a lane to the first address to answer.
func (r *run) dial(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate, why purpose) (*lane, *p2p.DialError) {
	targets := r.targets(to, via)
	failed := &p2p.DialError{Peer: to}
	if len(targets) == 0 {
		failed.Err = p2p.ErrNoCandidate
		return nil, failed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan tried, len(targets))
	begun := 0
	begin := func() {
		t := targets[begun]
		begun++
		go func() { results <- r.try(labels.With(ctx, r.listener.Name(), to, ""), to, t, why) }()
	}
	begin()
	next := time.NewTicker(stagger)
	defer next.Stop()
	for len(failed.Attempts) < len(targets) {
		select {
		case <-next.C:
			if begun < len(targets) {
				begin()
			}
		case a := <-results:
			if a.lane == nil {
				failed.Attempts = append(failed.Attempts, a.Attempt)
				if begun < len(targets) {
					begin()
				}
				continue
			}
			cancel()
			go discard(results, begun-len(failed.Attempts)-1)
			return r.adopt(a.lane, failed)
		}
	}
	if ctx.Err() != nil {
		failed.Err = context.Cause(ctx)
	}
	return nil, failed
}

// discard closes the lanes of n attempts that are no longer needed.
func discard(results <-chan tried, n int) {
	for range n {
		if a := <-results; a.lane != nil {
			a.lane.turnAway(p2p.ErrCanceled)
		}
	}
}

// adopt adds a lane to its peer's bond.
func (r *run) adopt(l *lane, failed *p2p.DialError) (*lane, *p2p.DialError) {
	if _, err := r.join(l); err != nil {
		l.cut()
		failed.Err = err
		return nil, failed
	}
	l.wire.SetDeadline(time.Time{})
	return l, nil
}

// try makes a lane to one address.
func (r *run) try(ctx context.Context, to identity.RemoteIdentity, t target, why purpose) tried {
	began := time.Now()
	if t.err != nil {
		return tried{Attempt: p2p.Attempt{Candidate: t.of, Err: t.err}}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	l, err := r.reach(ctx, to, t, why)
	for wait := busyWait; errors.Is(err, errFullThere); wait *= 2 {
		select {
		case <-time.After(wait):
			l, err = r.reach(ctx, to, t, why)
			continue
		case <-ctx.Done():
		}
		break
	}
	return tried{l, p2p.Attempt{Candidate: t.of, Err: err, Took: time.Since(began)}}
}

// busyWait is the first wait before a peer that had no room for a handshake is
// tried again.
const busyWait = 50 * time.Millisecond

// isClosed reports whether an error means that the other side closed the
// connection.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, wsaReset)
}

// wsaReset is ECONNRESET of Windows.
const wsaReset = syscall.Errno(10054)

// reach dials an address and waits until the peer has accepted the lane.
func (r *run) reach(ctx context.Context, to identity.RemoteIdentity, t target, why purpose) (*lane, error) {
	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	dialer.SetMultipathTCP(false)
	c, err := dialer.DialContext(ctx, "tcp", t.addr.String())
	if err != nil {
		return nil, fmt.Errorf("tcp: %w", err)
	}
	w := &wire{TCPConn: c.(*net.TCPConn)}
	setWindow(w.TCPConn, handshakeWindow)
	secure, err := r.keeper.client(ctx, w, to)
	if err != nil {
		c.Close()
		if isClosed(err) {
			err = fmt.Errorf("%w: %w", errFullThere, err)
		}
		return nil, err
	}
	l := r.open(w, secure, to, p2p.Path{Kind: t.of.Kind, Dialed: true, Remote: t.addr})
	stop := context.AfterFunc(ctx, func() { c.Close() })
	sent := time.Now()
	if err = l.say(hello{why, r.metadata()}); err == nil {
		l.hello, err = l.hear()
	}
	l.rtt = time.Since(sent)
	if !stop() {
		err = context.Cause(ctx)
	} else if err == nil && l.hello.purpose != why {
		err = errFrame
	}
	if err != nil {
		c.Close()
		if isClosed(err) { // the place for the handshake was given away, or its time was over, before the hello came
			err = fmt.Errorf("%w: %w", errFullThere, err)
		}
		return nil, err
	}
	return l, nil
}
