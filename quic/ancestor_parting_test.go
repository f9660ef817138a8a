package quic_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	v1 "github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/quic"
)

// A connection with a version 1 peer is never closed for being idle, whichever
// side has dialed it, while connections with others that began later are.
func TestAncestorIsNeverIdle(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{IdleTimeout: time.Second, Limits: quic.Limits{StrangerIdle: 5 * time.Second}})
	dialed, dialer := newSpacedrive(t, nil), newSpacedrive(t, nil)
	ours := n.discovers(t, dialed.foreigner, 0)
	require.NoError(t, send(within(t), ours, "there"))

	theirs := n.discovers(t, dialer.foreigner, 0) // so that it is not a stranger
	s := dialer.open(t, n, "/sdp2p/1")
	hello, err := (&v1.Hello{Identity: dialer.id.Bytes()}).AppendBinary([]byte{0})
	require.NoError(t, err)
	_, err = s.Write(hello)
	require.NoError(t, err)
	require.NoError(t, s.CloseWrite())
	_, err = io.Copy(io.Discard, s)
	require.NoError(t, err)

	other := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{IdleTimeout: -1})
	require.NoError(t, send(within(t), other.knows(t, n), "later")) // accepted: 10 s longer
	until(t, n, func() bool { _, ok := n.Peer(other.Identity()); return !ok })
	require.NoError(t, send(within(t), n.knows(t, other), "later"))
	until(t, n, func() bool { return !n.peer(t, other.Identity()).Connected() })
	require.Len(t, ours.Info().Connections, 1)
	require.Len(t, theirs.Info().Connections, 1)
	require.False(t, s.Conn().IsClosed())
	require.NoError(t, send(within(t), theirs, "and back"))
}

// A node that shuts down keeps connections with version 1 peers for 1.5 s after
// discoveries have ended, and refuses their streams; other connections end at
// once. This holds even if Shutdown has no time left.
func TestPartingFromAnAncestor(t *testing.T) {
	t.Parallel()
	for range 5 {
		if partsFromAnAncestor(t) {
			return
		}
	}
	t.Skip("this machine is too slow to tell")
}

// partsFromAnAncestor reports false if the machine was too slow to see the
// connection in its last 1.5 s.
func partsFromAnAncestor(t *testing.T) bool {
	const parting = 1500 * time.Millisecond
	n := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	old, other := newSpacedrive(t, nil), newHostile(t)
	require.NoError(t, send(within(t), n.discovers(t, old.foreigner, 0), "x"))
	later := other.connect(t, n)
	until(t, n, func() bool { peer, ok := n.Peer(other.id); return ok && peer.Connected() })
	conns := old.Conns()
	require.Len(t, conns, 1)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began, down := time.Now(), make(chan error, 1)
	go func() { down <- n.Shutdown(ctx) }()
	closed(t, later)
	err := refusedOn(t, conns[0])
	looked := time.Since(began)
	closed(t, conns[0])
	require.GreaterOrEqual(t, time.Since(began), parting)
	require.NoError(t, receive(t, down))
	if looked >= parting {
		return false
	}
	var reset *network.StreamError
	require.ErrorAs(t, err, &reset, "the stream was refused, and the connection was still open")
	return true
}

// refusedOn opens a stream, and returns the error that this leads to.
func refusedOn(t *testing.T, c network.Conn) error {
	s, err := c.NewStream(within(t))
	if err != nil {
		return err
	}
	if _, err = s.Write([]byte("\x13/multistream/1.0.0\n")); err != nil {
		return err
	}
	_, err = s.Read(make([]byte, 1))
	return err
}

// A version 1 stranger that has introduced itself is closed after its idle
// time, like any other stranger.
func TestAncestorIntroducesItself(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{}, quic.Config{Limits: quic.Limits{StrangerIdle: 5 * time.Second}})
	plain := newForeigner(t, ed25519Key(t, randomBytes(32)))
	pc := plain.connect(t, n)
	f := newForeigner(t, ed25519Key(t, randomBytes(32)))
	s := f.open(t, n, "/sdp2p/1")
	hello, err := (&v1.Hello{Identity: f.id.Bytes()}).AppendBinary(nil)
	require.NoError(t, err)
	_, err = s.Write([]byte{1})
	require.NoError(t, err)
	_, err = io.ReadFull(s, make([]byte, 32))
	require.NoError(t, err)
	_, err = s.Write(hello)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, s)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	closed(t, pc)
	require.Eventually(t, s.Conn().IsClosed, patience, 10*time.Millisecond, "a stranger that only it itself has introduced must not stay for ever")
}

// An ancestor that does not end its side of a stream does not hold up the end
// of the listener. If it did, it would do so every time, whereas a busy machine
// is slow only sometimes.
func TestAncestorThatLingers(t *testing.T) {
	t.Parallel()
	for range 5 {
		if took := unregistersBesideLingering(t); took < firstFrame {
			return
		}
	}
	t.Fatal("the listener waits for the ancestor")
}

// unregistersBesideLingering returns the time that a listener takes to end
// while an ancestor leaves a stream open.
func unregistersBesideLingering(t *testing.T) time.Duration {
	v := readAncestorVectors(t)
	f := newForeigner(t, ed25519Key(t, unhex(t, v.ResponderSeed)))
	done := make(chan struct{})
	f.mux.AddHandler("/sdp2p/1", func(_ string, s io.ReadWriteCloser) error {
		io.ReadFull(s, make([]byte, 1))
		s.Write(unhex(t, v.Mode1Identity))
		io.ReadFull(s, make([]byte, len(v.Mode1Then)/2))
		s.Write(unhex(t, v.Mode1Metadata))
		s.Read(make([]byte, 1)) // the node has ended its side
		close(done)
		return nil
	})
	n := startWith(t, unhex(t, v.InitiatorSeed), v.InitiatorMetadata, p2p.Config{})
	require.NoError(t, n.listener.SetManualPeers([]string{f.addr.String()}))
	receive(t, done)
	began := time.Now()
	require.NoError(t, n.Unregister(within(t), n.listener))
	return time.Since(began)
}

// firstFrame is the time limit for an ancestor's stream.
const firstFrame = 5 * time.Second
