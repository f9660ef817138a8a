package away

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
)

// A feeder sends to the callee for as long as the measurement takes.
type feeder struct {
	name string
	of   *netlab.Process
	id   string
}

// beside measures how much of its speed a direct transfer keeps beside another
// one to the same node that runs at full speed, through a relay or directly;
// and how long a round trip of a byte on the direct connection takes meanwhile.
func beside(t *testing.T, r *results) {
	lab := netlab.New(t, 2)
	lab.Outside = outside
	h := lab.Hosts[0]
	relay := startRelay(t, h, h.Public(), serverConfig{Buffer: buffer, Port: port}).relayEntry
	var keys [4]identity.Identity
	for i := range keys {
		keys[i] = identity.New()
	}
	callee, caller, kept, plain := keys[0], keys[1], keys[2], keys[3]
	begin := func(key identity.Identity, only bool, track ...identity.Identity) *netlab.Process {
		p := h.Start(t, none{})
		p.Await(time.Time{}, "ready")
		args := startArgs{Kind: ours, Seed: key.PrivateKey().Seed(), Relays: []relayEntry{relay}, Only: only}
		for _, one := range track {
			args.Track = append(args.Track, one.String())
		}
		_, err := netlab.Call[string](p, "start", args)
		require.NoError(t, err)
		return p
	}
	to := begin(callee, false, caller, kept, plain)
	from := begin(caller, false, callee)
	c := couple{pair{from, to}, caller.String(), callee.String()}
	feeders := []feeder{{"nothing", nil, ""}, {"relayed", begin(kept, true, callee), kept.String()}, {"direct", begin(plain, false, callee), plain.String()}}
	_, err := c.hold()
	require.NoError(t, err)
	c.becomes(t, true)
	for _, f := range feeders[1:] {
		_, err := netlab.Call[holding](f.of, "hold", peerArgs{Node: f.id, Peer: c.to})
		require.NoError(t, err)
		fed := couple{pair{f.of, to}, f.id, c.to}
		require.True(t, fed.becomes(t, f.name == "direct"))
	}
	for range count(7) {
		for _, f := range feeders {
			fed(t, r, c, f)
		}
	}
	require.NoError(t, c.stop())
}

// fed takes one measurement.
func fed(t *testing.T, r *results, c couple, f feeder) {
	t.Helper()
	size, most := int64(96<<20), int64(1<<30)
	if testing.Short() {
		size, most = 4<<20, 8<<20
	}
	done := make(chan error, 1)
	over := make(chan none)
	go func() {
		defer close(done)
		for f.of != nil {
			if _, err := netlab.Call[time.Duration](f.of, "pump", peerArgs{Node: f.id, Peer: c.to, Bytes: most / 64}); err != nil {
				done <- err
				return
			}
			select {
			case <-over:
				return
			default:
			}
		}
	}()
	if f.of != nil {
		time.Sleep(afterwards) // until the feeder runs at full speed
	}
	_, err := netlab.Call[holding](c.caller, "held", peerArgs{Node: c.from, Anew: true})
	require.NoError(t, err)
	before, err := c.held()
	require.NoError(t, err)
	time.Sleep(afterwards) // a round trip without a transfer beside it
	after, err := c.held()
	require.NoError(t, err)
	r.add("ping, "+f.name, ms(after.Echoes-before.Echoes)/max(float64(after.Rounds-before.Rounds), 1))
	took, err := c.pump(size)
	require.NoError(t, err)
	r.add("beside "+f.name, float64(size)/1e6/took.Seconds())
	close(over)
	require.NoError(t, <-done)
	path, err := c.path()
	require.NoError(t, err)
	require.True(t, path.Direct)
}
