package quic

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
)

// A meddler is a relay that tampers with the packets of its circuits, which
// share its state.
type meddler struct {
	drop, replay, reorder, flip, foreign, delay float64 // probabilities, for each packet
	cut                                         int     // a direction ends within so many bytes; 0: never

	mu     sync.Mutex
	random *mathrand.Rand
	seen   [][]byte // packets of all circuits and directions, the source of foreign ones
	did    map[string]int
}

func (m *meddler) chance(p float64, what string) bool {
	if p == 0 || m.random.Float64() >= p {
		return false
	}
	m.did[what]++
	return true
}

// A meddled is one direction of a circuit.
type meddled struct {
	*meddler
	r      io.Reader
	mine   [][]byte // packets of this direction
	held   []byte   // a packet that the next one overtakes
	out    bytes.Buffer
	passed int
	end    int // the number of bytes after which it ends
}

func (m *meddler) meddle(r io.Reader) io.Reader {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := &meddled{meddler: m, r: r}
	if m.cut > 0 {
		d.end = 1 + m.random.IntN(m.cut)
	}
	return d
}

func (d *meddled) Read(b []byte) (int, error) {
	for d.out.Len() == 0 {
		var size [2]byte
		if _, err := io.ReadFull(d.r, size[:]); err != nil {
			return 0, err
		}
		packet := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(d.r, packet); err != nil {
			return 0, err
		}
		time.Sleep(d.take(packet))
	}
	n, _ := d.out.Read(b)
	if d.passed += n; d.end > 0 && d.passed >= d.end {
		if n -= d.passed - d.end; n <= 0 {
			return 0, io.EOF
		}
		d.passed = d.end
	}
	return n, nil
}

// take handles a packet, and returns for how long it is delayed.
func (d *meddled) take(packet []byte) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mine, d.seen = append(d.mine, packet), append(d.seen, packet)
	if d.chance(d.flip, "flip") {
		packet = bytes.Clone(packet)
		// The header is altered as often as the content.
		packet[d.random.IntN([]int{1, 24, len(packet)}[d.random.IntN(3)])%len(packet)] ^= 1 << d.random.IntN(8)
	}
	switch {
	case d.chance(d.drop, "drop"):
	case d.held == nil && d.chance(d.reorder, "reorder"):
		d.held = packet
	default:
		d.put(packet)
		if d.held != nil {
			d.put(d.held)
			d.held = nil
		}
	}
	if d.chance(d.replay, "replay") {
		d.put(d.mine[d.random.IntN(len(d.mine))])
	}
	if d.chance(d.foreign, "foreign") {
		d.put(d.seen[d.random.IntN(len(d.seen))])
	}
	if d.chance(d.delay, "delay") {
		return time.Duration(d.random.IntN(10)) * time.Millisecond
	}
	return 0
}

func (d *meddled) put(packet []byte) {
	d.out.Write(binary.BigEndian.AppendUint16(nil, uint16(len(packet))))
	d.out.Write(packet)
}

// echoing starts a node that echoes, and reports who calls it.
func echoing(t *testing.T) (*p2p.P2P, *Listener, chan identity.RemoteIdentity) {
	t.Helper()
	l, from := New(Config{DialTimeout: time.Minute}), make(chan identity.RemoteIdentity, 64)
	n, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{l}, Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
		from <- s.Peer().Identity()
		_, err := io.Copy(s, s)
		return err
	})})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Shutdown(context.Background())) })
	return n, l, from
}

// A relay drops, delays, repeats, reorders and alters packets, mixes them with
// those of other circuits and of the other direction, and ends circuits at any
// byte. Even so, the bytes that arrive are those that the peer has sent, or
// there is an error.
func TestMeddlingRelay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		m   *meddler
		may bool // whether the connection may end
	}{
		"delay":   {&meddler{delay: 0.3}, false},
		"drop":    {&meddler{drop: 0.05}, false},
		"replay":  {&meddler{replay: 1}, false},
		"reorder": {&meddler{reorder: 0.3}, false},
		"flip":    {&meddler{flip: 0.05}, false},
		"foreign": {&meddler{foreign: 0.5}, false},
		"all":     {&meddler{delay: 0.1, drop: 0.02, replay: 0.3, reorder: 0.1, flip: 0.02, foreign: 0.3}, false},
		"cut":     {&meddler{cut: 200_000}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := mathrand.Uint64()
			t.Log("seed", seed)
			m := c.m
			m.random, m.did = mathrand.New(mathrand.NewPCG(seed, 1)), map[string]int{}
			x := newExchange()
			x.meddle = m.meddle
			a, la, _ := echoing(t)
			x.open(a, la)
			for range 2 { // two callees, so that there are foreign packets
				b, lb, from := echoing(t)
				x.open(b, lb)
				lb.running().scope.Track(a.Identity())
				peer := la.running().scope.Track(b.Identity())
				whole := exchangeThrough(t, la, b.Identity(), x.identity)
				require.True(t, whole || c.may)
				select {
				case id := <-from:
					require.Equal(t, a.Identity(), id)
				default:
					require.False(t, whole)
				}
				for _, known := range peer.Info().Connections {
					require.Equal(t, x.identity, known.Path.Relay)
				}
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			t.Log(m.did, len(m.seen), "packets")
			if !c.may {
				require.NotEmpty(t, m.did)
			}
		})
	}
}

// exchangeThrough sends bytes to a peer that echoes, and reports whether all of
// them came back; those that do must equal those that were sent.
func exchangeThrough(t *testing.T, l *Listener, to, relay identity.RemoteIdentity) bool {
	s, err := l.Dial(t.Context(), to, []p2p.Candidate{{Kind: p2p.Relay, Relay: relay}})
	if err != nil {
		require.False(t, errors.Is(err, ErrOtherPeer), err)
		t.Log("no connection:", err)
		return false
	}
	defer s.Close()
	require.Equal(t, p2p.Relay, s.Path().Kind)
	require.Equal(t, to, l.running().best(to).id)
	sent, back := make([]byte, 300_000), make([]byte, 300_000)
	rand.Read(sent)
	deadline := time.Now().Add(2 * time.Minute)
	s.SetReadDeadline(deadline)
	s.SetWriteDeadline(deadline)
	go s.Write(sent)
	n, err := io.ReadFull(s, back)
	require.Equal(t, sent[:n], back[:n])
	if err != nil {
		t.Log("after", n, "bytes:", err)
	}
	return err == nil
}

var _ junction.Router = (*desk)(nil)

// A stranger with many keys fills the places for strangers that come through
// relays; a member that calls through the same relay connects all the same.
func TestManyKeysThroughRelay(t *testing.T) {
	t.Parallel()
	n := newAwayNodes(t, true)
	const keys = 200 // 1,000 take as many handshakes as an address may have in half a minute
	var left, in atomic.Int32
	left.Store(keys)
	var attackers sync.WaitGroup
	for range 8 {
		attackers.Go(func() {
			for left.Add(-1) >= 0 {
				if n.dialAs(t, identity.New()) == nil {
					in.Add(1)
				}
			}
		})
	}
	for i := range 20 {
		require.Eventually(t, func() bool { return left.Load() < int32(keys-keys/20*i) }, time.Minute, time.Millisecond)
		ours, _ := n.dial(t)
		require.NoError(t, ours.Close())
		require.Eventually(t, func() bool { return n.lb.running().best(n.a.Identity()) == nil }, time.Minute, time.Millisecond)
	}
	attackers.Wait()
	e := n.lb.running()
	strangers := 0
	for _, c := range e.all() {
		if c.stranger() {
			strangers++
		}
	}
	require.LessOrEqual(t, strangers, e.limits.StrangersPerAddr)
	t.Log(in.Load(), "handshakes,", strangers, "connections")
}
