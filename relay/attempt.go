package relay

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"maps"
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

// Attempts with one peer are separated by a rest, which doubles from attempt to
// attempt, and starts over after a success or after a long pause. The callee,
// which begins attempts, rests twice as long, so that the caller refuses none
// of them.
//
// After a change of either side's network, an attempt need not wait: restLifts
// attempts may skip the rest, and one more every half minute. The number is
// limited because any peer can claim such a change, and each attempt sends
// packets to addresses that the peer names.
const (
	restFirst = time.Second
	restMost  = 30 * time.Second
	restLifts = 4
)

// A rest is the rest after attempts with one peer.
type rest struct {
	ended  time.Time // end of the last attempt
	wait   time.Duration
	lifted time.Time // until when attempts that skipped a rest count
}

// left returns the time until the rest, multiplied by times, is over.
func (r rest) left(now time.Time, times time.Duration) time.Duration {
	return r.ended.Add(times * r.wait).Sub(now)
}

// over reports whether the rest ended so long ago that it can be forgotten.
func (r rest) over(now time.Time) bool {
	return r.left(now, 1) < -2*restMost && r.lifted.Before(now)
}

// after returns the rest after an attempt that has just ended.
func (r rest) after(now time.Time, worked bool) rest {
	if worked || r.wait == 0 || r.left(now, 1) < -2*restMost {
		return rest{now, restFirst, r.lifted}
	}
	return rest{now, min(2*r.wait, restMost), r.lifted}
}

// lift lets an attempt skip the rest, and returns false if too many have.
func (r *rest) lift(now time.Time, times time.Duration) bool {
	since := r.lifted
	if since.Before(now) {
		since = now
	}
	if since.Sub(now) > (restLifts-1)*times*restMost {
		return false
	}
	r.lifted = since.Add(times * restMost)
	return true
}

// An attempt is one search for a direct path, with a secret that only the two
// ends of the connection know.
type attempt struct {
	client *Client
	conn   junction.Conn
	prober *circuit.Prober
	news   chan struct{} // of size 1: confirmed has grown

	mu        sync.Mutex
	addrs     []netip.AddrPort // the peer's, the preferred first
	listed    int              // number of listed ones; the others have been learned
	sent      map[uint64]netip.AddrPort
	answered  map[uint64]bool
	confirmed []netip.AddrPort // but not yet returned by best
	answering []netip.AddrPort // all that have been confirmed
}

// begin prepares an attempt, which then takes the peer's probes.
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
		return nil, ErrTooOften
	}
	u.attempts[a.prober.ID()] = a
	u.of[conn.Peer()]++
	if n := u.notes[conn]; n != nil {
		n.attempt = a
	}
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

// rested reports whether enough time has passed since the last attempt that a
// peer began, or the peer may skip the rest.
func (u *upgrades) rested(peer identity.RemoteIdentity) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(u.rests, func(_ identity.RemoteIdentity, r rest) bool { return r.over(now) })
	r, ok := u.rests[peer]
	if !ok || r.left(now, 1) <= 0 {
		return true
	}
	may := r.lift(now, 1)
	u.rests[peer] = r
	return may
}

// rest makes the next attempt that a peer begins wait.
func (u *upgrades) rest(peer identity.RemoteIdentity, worked bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rests == nil {
		u.rests = map[identity.RemoteIdentity]rest{}
	}
	u.rests[peer] = u.rests[peer].after(time.Now(), worked)
}

// run sends probes for [probeFor], or until done returns true. It calls done
// often.
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
			return ErrNoDirectPath
		}
		if done(ctx) {
			return nil
		}
	}
}

// probe sends probes to the next addresses, at most one to each and at most the
// given number, and returns their number.
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

// best returns the preferred confirmed address, once.
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

// heard passes a packet to the attempt that it belongs to, if there is one.
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
			if !slices.Contains(a.answering, from) {
				a.answering = append(a.answering, from)
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
		a.addrs = append(a.addrs, from) // which a NAT has given it
		a.ping(from)
	}
	a.client.seam.Send(a.prober.Pong(p, from), from)
}
