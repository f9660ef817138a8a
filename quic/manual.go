package quic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/backoff"
)

// A ManualState is the state of a manual peer.
type ManualState uint8

const (
	ManualIdle       ManualState = iota // the listener does not run
	ManualConnecting                    // an attempt is being made
	ManualReached                       // the peer is known, and answered the last attempt
	ManualFailed                        // the last attempt failed; another one follows
)

// String returns the state's name.
func (s ManualState) String() string {
	return [...]string{"idle", "connecting", "reached", "failed"}[s]
}

// A ManualPeer describes the state of one entry of [Listener.SetManualPeers].
type ManualPeer struct {
	Entry    string // as given
	State    ManualState
	Since    time.Time               // of the state
	Identity identity.RemoteIdentity // of the peer that was last reached there; zero before that
	Addr     netip.AddrPort          // at which it was reached
	Err      error                   // of the last attempt, if it failed
}

// Times between the attempts to reach a manual peer.
const (
	manualRetryMin = time.Second
	manualRetryMax = 60 * time.Second
)

// manualPeers is the set of addresses that the user gave.
type manualPeers struct {
	changed chan struct{} // of size 1: the set was replaced

	mu       sync.Mutex
	peers    []*manualPeer
	back     map[*conn]bool                                // whose peers discovered this node through a manual entry of their own
	metadata map[identity.RemoteIdentity]map[string]string // of the peers that are reported as discovered
}

// A manualPeer is one entry, and the goroutine that serves it while the
// listener runs. Its fields are under manualPeers.mu.
type manualPeer struct {
	entry
	ManualPeer
	reported identity.RemoteIdentity // the identity that it vouches for as discovered; zero if none
	wake     chan struct{}           // of size 1: try again now
	cancel   context.CancelFunc      // of the goroutine; nil if there is none
}

func newManualPeers() *manualPeers {
	return &manualPeers{
		changed: make(chan struct{}, 1), back: map[*conn]bool{}, metadata: map[identity.RemoteIdentity]map[string]string{},
	}
}

// signal sends on a channel of size 1 unless it holds a value.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// SetManualPeers replaces the set of manual peers: addresses of peers that the
// user has given, each as "host", "host:port", "ip", "ip:port" or
// "[ipv6]:port". The port is [DefaultPort] if none is given. If an entry has
// another form, nothing changes, and the error names the entry.
//
// While the listener runs, it connects to each entry, trying all addresses of a
// name, to learn the identity of the peer; that peer is then discovered, with a
// manual candidate. Failed attempts are repeated after 1 s, then less and less
// often up to every 60 s, and at once when the set or the network changes.
// Entries that were in the set before keep their state.
func (l *Listener) SetManualPeers(entries []string) error {
	parsed := make([]entry, 0, len(entries))
	for _, text := range entries {
		e, err := parseEntry(text)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(parsed, func(other entry) bool { return other.text == text }) {
			parsed = append(parsed, e)
		}
	}
	m := l.manual
	m.mu.Lock()
	defer m.mu.Unlock()
	var peers []*manualPeer
	for _, e := range parsed {
		if i := slices.IndexFunc(m.peers, func(p *manualPeer) bool { return p.text == e.text }); i >= 0 {
			peers = append(peers, m.peers[i])
			signal(m.peers[i].wake)
			continue
		}
		peers = append(peers, &manualPeer{
			entry: e, ManualPeer: ManualPeer{Entry: e.text, Since: time.Now()}, wake: make(chan struct{}, 1),
		})
	}
	for _, p := range m.peers {
		if !slices.Contains(peers, p) && p.cancel != nil {
			p.cancel()
		}
	}
	m.peers = peers
	signal(m.changed)
	return nil
}

// ManualPeers describes the manual peers, in the order in which they were
// given.
func (l *Listener) ManualPeers() []ManualPeer {
	m := l.manual
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]ManualPeer, 0, len(m.peers))
	for _, p := range m.peers {
		all = append(all, p.ManualPeer)
	}
	return all
}

// addrs returns the addresses that entries name or were reached at.
func (m *manualPeers) addrs() (all []netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		for _, ip := range []netip.Addr{p.entry.addr, p.Addr.Addr()} {
			if ip.IsValid() {
				all = append(all, ip)
			}
		}
	}
	return all
}

// run serves the manual peers until ctx is done.
func (m *manualPeers) run(ctx context.Context, e *endpoint) {
	var workers sync.WaitGroup
	defer workers.Wait()
	for {
		m.mu.Lock()
		for _, p := range m.peers {
			if p.cancel != nil {
				continue
			}
			var workCtx context.Context
			workCtx, p.cancel = context.WithCancel(ctx)
			workers.Go(func() { m.work(workCtx, e, p) })
		}
		m.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-m.changed:
		}
	}
}

// networkChanged repeats the attempts that failed, since they may succeed now.
func (m *manualPeers) networkChanged() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		if p.State != ManualReached { // even the present attempt may fail because of the old network
			signal(p.wake)
		}
	}
}

// work keeps one entry reached until ctx is done.
func (m *manualPeers) work(ctx context.Context, e *endpoint, p *manualPeer) {
	defer func() {
		m.update(e, p, func() { p.State, p.cancel, p.reported = ManualIdle, nil, identity.RemoteIdentity{} })
	}()
	retry := backoff.Backoff{Min: manualRetryMin, Max: manualRetryMax}
	for ctx.Err() == nil {
		if c := m.reach(ctx, e, p); c == nil {
			p.pause(ctx, retry.Next(), &retry)
		} else if wait := c.awaitEnd(ctx, &retry); wait > 0 {
			p.pause(ctx, wait, &retry)
		}
	}
}

// reach makes one attempt and records its outcome. It returns the connection,
// or nil if the attempt failed or ctx is done.
func (m *manualPeers) reach(ctx context.Context, e *endpoint, p *manualPeer) *conn {
	m.update(e, p, func() {
		if p.State != ManualReached { // a reached peer is checked silently
			p.State = ManualConnecting
		}
	})
	c, addr, metadata, err := m.attempt(ctx, e, p)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		m.update(e, p, func() { p.State, p.Err, p.reported = ManualFailed, err, identity.RemoteIdentity{} })
		return nil
	}
	m.update(e, p, func() {
		p.State, p.Err, p.Identity, p.Addr, p.reported = ManualReached, nil, c.id, addr, c.id
		if metadata != nil {
			m.metadata[c.id] = metadata
		}
	})
	return c
}

// awaitEnd waits until the connection with a manual peer has ended, or ctx is
// done. It returns how long to wait before the next attempt.
func (c *conn) awaitEnd(ctx context.Context, retry *backoff.Backoff) time.Duration {
	reached := time.Now()
	select {
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	switch {
	case c.endedIdle():
		retry.Reset()
		return manualRetryMax
	case time.Since(reached) >= manualRetryMax:
		retry.Reset()
		return 0 // it was lost: check at once whether the peer is still there
	}
	// It ended soon: do not try again at once, or two incompatible nodes would
	// keep each other busy.
	return retry.Next()
}

// pause waits for the time wait, until the entry is to be tried at once, or
// until ctx is done.
func (p *manualPeer) pause(ctx context.Context, wait time.Duration, retry *backoff.Backoff) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-p.wake:
		retry.Reset()
	case <-timer.C:
	}
}

// update changes an entry, and reports the peers that it vouches for.
func (m *manualPeers) update(e *endpoint, p *manualPeer, change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	state, reported := p.State, p.reported
	change()
	if p.State != state {
		p.Since = time.Now()
	}
	m.report(e, reported)
	m.report(e, p.reported)
}

// report tells the node which manual candidates lead to a peer. The caller
// holds mu.
func (m *manualPeers) report(e *endpoint, id identity.RemoteIdentity) {
	if id.IsZero() {
		return
	}
	var candidates []p2p.Candidate
	add := func(kind p2p.CandidateKind, addr netip.AddrPort) {
		c := p2p.Candidate{Kind: kind, Addr: addr, Version: e.listener.recall(id)}
		if !slices.ContainsFunc(candidates, func(other p2p.Candidate) bool { return other.Addr == addr }) {
			candidates = append(candidates, c)
		}
	}
	for _, p := range m.peers {
		if p.reported == id {
			add(p2p.Manual, p.Addr)
		}
	}
	for c := range m.back {
		if c.id == id {
			add(p2p.Direct, c.remote()) // not an entry of this node's user
		}
	}
	if len(candidates) == 0 {
		delete(m.metadata, id)
		e.scope.Expired(id)
		return
	}
	if err := e.scope.Discovered(id, maps.Clone(m.metadata[id]), candidates); err != nil {
		e.log.Debug("manual peer", "peer", id, "cause", err)
	}
}

// discoveredBack records that a peer found this node through a manual entry of
// its own.
func (m *manualPeers) discoveredBack(c *conn, metadata map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	m.back[c] = true
	m.metadata[c.id] = metadata
	m.report(c.endpoint, c.id)
	return nil
}

// disconnected is called when a connection is gone, before the node learns of
// it. It keeps the peer's metadata for as long as an entry vouches for the
// peer.
func (m *manualPeers) disconnected(c *conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.back, c)
	if peer, ok := c.endpoint.scope.Node().Peer(c.id); ok && peer.Verified() && slices.ContainsFunc(m.peers, func(p *manualPeer) bool { return p.reported == c.id }) {
		m.metadata[c.id] = peer.Info().Metadata
	}
	m.report(c.endpoint, c.id)
}

// reconfirm checks the entries that vouch for a peer at once.
func (m *manualPeers) reconfirm(id identity.RemoteIdentity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		if p.reported == id {
			signal(p.wake)
		}
	}
}

// attempt makes sure that a connection with the node at the entry's address
// is up.
func (m *manualPeers) attempt(ctx context.Context, e *endpoint, p *manualPeer) (c *conn, addr netip.AddrPort, metadata map[string]string, err error) {
	lookup, cancel := context.WithTimeout(ctx, e.listener.cfg.DialTimeout)
	addrs, err := p.resolve(lookup)
	cancel()
	if err != nil {
		return nil, addr, nil, fmt.Errorf("quic: %s: %w", p.host, err)
	}
	id, addr, err := e.whoIsAt(ctx, addrs)
	if err != nil {
		return nil, addr, nil, err
	}
	if id == e.scope.Node().Identity() {
		return nil, addr, nil, errItself
	}
	if c = e.best(id); c == nil {
		if c, err = e.connect(ctx, id, []p2p.Candidate{{Kind: p2p.Manual, Addr: addr}}); err != nil {
			return nil, addr, nil, err
		}
	}
	version, err := c.awaitVersion(ctx)
	if err == nil && version == 1 {
		metadata, err = c.identify(ctx)
	}
	return c, addr, metadata, err
}

// whoIsAt returns the identity of the node at one of several addresses, and the
// first address to answer.
func (e *endpoint) whoIsAt(ctx context.Context, addrs []netip.AddrPort) (identity.RemoteIdentity, netip.AddrPort, error) {
	type answer struct {
		addr netip.AddrPort
		id   identity.RemoteIdentity
		err  error
	}
	ctx, cancel := context.WithTimeout(ctx, e.listener.cfg.DialTimeout+time.Duration(len(addrs))*candidateLead)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	answers := make(chan answer, len(addrs))
	for i, addr := range addrs {
		asking.Go(func() {
			lead := time.NewTimer(time.Duration(i) * candidateLead)
			defer lead.Stop()
			select {
			case <-lead.C:
			case <-ctx.Done():
			}
			a := answer{addr: addr, err: e.dialable(p2p.Candidate{Kind: p2p.Manual, Addr: addr})}
			if a.err == nil {
				a.id, a.err = e.identify(ctx, addr)
			}
			answers <- a
		})
	}
	var errs []error
	for range addrs {
		a := <-answers
		if a.err == nil {
			return a.id, a.addr, nil
		}
		errs = append(errs, fmt.Errorf("%v: %w", a.addr, a.err))
	}
	return identity.RemoteIdentity{}, netip.AddrPort{}, errors.Join(errs...)
}
