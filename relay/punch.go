package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
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

// upgradeAgain is after how long another attempt is made, while the connection runs
// through a relay. The last one repeats.
var upgradeAgain = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

var (
	errNoDirectPath = errors.New("relay: no address of the peer answers")
	errOneSided     = errors.New("relay: the peer keeps its addresses to itself")
)

// upgrades are the attempts to find direct paths. The callee of a circuit begins
// them, with tracked peers only: others do not learn its addresses. The caller has
// dialed, and takes part.
type upgrades struct {
	mu       sync.Mutex
	attempts map[circuit.ProbeID]*attempt
	of       map[identity.RemoteIdentity]int
	running  map[junction.Conn]chan struct{} // of size 1: try again now
}

// Connected begins to look for a direct path.
func (r router) Connected(conn junction.Conn) {
	r.pending.proven(conn.Peer())
	if conn.Dialed() || r.cfg.Only || !r.isTracked(conn.Peer()) {
		return
	}
	u := &r.upgrades
	u.mu.Lock()
	defer u.mu.Unlock()
	if again := u.running[conn]; again != nil {
		signal(again)
		return
	}
	if u.running == nil {
		u.running = map[junction.Conn]chan struct{}{}
	}
	again := make(chan struct{}, 1)
	u.running[conn] = again
	if !r.start(func() { r.keepUpgrading(conn, again) }) {
		delete(u.running, conn)
	}
}

// again has all attempts be made at once, since the network is another one.
func (u *upgrades) again() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range u.running {
		signal(c)
	}
}

// keepUpgrading tries for as long as the connection is there.
func (c *Client) keepUpgrading(conn junction.Conn, again <-chan struct{}) {
	defer func() {
		c.upgrades.mu.Lock()
		defer c.upgrades.mu.Unlock()
		delete(c.upgrades.running, conn)
	}()
	ctx, cancel := context.WithCancel(conn.Context())
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	for i := 0; ctx.Err() == nil; i++ {
		if conn.Relayed() {
			if err := c.upgrade(ctx, conn); err != nil && ctx.Err() == nil {
				c.log.Debug("still relayed", "peer", conn.Peer(), "err", err)
			}
		}
		select {
		case <-time.After(upgradeAgain[min(i, len(upgradeAgain)-1)]):
		case <-again:
			i = -1
		case <-ctx.Done():
		}
	}
}

// upgrade is one attempt, of the callee.
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
	began := time.Now()
	if _, err := s.Write(circuit.Punch{Type: circuit.PunchConnect, Addrs: c.addrs(), Token: token}.Append(nil)); err != nil {
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

// Punch is an attempt, of the caller.
func (r router) Punch(conn junction.Conn, s junction.Stream) {
	defer s.Close()
	if !conn.Dialed() || r.cfg.Only {
		return
	}
	ctx, cancel := context.WithTimeout(conn.Context(), 2*upgradeIn)
	defer cancel()
	defer context.AfterFunc(r.running(), cancel)()
	if err := r.punch(ctx, conn, s); err != nil && ctx.Err() == nil {
		r.log.Debug("still relayed", "peer", conn.Peer(), "err", err)
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
		return errOneSided
	}
	if _, err := s.Write(circuit.Punch{Type: circuit.PunchConnect, Addrs: c.addrs()}.Append(nil)); err != nil {
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
		return nil // it was faster
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
			c.log.Debug("not moved", "peer", conn.Peer(), "to", to, "err", err)
			return false
		}
		return true
	})
}

// ownAddrs bounds the addresses of the node's own networks that are told, so that
// there is room for those outside.
const ownAddrs = circuit.MaxAddrs - 4

// addrs returns where this node may be reached, the likeliest first: its own
// addresses, a mapped port, and where relays see it.
func (c *Client) addrs() []netip.AddrPort {
	all := c.seam.Addrs()
	all = all[:min(len(all), ownAddrs)]
	if port, ok := c.cfg.Listener.Port(); ok && c.cfg.private {
		all = append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
	}
	mapped, _ := c.Mapped()
	outside := []netip.AddrPort{mapped}
	c.mu.Lock()
	servers := slices.Clone(c.servers)
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

// mayBe reports whether a peer may be at an address that it, or a relay, has said:
// anybody can say any. Addresses of private networks count in this node's own.
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

// shared are the addresses that carriers share out behind their NATs (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")
