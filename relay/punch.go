package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/hidden"
	"github.com/sdp2p/p2p/internal/junction"
)

const (
	upgradeIn     = 10 * time.Second // for the exchange of addresses
	attemptsAtOne = 2                // with one peer at a time
	lookEvery     = 20 * time.Millisecond
)

// upgradeAgain are the times between attempts while the connection runs through
// a relay. The last one repeats.
var upgradeAgain = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

// upgrades are the attempts to find direct paths. The callee of a circuit
// begins them, with tracked peers only, since others must not learn its
// addresses. The caller has dialed, and so takes part.
type upgrades struct {
	mu       sync.Mutex
	attempts map[circuit.ProbeID]*attempt
	of       map[identity.RemoteIdentity]int
	running  map[junction.Conn]*search
	rests    map[identity.RemoteIdentity]rest
	notes    map[junction.Conn]*note
	noted    int64 // number of connections so far
}

// Connected begins to look for a direct path.
func (r router) Connected(conn junction.Conn) {
	r.pending.proven(conn.Peer())
	stranger := !conn.Dialed() && !r.isTracked(conn.Peer()) || !conn.Candid()
	u := &r.upgrades
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case r.cfg.Only:
		u.note(conn, ErrOnly)
		return
	case conn.Dialed():
		u.note(conn, ErrNotBegun)
		return
	case stranger: // it may be tracked later
		u.note(conn, ErrNotTracked)
	default:
		u.note(conn, nil)
	}
	if s := u.running[conn]; s != nil {
		signal(s.again)
		return
	}
	if u.running == nil {
		u.running = map[junction.Conn]*search{}
	}
	s := &search{again: make(chan struct{}, 1)}
	u.running[conn] = s
	if !r.start(func() { r.keepUpgrading(conn, s) }) {
		delete(u.running, conn)
	}
}

// Moved looks for a direct path at once: the peer is in another network.
func (r router) Moved(conn junction.Conn) {
	u := &r.upgrades
	u.mu.Lock()
	defer u.mu.Unlock()
	if s := u.running[conn]; s != nil {
		s.elsewhere()
	}
}

// knows begins to look for direct paths to tracked peers that were strangers
// when they called.
func (c *Client) knows() {
	u := &c.upgrades
	u.mu.Lock()
	defer u.mu.Unlock()
	for conn, s := range u.running {
		if n := u.notes[conn]; n != nil && errors.Is(n.Err, ErrNotTracked) && c.isTracked(conn.Peer()) {
			n.Err = nil
			signal(s.again)
		}
	}
}

// elsewhere starts looking for direct paths at once, since this node's
// addresses have changed. Peers that it has called are told, so that they do,
// too.
func (c *Client) elsewhere() {
	u := &c.upgrades
	u.mu.Lock()
	var called []junction.Conn
	for conn := range u.notes {
		if conn.Dialed() {
			called = append(called, conn)
		}
	}
	for _, s := range u.running {
		s.elsewhere()
	}
	u.mu.Unlock()
	if c.cfg.Only || len(called) == 0 {
		return
	}
	own := c.addrs()
	for _, conn := range called {
		if conn.Relayed() && conn.Candid() {
			conn.Tell(own)
		}
	}
}

// A search looks for direct paths for a connection that the peer has dialed.
type search struct {
	again chan struct{} // of size 1: try again
	moved atomic.Bool   // at once, since the network has changed
}

func (s *search) elsewhere() {
	s.moved.Store(true)
	signal(s.again)
}

// await waits for d, or until another attempt is wanted and the rest is over.
// It reports whether another attempt was wanted.
func (s *search) await(ctx context.Context, d time.Duration, pause *rest) (again bool) {
	due := time.NewTimer(d)
	defer due.Stop()
	for {
		select {
		case <-due.C:
			return again
		case <-ctx.Done():
			return again
		case <-s.again:
		}
		left := max(0, pause.left(time.Now(), 2)) // otherwise the peer would refuse
		if moved := s.moved.Swap(false); moved && left > 0 && pause.lift(time.Now(), 2) {
			left = 0
		}
		again = true
		due.Reset(left)
	}
}

// keepUpgrading makes attempts until the connection ends.
func (c *Client) keepUpgrading(conn junction.Conn, s *search) {
	defer func() {
		c.upgrades.mu.Lock()
		defer c.upgrades.mu.Unlock()
		delete(c.upgrades.running, conn)
	}()
	ctx, cancel := context.WithCancel(conn.Context())
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	var pause rest
	for i := 0; ctx.Err() == nil; i++ {
		if conn.Relayed() && conn.Candid() && c.isTracked(conn.Peer()) {
			err := c.upgrade(ctx, conn)
			c.upgrades.ended(conn, err)
			if err != nil && ctx.Err() == nil {
				c.log.Debug("still relayed", "peer", conn.Peer(), "cause", err)
			}
			pause = pause.after(time.Now(), err == nil)
		}
		if s.await(ctx, upgradeAgain[min(i, len(upgradeAgain)-1)], &pause) {
			i = -1
		}
	}
}

// upgrade makes one attempt, as the callee.
func (c *Client) upgrade(ctx context.Context, conn junction.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, upgradeIn)
	defer cancel()
	s, err := conn.Open(ctx, junction.Upgrade)
	if err != nil {
		return err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })()
	var secret [16]byte
	rand.Read(secret[:])
	token := hidden.Of(secret)
	began, told := time.Now(), c.addrs()
	c.upgrades.told(conn, told)
	if _, err := s.Write(circuit.Punch{Type: circuit.PunchConnect, Addrs: told, Token: token}.Append(nil)); err != nil {
		return err
	}
	theirs, err := circuit.ReadPunch(s)
	if err != nil {
		return err
	}
	if theirs.Type != circuit.PunchConnect {
		return fmt.Errorf("relay: %w", circuit.UnexpectedMessage)
	}
	rtt := time.Since(began)
	a, err := c.begin(conn, token, circuit.Callee, theirs.Addrs)
	if err != nil {
		return err
	}
	defer c.over(a)
	if _, err := s.Write(circuit.Punch{Type: circuit.PunchSync}.Append(nil)); err != nil {
		return err
	}
	select {
	case <-time.After(rtt / 2): // the caller begins now
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return a.run(ctx, func(context.Context) bool {
		conn.Look()
		return !conn.Relayed()
	})
}

// Punch makes one attempt, as the caller.
func (r router) Punch(conn junction.Conn, s junction.Stream) {
	defer s.Close()
	if !conn.Dialed() || r.cfg.Only || !conn.Candid() {
		return
	}
	ctx, cancel := context.WithTimeout(conn.Context(), 2*upgradeIn)
	defer cancel()
	defer context.AfterFunc(r.running(), cancel)()
	if !r.upgrades.rested(conn.Peer()) {
		r.log.Debug("still relayed", "peer", conn.Peer(), "cause", ErrTooOften)
		return
	}
	err := r.punch(ctx, conn, s)
	r.upgrades.rest(conn.Peer(), err == nil)
	r.upgrades.ended(conn, err)
	if err != nil && ctx.Err() == nil {
		r.log.Debug("still relayed", "peer", conn.Peer(), "cause", err)
	}
}

func (c *Client) punch(ctx context.Context, conn junction.Conn, s junction.Stream) error {
	s.SetDeadline(time.Now().Add(upgradeIn))
	theirs, err := circuit.ReadPunch(s)
	if err != nil {
		return err
	}
	if theirs.Type != circuit.PunchConnect {
		return fmt.Errorf("relay: %w", circuit.UnexpectedMessage)
	}
	if theirs.Token == (circuit.PunchToken{}) {
		return ErrOneSided
	}
	told := c.addrs()
	c.upgrades.told(conn, told)
	if _, err := s.Write(circuit.Punch{Type: circuit.PunchConnect, Addrs: told}.Append(nil)); err != nil {
		return err
	}
	a, err := c.begin(conn, theirs.Token, circuit.Caller, theirs.Addrs)
	if err != nil {
		return err
	}
	defer c.over(a)
	sync, err := circuit.ReadPunch(s)
	if err != nil {
		return err
	}
	if sync.Type != circuit.PunchSync {
		return fmt.Errorf("relay: %w", circuit.UnexpectedMessage)
	}
	if !conn.Relayed() {
		return nil // the peer was faster
	}
	return a.run(ctx, func(ctx context.Context) bool {
		if !conn.Relayed() {
			return true // another attempt was faster
		}
		to, ok := a.best()
		if !ok {
			return false
		}
		if err := conn.Move(ctx, to); err != nil {
			c.log.Debug("not moved", "peer", conn.Peer(), "to", to, "cause", err)
			return false
		}
		return true
	})
}

// ownAddrs bounds the number of addresses of the node's own networks that are
// told, so that there is room for external ones.
const ownAddrs = circuit.MaxAddrs - 4

// addrs returns the addresses at which this node may be reached, the likeliest
// first: its own, a mapped port, and those at which relays see it.
func (c *Client) addrs() []netip.AddrPort {
	all := c.seam.Addrs()
	all = all[:min(len(all), ownAddrs)]
	if port, ok := c.cfg.Listener.Port(); ok && c.cfg.private {
		all = append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
	}
	mapped, _ := c.Mapped()
	outside := []netip.AddrPort{mapped}
	c.mu.Lock()
	servers := slices.Concat(c.servers, c.guests)
	c.mu.Unlock()
	for _, s := range servers {
		outside = append(outside, s.observed())
	}
	for _, a := range outside {
		if a.IsValid() && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all[:min(len(all), circuit.MaxAddrs)]
}

// mayBe reports whether a peer may be at an address that it or a relay has
// named, which can be any address. Addresses of private networks count only in
// this node's own networks.
func (c *Client) mayBe(a netip.AddrPort) bool {
	ip := a.Addr().Unmap()
	switch {
	case !c.seam.Dialable(a):
		return false
	case ip.IsLoopback(), ip.IsLinkLocalUnicast():
		return c.cfg.private
	case ip.IsPrivate() || shared.Contains(ip):
		return c.cfg.private || c.seam.Neighbor(ip)
	}
	return true
}

// shared are the addresses that carriers assign behind their NATs (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")
