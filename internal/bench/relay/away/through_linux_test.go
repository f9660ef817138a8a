package away

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
)

// A contender is a kind of node, and the relay that it uses.
type contender struct {
	name  string
	kind  string
	relay *relayProcess
}

// A pair is two processes in which nodes come and go: a caller and a callee.
type pair struct{ caller, callee *netlab.Process }

func startPair(t *testing.T, caller, callee *netlab.Host) pair {
	t.Helper()
	p := pair{caller.Start(t, none{}), callee.Start(t, none{})}
	p.caller.Await(time.Time{}, "ready")
	p.callee.Await(time.Time{}, "ready")
	return p
}

// A couple is a node in each process of a pair.
type couple struct {
	pair
	from, to string // the nodes' identities
}

// start starts two nodes that may call each other. It returns errors, since it
// is called concurrently.
func (p pair) start(kind string, only bool, relays ...relayEntry) (c couple, err error) {
	c.pair = p
	keys := [2]identity.Identity{identity.New(), identity.New()}
	args := func(i int) startArgs {
		return startArgs{Kind: kind, Seed: keys[i].PrivateKey().Seed(), Track: []string{keys[1-i].String()}, Relays: relays, Only: only}
	}
	if c.to, err = netlab.Call[string](p.callee, "start", args(1)); err != nil {
		return c, fmt.Errorf("callee: %w", err)
	}
	if c.from, err = netlab.Call[string](p.caller, "start", args(0)); err != nil {
		return c, fmt.Errorf("caller: %w", err)
	}
	return c, nil
}

func (c couple) stop() error {
	if _, err := netlab.Call[none](c.caller, "stop", peerArgs{Node: c.from}); err != nil {
		return err
	}
	_, err := netlab.Call[none](c.callee, "stop", peerArgs{Node: c.to})
	return err
}

func (c couple) hold() (holding, error) {
	return netlab.Call[holding](c.caller, "hold", peerArgs{Node: c.from, Peer: c.to})
}

func (c couple) held() (holding, error) {
	return netlab.Call[holding](c.caller, "held", peerArgs{Node: c.from})
}

func (c couple) path() (nodePath, error) {
	return netlab.Call[nodePath](c.caller, "path", peerArgs{Node: c.from, Peer: c.to})
}

func (c couple) pump(bytes int64) (time.Duration, error) {
	return netlab.Call[time.Duration](c.caller, "pump", peerArgs{Node: c.from, Peer: c.to, Bytes: bytes})
}

// through measures the transfers through relays: all on one host, with nothing
// in between.
func through(t *testing.T, r *results) {
	lab := netlab.New(t, 2)
	h := lab.Hosts[0]
	at := h.Public()
	metered := startRelay(t, h, at, serverConfig{Buffer: buffer, Port: port})
	stock := startRelay(t, h, at, serverConfig{Stock: true, Buffer: buffer, Port: port + 1})
	small := startRelay(t, h, at, serverConfig{Stock: true, Port: port + 2})
	p := startPair(t, h, h)
	firstBytes(t, r, p, []contender{{ours, ours, metered}, {"ours, stock", ours, stock}, {goLibp2p, goLibp2p, stock}})
	bulk(t, r, p, []contender{{ours, ours, metered}, {"ours, stock", ours, stock}, {"ours, small", ours, small}, {goLibp2p, goLibp2p, stock}})
	p.caller.Stop()
	p.callee.Stop()
	b, err := netlab.Call[bill](metered.Process, "bill", none{})
	require.NoError(t, err)
	r.add("charged", float64(b.Charged))
	r.add("relayed", float64(b.Relayed))
}

// firstBytes measures how long the first byte from a peer takes that was not
// connected.
func firstBytes(t *testing.T, r *results, p pair, all []contender) {
	for range count(20) {
		for _, of := range all {
			c, err := p.start(of.kind, true, of.relay.relayEntry)
			require.NoError(t, err)
			h, err := c.hold()
			require.NoError(t, err)
			r.add(of.name+" first", ms(h.First))
			require.NoError(t, c.stop())
		}
	}
}

// bulk measures the cost of a transfer to the relay and to both ends.
func bulk(t *testing.T, r *results, p pair, all []contender) {
	size := int64(96 << 20)
	if testing.Short() {
		size = 4 << 20
	}
	couples := make([]couple, len(all))
	for i, of := range all {
		var err error
		couples[i], err = p.start(of.kind, true, of.relay.relayEntry)
		require.NoError(t, err)
		_, err = couples[i].pump(1 << 20)
		require.NoError(t, err)
	}
	ends := func() time.Duration {
		total := time.Duration(0)
		for _, one := range []*netlab.Process{p.caller, p.callee} {
			u, err := netlab.Call[usage](one, "usage", false)
			require.NoError(t, err)
			total += u.CPU
		}
		return total
	}
	gib := float64(size) / (1 << 30)
	for range count(15) {
		for i, of := range all {
			relayed, computed := of.relay.usage(t, false).CPU, ends()
			took, err := couples[i].pump(size)
			require.NoError(t, err)
			r.add(of.name+" relay CPU", (of.relay.usage(t, false).CPU-relayed).Seconds()/gib)
			r.add(of.name+" ends CPU", (ends()-computed).Seconds()/gib)
			r.add(of.name+" speed", float64(size)/1e6/took.Seconds())
		}
	}
	for _, c := range couples {
		path, err := c.path()
		require.NoError(t, err)
		require.False(t, path.Direct)
		require.NoError(t, c.stop())
	}
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }
