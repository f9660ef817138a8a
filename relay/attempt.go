package relay

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/junction"
)

const (
	probeFor      = 5 * time.Second
	probeFirst    = 10 * time.Millisecond // from the first round of probes to the second
	probeMore     = 5 * time.Millisecond  // longer each time,
	probeMost     = 110 * time.Millisecond
	probesASecond = 50
	probeBurst    = circuit.MaxAddrs
	maxLearned    = 4    // addresses that were not listed
	maxAnswered   = 1024 // transactions
)

var errBusy = errors.New("relay: enough attempts with that peer")

// An attempt is one search for a direct path, with a secret that only the two ends
// of the connection know.
type attempt struct {
	client *Client
	conn   junction.Conn
	prober *circuit.Prober
	news   chan struct{} // of size 1: confirmed has got more

	mu        sync.Mutex
	addrs     []netip.AddrPort // the peer's, in the order in which they are wanted
	listed    int              // of them; the others have been learned
	sent      map[uint64]netip.AddrPort
	answered  map[uint64]bool
	confirmed []netip.AddrPort
}

// begin makes an attempt ready for the peer's probes.
func (c *Client) begin(conn junction.Conn, token circuit.PunchToken, role circuit.Role, theirs []netip.AddrPort) (*attempt, error) {
	a := &attempt{
		client: c, conn: conn, prober: circuit.NewProber(token, role), news: make(chan struct{}, 1),
		sent: map[uint64]netip.AddrPort{}, answered: map[uint64]bool{},
	}
	for _, t := range theirs {
		if t = plain(t); c.mayBe(t) && !slices.Contains(a.addrs, t) {
			a.addrs = append(a.addrs, t)
		}
	}
	turn := func(t netip.AddrPort) int {
		switch {
		case c.seam.Neighbor(t.Addr()):
			return 0
		case t.Addr().Is6():
			return 1
		}
		return 2
	}
	slices.SortStableFunc(a.addrs, func(x, y netip.AddrPort) int { return cmp.Compare(turn(x), turn(y)) })
	a.listed = len(a.addrs)
	u := &c.upgrades
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.attempts == nil {
		u.attempts, u.of = map[circuit.ProbeID]*attempt{}, map[identity.RemoteIdentity]int{}
	}
	if u.of[conn.Peer()] >= attemptsAtOne || u.attempts[a.prober.ID()] != nil {
		return nil, errBusy
	}
	u.attempts[a.prober.ID()] = a
	u.of[conn.Peer()]++
	return a, nil
}

func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func (c *Client) over(a *attempt) {
	u := &c.upgrades
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.attempts, a.prober.ID())
	if u.of[a.conn.Peer()]--; u.of[a.conn.Peer()] == 0 {
		delete(u.of, a.conn.Peer())
	}
}

// run sends probes until done reports true, which is asked often, or for
// [probeFor].
func (a *attempt) run(ctx context.Context, done func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	round := time.NewTimer(0)
	defer round.Stop()
	began, sent := time.Now(), 0
	for gap, next := probeFirst, 0; ; {
		select {
		case <-round.C:
			may := probeBurst + int(time.Since(began).Seconds()*probesASecond) - sent
			n := a.probe(next, may)
			sent += n
			next += n
			round.Reset(gap)
			gap = min(gap+probeMore, probeMost)
			continue
		case <-a.news:
		case <-look.C:
		case <-ctx.Done():
			return errNoDirectPath
		}
		if done(ctx) {
			return nil
		}
	}
}

// probe sends probes to the next addresses, at most to each of them and as many as
// may be, and returns how many.
func (a *attempt) probe(next, may int) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n = 0; n < min(may, len(a.addrs)); n++ {
		a.ping(a.addrs[(next+n)%len(a.addrs)])
	}
	return n
}

// ping sends a probe. The caller holds mu.
func (a *attempt) ping(to netip.AddrPort) {
	var b [8]byte
	rand.Read(b[:])
	tx := binary.LittleEndian.Uint64(b[:])
	a.sent[tx] = to
	a.client.seam.Send(a.prober.Ping(tx), to)
}

// best returns the confirmed address that is wanted most, once.
func (a *attempt) best() (to netip.AddrPort, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.confirmed) == 0 {
		return to, false
	}
	slices.SortStableFunc(a.confirmed, func(x, y netip.AddrPort) int {
		return cmp.Compare(slices.Index(a.addrs, x), slices.Index(a.addrs, y))
	})
	to = a.confirmed[0]
	a.confirmed = a.confirmed[1:]
	return to, true
}

// heard hands a packet to the attempt that it belongs to, if there is one.
func (u *upgrades) heard(packet []byte, from netip.AddrPort) {
	id, ok := circuit.ProbeIDOf(packet)
	if !ok {
		return
	}
	u.mu.Lock()
	a := u.attempts[id]
	u.mu.Unlock()
	if a == nil {
		return
	}
	if p, ok := a.prober.Parse(packet); ok {
		a.heard(p, plain(from))
	}
}

func (a *attempt) heard(p circuit.Probe, from netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.Pong {
		if a.sent[p.Transaction] == from {
			delete(a.sent, p.Transaction)
			if !slices.Contains(a.confirmed, from) {
				a.confirmed = append(a.confirmed, from)
			}
			signal(a.news)
		}
		return
	}
	if a.answered[p.Transaction] || len(a.answered) >= maxAnswered || !a.client.mayBe(from) {
		return
	}
	a.answered[p.Transaction] = true
	if !slices.Contains(a.addrs, from) {
		if len(a.addrs) >= a.listed+maxLearned {
			return
		}
		a.addrs = append(a.addrs, from) // a NAT has given it that one
		a.ping(from)
	}
	a.client.seam.Send(a.prober.Pong(p, from), from)
}
