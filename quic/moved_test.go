package quic

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/internal/multistream"
	"github.com/sdp2p/p2p/proto"
)

func addrs(all ...string) (parsed []netip.AddrPort) {
	for _, a := range all {
		parsed = append(parsed, netip.MustParseAddrPort(a))
	}
	return parsed
}

// The message has the bytes that the protocol's documentation gives.
func TestMovedMessage(t *testing.T) {
	wire, err := hex.DecodeString("0102" + "04c0000201cd1c" + "0620010db8000000000000000000000001" + "cd1c")
	require.NoError(t, err)
	messagetest.Test(t, wire, moved{addrs("192.0.2.1:7373", "[2001:db8::1]:7373")})
	for what, text := range map[string]string{"relays": "0201" + string(bytes.Repeat([]byte("00"), 32)), "sleep": "03"} {
		b, err := hex.DecodeString(text)
		require.NoError(t, err)
		var m moved
		require.NoError(t, m.DecodeFrom(proto.NewDecoder(bytes.NewReader(b))), what)
		require.Empty(t, m.addrs, what)
	}
	for what, text := range map[string]string{
		"a kind that is not known": "04", "17 addresses": "0111", "a family that is not known": "010105", "5 relays": "0205",
	} {
		b, err := hex.DecodeString(text)
		require.NoError(t, err)
		var m moved
		require.ErrorIs(t, m.DecodeFrom(proto.NewDecoder(bytes.NewReader(b))), proto.ErrInvalid, what)
	}
	_, err = (&moved{make([]netip.AddrPort, 17)}).AppendBinary(nil)
	require.ErrorIs(t, err, proto.ErrInvalid)
}

func FuzzMoved(f *testing.F) {
	b, err := (&moved{addrs("192.0.2.1:7373", "[2001:db8::1]:7373")}).AppendBinary(nil)
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m moved
		if m.DecodeFrom(proto.NewDecoder(bytes.NewReader(b))) != nil || m.addrs == nil {
			return
		}
		again, err := m.AppendBinary(nil)
		require.NoError(t, err)
		var n moved
		require.NoError(t, n.DecodeFrom(proto.NewDecoder(bytes.NewReader(again))))
		require.Equal(t, m, n)
	})
}

// tell lets a peer tell where it is, and returns the code with which its stream
// is reset.
func tell(t *testing.T, from *conn, at ...string) quicgo.StreamErrorCode {
	t.Helper()
	b, err := (&moved{addrs(at...)}).AppendBinary([]byte(multistream.Question(protocolMove)))
	require.NoError(t, err)
	s, err := from.quic.OpenStream()
	require.NoError(t, err)
	s.SetDeadline(time.Now().Add(time.Minute))
	_, err = s.Write(b)
	require.NoError(t, err)
	_, err = io.ReadAll(s)
	var reset *quicgo.StreamError
	require.ErrorAs(t, err, &reset)
	return reset.ErrorCode
}

// The protocol is not supported for strangers; a peer that the node tracks is
// listened to.
func TestStrangersDoNotMove(t *testing.T) {
	t.Parallel()
	const refused = quicgo.StreamErrorCode(network.StreamProtocolNegotiationFailed)
	ours, _ := dialed(t, Config{}, Config{})
	require.Equal(t, refused, tell(t, ours, "127.0.0.2:7373"))
	require.NotEqual(t, refused, tell(t, newMoving(t).ours, "127.0.0.2:7373"))
}

// Repeated addresses are taken once; new ones that arrive while the peer is
// looked for are not lost.
func TestHeard(t *testing.T) {
	m := newMover(netip.MustParseAddrPort("127.0.0.1:9"))
	require.True(t, m.hear(addrs("192.0.2.1:1")))
	m.unvisited = false
	require.False(t, m.hear(addrs("192.0.2.1:1")))
	require.False(t, m.unvisited)
	require.False(t, m.hear(addrs("192.0.2.2:1")), "the peer is being looked for already")
	require.True(t, m.unvisited)
}

// A peer is looked for at the addresses that it tells only if it may be there;
// if it is not there, nothing changes.
func TestMovedPeer(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	m.talk(t, 1)
	before := m.ours.remote()
	require.Equal(t, addrs("192.0.2.1:7373", "[2001:db8::1]:7373"), m.ours.likelyIfRouted("192.0.2.1:7373", "[2001:db8::1]:7373"))
	require.Empty(t, m.ours.likely(addrs("192.0.2.1:7373", before.String())), "the peer still answers where it was")
	require.Empty(t, m.ours.likely(addrs("127.0.0.2:7373", "[::1]:7373", "[fe80::1]:7373", "0.0.0.0:7373", "224.0.0.251:5353", "192.0.2.1:0")))
	answered, err := m.ours.endpoint.relocate(m.ours, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.5"), 9))
	require.Error(t, err)
	require.False(t, answered)
	require.Equal(t, before, m.ours.remote())
}

// If a peer says that it is elsewhere, and is there, its connection moves
// there.
func TestPeerThatHasMoved(t *testing.T) {
	t.Parallel()
	m := newMovingWith(t, Config{slack: time.Minute})
	answered, err := m.ours.endpoint.relocate(m.ours, m.to("127.0.0.7"))
	require.NoError(t, err)
	require.True(t, answered)
	require.Equal(t, m.to("127.0.0.7"), m.ours.remote())
	m.talk(t, 10)
}

// A peer's message that it is elsewhere counts for all connections with it,
// whichever of them carries the message: after both sides have moved, it may
// arrive only on another one. It ends a move to a different address at once; so
// does proof that the peer is elsewhere.
func TestMovedPeerOnOtherConnection(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	port, _ := m.ours.endpoint.listener.Port()
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	theirs, _ := m.theirs.endpoint.probe(m.theirs.id, []p2p.Candidate{{Kind: p2p.Direct, Addr: to}}, nil)
	require.NotNil(t, theirs)
	ctx, end, err := m.ours.mover.begin(t.Context(), m.to("127.0.0.3"))
	require.NoError(t, err)
	tell(t, theirs, m.to("127.0.0.3").String())
	tell(t, theirs, m.to("127.0.0.2").String())
	<-ctx.Done()
	require.ErrorIs(t, context.Cause(ctx), errNotHere)
	end()
	ctx, end, err = m.ours.mover.begin(t.Context(), m.to("127.0.0.3"))
	require.NoError(t, err)
	defer end()
	m.ours.mover.proved(m.to("127.0.0.3"))
	require.NoError(t, ctx.Err())
	m.ours.mover.proved(m.to("127.0.0.2"))
	require.ErrorIs(t, context.Cause(ctx), errNotHere)
}

// likelyIfRouted is likely, but also works on hosts without a route.
func (c *conn) likelyIfRouted(all ...string) []netip.AddrPort {
	for _, a := range addrs(all...) {
		if !sourceTo(a).IsValid() {
			return addrs(all...)
		}
	}
	return c.likely(addrs(all...))
}

// A listener that is configured not to migrate moves no connection.
func TestDisableMigration(t *testing.T) {
	t.Parallel()
	m := newMovingWith(t, Config{DisableMigration: true})
	require.ErrorIs(t, m.ours.move(t.Context(), m.to("127.0.0.2")), errPinned)
	m.talk(t, 1)
}

// A connection is suspect once packets were sent and none came back for a
// second, or four round trips; never while nothing is sent.
func TestQuiet(t *testing.T) {
	const ms = time.Millisecond
	begin, p := time.Now(), &pulse{}
	for _, c := range []struct {
		name           string
		at             time.Duration
		received, sent uint64
		rtt            time.Duration
		suspect, busy  bool
	}{
		{"at first", 0, 5, 7, ms, false, true},
		{"idle for long", time.Hour, 5, 7, ms, false, false},
		{"something is sent", time.Hour + 100*ms, 5, 8, ms, false, true},
		{"no answer yet", time.Hour + 1000*ms, 5, 9, ms, false, true},
		{"no answer", time.Hour + 1100*ms, 5, 9, ms, true, true},
		{"not again at once", time.Hour + 1200*ms, 5, 9, ms, false, true},
		{"again", time.Hour + 2200*ms, 5, 9, ms, true, true},
		{"an answer", time.Hour + 2300*ms, 6, 10, ms, false, true},
		{"kept alive", time.Hour + 2350*ms, 7, 11, ms, false, false},
		{"heard", time.Hour + 2360*ms, 8, 11, ms, false, false},
		{"far away", time.Hour + 2400*ms, 8, 12, 900 * ms, false, true},
		{"not yet", time.Hour + 5900*ms, 8, 13, 900 * ms, false, true},
		{"now", time.Hour + 6100*ms, 8, 13, 900 * ms, true, true},
	} {
		suspect, busy := p.quiet(c.received, c.sent, c.rtt, begin.Add(c.at))
		require.Equal(t, c.suspect, suspect, c.name)
		require.Equal(t, c.busy, busy, c.name)
	}
}

// The app reports a change of the network to the node, and the listener hears
// of it and reports it as an event.
func TestNetworkChanged(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	node := m.ours.endpoint.scope.Node()
	events := node.Subscribe()
	defer events.Close()
	node.NetworkChanged()
	for e := range events.C {
		if _, ok := e.(p2p.NetworkModified); ok {
			break
		}
	}
	m.talk(t, 10)
}

// A peer is told first the address at which it hears this node, and no more
// addresses than a message may hold.
func TestWhereabouts(t *testing.T) {
	c := &conn{endpoint: &endpoint{port: 7373}}
	own := addrs("172.17.0.1:7373", "192.0.2.1:7373", "[2001:db8::1]:7373")
	require.Equal(t, addrs("192.0.2.1:7373", "172.17.0.1:7373", "[2001:db8::1]:7373"), c.whereabouts(netip.MustParseAddr("192.0.2.1"), own))
	require.Equal(t, addrs("192.0.2.9:7373", "172.17.0.1:7373", "192.0.2.1:7373", "[2001:db8::1]:7373"), c.whereabouts(netip.MustParseAddr("192.0.2.9"), own))
	require.Equal(t, own, c.whereabouts(netip.MustParseAddr("127.0.0.1"), own))
	many := make([]netip.AddrPort, maxMoved)
	for i := range many {
		many[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 17, 0, byte(i)}), 7373)
	}
	all := c.whereabouts(netip.MustParseAddr("192.0.2.9"), many)
	require.Len(t, all, maxMoved)
	require.Equal(t, addrs("192.0.2.9:7373"), all[:1])
}

// A node withdraws an earlier message about its addresses before it sends
// another one: the peer must not hear the outdated one last.
func TestTellMoveWithdraws(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	c, withdrawn := m.theirs, 0
	c.mu.Lock()
	c.source = netip.MustParseAddr("127.0.0.77") // its address before
	c.silence = func() { withdrawn++ }
	c.mu.Unlock()
	c.tellMove(addrs("192.0.2.1:7373"))
	require.Equal(t, 1, withdrawn)
	c.tellMove(addrs("192.0.2.1:7373"))
	require.Equal(t, 1, withdrawn, "it has already told the peer this")
	m.talk(t, 1)
}
