package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/hidden"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/multistream"
)

// linked returns a client, and its session with a relay.
func linked(t *testing.T, s *seam) (*Client, *link, *script) {
	t.Helper()
	c := bare(t, s, entries(1)...)
	up, err := c.servers[0].connected(t.Context())
	require.NoError(t, err)
	return c, up, s.sessions[0]
}

func someone() identity.RemoteIdentity { return identity.New().Remote() }

// A relay may bring 8 circuits in which nothing has been proved yet, 4 of them
// from callers that are not tracked, and 2 from each caller; after 10 s, it may
// bring others.
func TestWaitingCircuits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, up, relay := linked(t, always(newScript))
		tracked := []identity.RemoteIdentity{someone(), someone(), someone(), someone()}
		for _, id := range tracked {
			c.node.(friends)[id] = true
		}
		proposal := multistream.Question(circuit.PacketsProtocol)
		call := func(id identity.RemoteIdentity) circuit.Status {
			status, theirs := relay.call(id, proposal)
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			synctest.Wait()
			return status
		}
		stranger := someone()
		for i, want := range []circuit.Status{circuit.OK, circuit.OK, circuit.ResourceLimit} {
			require.Equal(t, want, call(stranger), i)
		}
		require.Equal(t, circuit.OK, call(someone()))
		require.Equal(t, circuit.OK, call(someone()))
		for range 100 {
			require.Equal(t, circuit.ResourceLimit, call(someone()))
		}
		for _, id := range tracked {
			require.Equal(t, circuit.OK, call(id))
		}
		require.Equal(t, circuit.ResourceLimit, call(tracked[0]))
		require.Len(t, c.pending.all, maxWaiting)
		require.EqualValues(t, maxWaiting, up.circuits.Load(), "refused circuits no longer count")

		c.pending.proven(stranger)
		require.Equal(t, circuit.OK, call(someone()))
		time.Sleep(provenIn)
		synctest.Wait()
		require.Empty(t, c.pending.all)
		require.Equal(t, circuit.OK, call(stranger))
	})
}

// A relay's own message on a stream may end at any byte, and have any content:
// the stream is closed, and nothing stays counted.
func TestBrokenCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := always(newScript)
		s.refuses = errors.New("not now")
		c, up, relay := linked(t, s)
		whole := []byte(multistream.Question(circuit.StopProtocol))
		whole = circuit.Stop{Type: circuit.StopConnect, Peer: someone()}.Append(whole)
		whole = append(whole, multistream.Question(circuit.PacketsProtocol)...)
		random := rand.New(rand.NewPCG(1, 2))
		for n := range 3 * len(whole) {
			b := whole[:min(n, len(whole))]
			if n > len(whole) {
				b = append([]byte(nil), whole...)
				b[random.IntN(len(b))] ^= byte(1 + random.IntN(255))
			}
			ours, theirs := relay.stream()
			relay.incoming <- ours
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			_, _ = theirs.Write(b)
			if random.IntN(2) == 0 {
				theirs.Close()
			}
		}
		time.Sleep(provenIn)
		synctest.Wait()
		require.Empty(t, c.pending.all)
		require.Zero(t, up.circuits.Load())
		require.False(t, up.gone())
	})
}

// endless sends packets that no connection accepts.
func endless(theirs net.Conn, _ circuit.Hop) {
	_, _ = theirs.Write(circuit.Hop{Type: circuit.HopStatus, Status: circuit.OK}.Append(nil))
	if _, _, err := multistream.Accept(theirs, circuit.PacketsProtocol); err != nil {
		return
	}
	for b := make([]byte, 32<<10); ; {
		if _, err := theirs.Write(b); err != nil {
			return
		}
	}
}

// A circuit that has brought 256 KiB which no connection accepted is closed:
// the dialer would pay for them.
func TestUnprovenBytes(t *testing.T) {
	for _, version := range []int{0, 2} {
		s := always(func() *script {
			made := newScript()
			made.hop = endless
			return made
		})
		c, up, _ := linked(t, s)
		to := someone()
		way, err := router{c}.Circuit(t.Context(), c.servers[0].Identity, netip.AddrPort{}, to, version)
		require.NoError(t, err)
		if version == 2 {
			_, err := way.Write([]byte("first"))
			require.NoError(t, err)
		}
		n, err := io.Copy(io.Discard, way)
		require.ErrorIs(t, err, errUnproven)
		require.LessOrEqual(t, n, int64(maxUnproven))
		require.Greater(t, n, int64(maxUnproven-64<<10))
		require.NoError(t, way.Close())
		require.NoError(t, way.Close())
		require.Zero(t, up.circuits.Load())
		require.Empty(t, c.pending.all)

		way, err = router{c}.Circuit(t.Context(), c.servers[0].Identity, netip.AddrPort{}, to, 0)
		require.NoError(t, err)
		c.pending.proven(to)
		n, err = io.CopyN(io.Discard, way, 4*maxUnproven)
		require.NoError(t, err)
		require.EqualValues(t, 4*maxUnproven, n)
		require.NoError(t, way.Close())
	}
}

// A relay answers a request with anything, or not at all: the request fails
// within 5 s for the relay, and as long for the peer and for the circuit's
// protocol, and leaves nothing behind.
func TestBrokenAnswers(t *testing.T) {
	good := circuit.Hop{Type: circuit.HopStatus, Status: circuit.OK}.Append(nil)
	for name, b := range map[string][]byte{
		"nothing": nil, "half": good[:len(good)-1], "too long": binary.AppendUvarint(nil, 4097), "endless length": {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1},
		"another type": circuit.Hop{Type: circuit.HopConnect, Peer: someone()}.Append(nil), "no status": circuit.Hop{Type: circuit.HopStatus}.Append(nil),
		"refusal":   circuit.Hop{Type: circuit.HopStatus, Status: circuit.PermissionDenied}.Append(nil),
		"only that": good,
		"na":        append(append([]byte(nil), good...), "\x13/multistream/1.0.0\n\x03na\n"...),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := always(func() *script {
					made := newScript()
					made.hop = func(theirs net.Conn, _ circuit.Hop) {
						go func() { _, _ = io.Copy(io.Discard, theirs) }()
						_, _ = theirs.Write(b)
					}
					return made
				})
				c, up, _ := linked(t, s)
				began := time.Now()
				_, err := router{c}.Circuit(t.Context(), c.servers[0].Identity, netip.AddrPort{}, someone(), 0)
				require.Error(t, err)
				require.LessOrEqual(t, time.Since(began), 3*answerIn)
				require.Zero(t, up.circuits.Load())
				require.Empty(t, c.pending.all)
				if name != "na" && name != "only that" {
					_, _, err = c.servers[0].reserve(t.Context())
					require.Error(t, err)
					require.NotEqual(t, Ready, c.States()[0].State)
				}
			})
		})
	}
}

// A peer can name any address. Addresses of private networks count only in this
// node's own networks, and addresses that package quic would not dial never do.
func TestMayBe(t *testing.T) {
	s := always(newScript)
	elsewhere, dead := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("192.168.1.255:1")
	s.away = map[netip.Addr]bool{elsewhere.Addr(): true}
	s.dead = map[netip.AddrPort]bool{dead: true}
	c := bare(t, s)
	for text, want := range map[string]bool{
		"198.51.100.1:7373": true, "[2001:db8::1]:7373": true, "192.168.1.2:7373": true, "[fd00::1]:1": true,
		elsewhere.String(): false, dead.String(): false, "[::ffff:10.0.0.1]:1": false,
		"127.0.0.1:1": false, "[::1]:1": false, "169.254.1.1:1": false, "[fe80::1]:1": false, "100.64.0.1:1": false, "198.51.100.1:0": false,
	} {
		require.Equal(t, want, c.mayBe(netip.MustParseAddrPort(text)), text)
	}
}

// A peered is a connection that has nothing but a peer.
type peered struct {
	junction.Conn
	peer identity.RemoteIdentity
}

func (p peered) Peer() identity.RemoteIdentity { return p.peer }

// attempted returns an attempt of a caller, and a prober that makes probes like
// the caller's peer.
func attempted(t *testing.T, s *seam, listed ...netip.AddrPort) (*Client, *attempt, *circuit.Prober) {
	t.Helper()
	c := bare(t, s)
	secret := hidden.Of([16]byte{1, 2, 3})
	a, err := c.begin(peered{peer: someone()}, secret, circuit.Caller, listed)
	require.NoError(t, err)
	t.Cleanup(func() { c.over(a) })
	return c, a, circuit.NewProber(secret, circuit.Callee)
}

func host(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 7373)
}

// Recorded probes that are replayed from 1,000 addresses add at most 4
// candidates, and make the node send nothing to any other address; each probe
// is answered once.
func TestRecordedProbes(t *testing.T) {
	s := always(newScript)
	listed := host(60_000)
	c, a, peer := attempted(t, s, listed)
	for i := range 1000 {
		c.upgrades.heard(peer.Ping(uint64(1+i)), host(i))
		c.upgrades.heard(peer.Ping(uint64(1+i)), host(1000+i)) // the same probe once more
	}
	require.Len(t, a.addrs, 1+maxLearned)
	to := map[netip.AddrPort]int{}
	for _, p := range s.sent {
		require.Len(t, p.b, 64)
		to[p.to]++
	}
	require.Len(t, to, maxLearned)
	for addr, n := range to {
		require.Equal(t, 2, n, "%v: a pong and a ping", addr)
	}
	before := len(s.sent)
	for i := range 3 * maxAnswered {
		c.upgrades.heard(peer.Ping(uint64(10_000+i)), listed)
	}
	require.LessOrEqual(t, len(s.sent)-before, maxAnswered)
	require.LessOrEqual(t, len(a.answered), maxAnswered)
}

// A pong counts only if it is one that the peer alone can have made, for a
// probe that was sent, and comes from the address to which that was sent; and
// only once.
func TestForgedPongs(t *testing.T) {
	s := always(newScript)
	to, other := host(1), host(2)
	c, a, peer := attempted(t, s, to, other)
	require.Equal(t, 2, a.probe(0, 2))
	var pings []circuit.Probe
	for _, p := range s.sent {
		ping, ok := peer.Parse(p.b)
		require.True(t, ok)
		pings = append(pings, ping)
	}
	good := peer.Pong(pings[0], to)
	for i := range good {
		for bit := range 8 {
			bad := append([]byte(nil), good...)
			bad[i] ^= 1 << bit
			c.upgrades.heard(bad, to)
		}
		c.upgrades.heard(good[:i], to)
	}
	c.upgrades.heard(append(append([]byte(nil), good...), 0), to)
	c.upgrades.heard(good, other)
	c.upgrades.heard(good, host(3))
	made := pings[0]
	made.Transaction++
	c.upgrades.heard(peer.Pong(made, to), to)
	c.upgrades.heard(circuit.NewProber(hidden.Of([16]byte{9}), circuit.Callee).Pong(pings[0], to), to)
	c.upgrades.heard(s.sent[0].b, to) // this node's own probe comes back
	require.Empty(t, a.confirmed)
	require.Len(t, s.sent, 2)
	c.upgrades.heard(good, to)
	c.upgrades.heard(good, to)
	require.Equal(t, []netip.AddrPort{to}, a.confirmed)
	best, ok := a.best()
	require.True(t, ok)
	require.Equal(t, to, best)
	_, ok = a.best()
	require.False(t, ok)
}

// An attempt sends a limited number of probes, to at most 16 addresses that its
// peer has named, none of them in a private network other than this node's; and
// a peer may have only 2 attempts at a time.
func TestProbesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := always(newScript)
		s.away = map[netip.Addr]bool{}
		var named []netip.AddrPort
		for i := range 8 {
			inside := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + i)}), 22)
			s.away[inside.Addr()] = true
			named = append(named, host(i), inside)
		}
		c, a, _ := attempted(t, s, named...)
		require.Len(t, a.addrs, 8)
		require.ErrorIs(t, a.run(t.Context(), func(context.Context) bool { return false }), ErrNoDirectPath)
		require.LessOrEqual(t, len(s.sent), probeBurst+int(probeFor.Seconds())*probesASecond)
		for _, p := range s.sent {
			require.False(t, p.to.Addr().IsPrivate())
		}
		_, err := c.begin(a.conn, hidden.Of([16]byte{2}), circuit.Caller, nil)
		require.NoError(t, err)
		_, err = c.begin(a.conn, hidden.Of([16]byte{3}), circuit.Caller, nil)
		require.ErrorIs(t, err, ErrTooOften)
		_, err = c.begin(peered{peer: someone()}, hidden.Of([16]byte{2}), circuit.Caller, nil)
		require.ErrorIs(t, err, ErrTooOften, "each secret may be used once")
	})
}
