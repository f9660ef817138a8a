package pairing

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
)

// A lateConn has a byte to read just as it is interrupted, and is slow to be
// interrupted.
type lateConn struct {
	net.Conn
	interrupting, interrupted chan struct{}
}

func (c lateConn) SetReadDeadline(t time.Time) error {
	if t.Equal(past) {
		close(c.interrupting)
		<-c.interrupted
	}
	return nil
}

func (c lateConn) Read(b []byte) (int, error) {
	<-c.interrupting
	b[0] = 0
	return 1, nil
}

// An interruption of one read does not interrupt the next one.
func TestReadIsInterruptedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := lateConn{interrupting: make(chan struct{}), interrupted: make(chan struct{})}
		talk := &talk{conn: c}
		ctx, cancel := context.WithCancel(t.Context())
		heard := make(chan error, 1)
		go func() { heard <- talk.hear(ctx, time.Minute) }()
		cancel()
		synctest.Wait()
		require.Empty(t, heard)
		close(c.interrupted)
		require.NoError(t, <-heard)
	})
}

// If an invitation is canceled just as a device uses it up, the conversation
// ends before it begins.
func TestCanceledJustBefore(t *testing.T) {
	i := &Invitation{done: make(chan struct{})}
	require.True(t, i.use())
	i.end(library.Member{}, ErrCanceled)
	_, err := i.serve(t.Context(), func(ctx context.Context) (library.Member, error) {
		return library.Member{}, context.Cause(ctx)
	})
	require.ErrorIs(t, err, ErrCanceled)
	_, err = i.Wait(t.Context())
	require.ErrorIs(t, err, ErrCanceled)
}

// A node may prove itself for as long as one of its streams is there. Of A and
// −A, which look the same to a tunnel, the one that came first may.
func TestArrivals(t *testing.T) {
	p := New(Config{Libraries: library.New(library.Config{})})
	a := identity.New().Remote()
	b := a.Bytes()
	b[31] ^= 0x80
	twin, err := identity.FromBytes(b[:])
	require.NoError(t, err)
	u, err := a.X25519()
	require.NoError(t, err)
	there := func() identity.RemoteIdentity {
		m, _ := (*directory)(p).Member(nil, [32]byte(u.Bytes()))
		return m.Node
	}
	require.Zero(t, there())
	first, second, third := p.arrive(a), p.arrive(a), p.arrive(twin)
	require.Equal(t, a, there())
	first()
	third()
	require.Equal(t, a, there())
	second()
	require.Zero(t, there())
	defer p.arrive(twin)()
	require.Equal(t, twin, there())
}
