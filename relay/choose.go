package relay

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

const (
	// If the list is no longer than shortList, all relays are tried for a peer.
	// Otherwise only the first few by rendezvous hashing are, in at least two
	// zones if possible: the dialer and the peer know them without having
	// communicated.
	shortList = 8
	hashed    = 3
)

// relaysOf returns the relays at which a node may have a reservation. The
// caller holds mu.
func (c *Client) relaysOf(id identity.RemoteIdentity) []*server {
	if len(c.servers) <= shortList {
		return slices.Clone(c.servers)
	}
	all := slices.Clone(c.servers)
	weight := func(s *server) [32]byte {
		relay, node := s.Identity.Bytes(), id.Bytes()
		return sha256.Sum256(append(relay[:], node[:]...))
	}
	slices.SortFunc(all, func(a, b *server) int {
		x, y := weight(a), weight(b)
		return bytes.Compare(y[:], x[:])
	})
	// They should not fail together: if all are in one zone, the first of
	// another zone replaces the last.
	other := func(s *server) bool { return s.Zone == "" || s.Zone != all[0].Zone }
	if i := slices.IndexFunc(all, other); all[0].Zone != "" && i >= hashed {
		all[hashed-1] = all[i]
	}
	return all[:hashed]
}

// Ways returns the relays through which a tracked peer may be reached.
func (c *Client) Ways(to identity.RemoteIdentity) (all []p2p.Candidate) {
	if !c.isTracked(to) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.near(c.relaysOf(to)) {
		all = append(all, p2p.Candidate{Kind: p2p.Relay, Relay: s.Identity})
	}
	return all
}

// near sorts relays in the order in which to try them: connected ones first,
// and nearer ones first.
func (*Client) near(all []*server) []*server {
	slices.SortStableFunc(all, func(a, b *server) int {
		x, y := a.distance(), b.distance()
		return cmp.Compare(x, y)
	})
	return all
}

// chosen returns the relays at which to reserve, the best first: more than are
// needed, since some may refuse.
func (c *Client) chosen() []*server {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scope == nil {
		return nil
	}
	return c.relaysOf(c.scope.Node().Identity())
}

// A keeper keeps reservations at the best of the chosen relays.
type keeper struct {
	client *Client
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	chosen  []*server
	keeping map[*server]context.CancelFunc
	tasks   sync.WaitGroup
}

func newKeeper(ctx context.Context, c *Client) *keeper {
	k := &keeper{client: c, keeping: map[*server]context.CancelFunc{}}
	k.ctx, k.cancel = context.WithCancel(ctx)
	return k
}

// measured is the number of relays to connect to in order to find near ones.
const (
	measured    = 5
	measureMore = 250 * time.Millisecond // after there are enough
)

// measure connects to some relays, until the round-trip times of enough are
// known.
func (k *keeper) measure(chosen []*server) {
	if len(chosen) <= Reservations {
		return
	}
	ctx, cancel := context.WithTimeout(k.ctx, answerIn)
	defer cancel()
	results := make(chan error)
	some := chosen[:min(measured, len(chosen))]
	for _, s := range some {
		k.tasks.Go(func() {
			_, err := s.connected(k.ctx)
			select {
			case results <- err:
			case <-ctx.Done():
			}
		})
	}
	good := 0
	for range some {
		select {
		case err := <-results:
			if err != nil {
				continue
			}
			if good++; good == Reservations {
				time.AfterFunc(measureMore, cancel)
			}
		case <-ctx.Done():
			return
		}
	}
}

// set makes the keeper keep reservations at some of the given relays.
func (k *keeper) set(chosen []*server) {
	k.measure(chosen)
	chosen = k.client.near(chosen)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.chosen = chosen
	for s, cancel := range k.keeping {
		if !slices.Contains(chosen, s) {
			cancel()
			delete(k.keeping, s)
			s.drop()
		}
	}
	k.fill()
}

// fill begins to keep as many reservations as are needed, in different zones if
// possible. The caller holds mu.
func (k *keeper) fill() {
	good, zones := 0, map[string]bool{}
	for s := range k.keeping {
		if !s.refused() {
			good++
			zones[s.Zone] = true
		}
	}
	for _, anyZone := range []bool{false, true} {
		for _, s := range k.chosen {
			if good >= Reservations || k.keeping[s] != nil || !anyZone && s.Zone != "" && zones[s.Zone] {
				continue
			}
			ctx, cancel := context.WithCancel(k.ctx)
			k.keeping[s] = cancel
			good++
			zones[s.Zone] = true
			k.tasks.Go(func() { s.keep(ctx, k.failed, k.trim) })
		}
	}
}

// failed replaces a relay that does not work by another.
func (k *keeper) failed() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ctx.Err() == nil {
		k.fill()
	}
}

// trim gives up relays that have replaced others, once there are enough
// reservations again. Circuits through them continue.
func (k *keeper) trim() {
	k.mu.Lock()
	defer k.mu.Unlock()
	ready, zones := 0, map[string]int{}
	for s := range k.keeping {
		if s.ready() {
			ready++
			zones[s.Zone]++
		}
	}
	apart := len(zones) // number of relays that do not fail together
	if unknown := zones[""]; unknown > 0 {
		apart += unknown - 1
	}
	same := func(s *server, least int) bool { return s.Zone != "" && zones[s.Zone] > least }
	for _, spare := range []func(*server) bool{
		func(s *server) bool {
			return !s.ready() && (apart >= Reservations || ready >= Reservations && same(s, 0))
		},
		func(s *server) bool { return s.ready() && ready > Reservations && same(s, 1) },
		func(s *server) bool { return s.ready() && ready > Reservations },
	} {
		for _, s := range slices.Backward(k.chosen) { // the worst first
			if k.keeping[s] == nil || !spare(s) {
				continue
			}
			if s.ready() {
				ready--
				zones[s.Zone]--
			}
			k.keeping[s]()
			delete(k.keeping, s)
			s.release()
		}
	}
}

func (k *keeper) stop() {
	k.mu.Lock()
	k.cancel()
	k.mu.Unlock()
	k.tasks.Wait()
}
