package away

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

const (
	afterwards = 300 * time.Millisecond // how long a stream is watched after its move
	quickly    = 5 * time.Second        // a direct path is found within this time, or never
)

// gaveUp is the time for which the contenders try, and some more.
var gaveUp = map[string]time.Duration{ours: 8 * time.Second, goLibp2p: 25 * time.Second}

// outside are addresses that go-libp2p takes for public (RFC 7535).
var outside = [3]byte{192, 31, 196}

// A natRow is one of [pairs].
type natRow struct {
	caller, callee netlab.NATKind
	direct         bool
}

func natRows() (rows []natRow) {
	kinds := map[string]netlab.NATKind{}
	for _, k := range []netlab.NATKind{netlab.Cone, netlab.Symmetric, netlab.Full} {
		kinds[k.String()] = k
	}
	for _, p := range pairs {
		if testing.Short() && !p.quick {
			continue
		}
		caller, callee, _ := strings.Cut(p.name, " calls ")
		rows = append(rows, natRow{kinds[caller], kinds[callee], p.direct})
	}
	return rows
}

func (row natRow) String() string { return fmt.Sprintf("%v calls %v", row.caller, row.callee) }

// A punching is the result of one call.
type punching struct {
	direct  bool
	after   time.Duration // from the call until both sides know the direct path
	longest time.Duration // between two echoes of the stream that was open before
	ended   bool          // the stream has ended
	moved   bool          // the stream runs directly
}

// punched measures how two nodes behind NATs get a direct path.
func punched(t *testing.T, r *results) {
	for _, row := range natRows() {
		if !row.direct {
			continue
		}
		natLab(t, row, func(p pair, contenders []contender) {
			for range count(20) {
				for _, of := range contenders {
					one, err := of.punch(p, quickly)
					require.NoError(t, err)
					r.punching(of.name, row, one)
				}
			}
		})
	}
	for _, row := range natRows() {
		if row.direct {
			continue
		}
		natLab(t, row, func(p pair, contenders []contender) { fruitless(t, r, row, p, contenders) })
	}
}

// fruitless makes many calls in parallel whose direct path never comes.
func fruitless(t *testing.T, r *results, row natRow, p pair, contenders []contender) {
	if testing.Short() {
		contenders = contenders[:1]
	}
	for _, of := range contenders {
		patience := gaveUp[of.kind]
		if testing.Short() {
			patience = time.Second
		}
		var all sync.WaitGroup
		failed := make(chan error, 20)
		for range count(20) {
			all.Go(func() {
				one, err := of.punch(p, patience)
				if err == nil {
					r.punching(of.name, row, one)
				}
				failed <- err
			})
		}
		all.Wait()
		close(failed)
		for err := range failed {
			require.NoError(t, err)
		}
	}
}

// natLab has two hosts behind routers, and a relay of each kind.
func natLab(t *testing.T, row natRow, f func(pair, []contender)) {
	t.Helper()
	lab := netlab.New(t, 3)
	lab.Outside = outside
	at := lab.Hosts[2].Public()
	metered := startRelay(t, lab.Hosts[2], at, serverConfig{Buffer: buffer, Port: port})
	stock := startRelay(t, lab.Hosts[2], at, serverConfig{Stock: true, Buffer: buffer, Port: port + 1})
	p := startPair(t, lab.Hosts[0].NAT(row.caller).Inside(), lab.Hosts[1].NAT(row.callee).Inside())
	f(p, []contender{{ours, ours, metered}, {goLibp2p, goLibp2p, stock}})
	for _, one := range []*netlab.Process{p.caller, p.callee, metered.Process, stock.Process} {
		one.Stop()
	}
}

// punch makes one call, and waits for a direct path.
func (of contender) punch(p pair, patience time.Duration) (one punching, err error) {
	c, err := p.start(of.kind, false, of.relay.relayEntry)
	if err != nil {
		return one, err
	}
	h, err := c.hold()
	if err != nil {
		return one, err
	}
	from, err := netlab.Call[time.Time](c.caller, "direct", peerArgs{Node: c.from, Peer: c.to, Within: patience})
	if err != nil {
		return one, err
	}
	if !from.IsZero() {
		to, err := netlab.Call[time.Time](c.callee, "direct", peerArgs{Node: c.to, Peer: c.from, Within: quickly})
		if err != nil {
			return one, err
		}
		one.direct = !to.IsZero()
		one.after = max(from.Sub(h.Began), to.Sub(h.Began))
	}
	time.Sleep(afterwards)
	state, err := c.held()
	if err != nil {
		return one, err
	}
	one.longest, one.ended, one.moved = state.Longest, state.Err != "", state.Direct
	return one, c.stop()
}

// punching records the result of a call.
func (r *results) punching(name string, row natRow, one punching) {
	key := fmt.Sprintf("%s, %v", name, row)
	yes := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	r.add(key+", direct", yes(one.direct))
	r.add(name+" ended", yes(one.ended))
	if one.direct {
		r.add(key+", after", ms(one.after))
		r.add(key+", longest", ms(one.longest))
		r.add(name+" moved", yes(one.moved))
	}
}
