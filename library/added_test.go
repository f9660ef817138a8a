package library_test

import (
	"context"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// TestAdded: the app is told of each library once, before any member can open a
// tunnel to it.
func TestAdded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "libraries")
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		var added []*library.Library
		a := newDevice()
		a.cfg.Added = func(l *library.Library) {
			added = append(added, l)
			if a.libraries != nil {
				_, served := a.libraries.Get(l.ID())
				require.False(t, served)
			}
			l.Handle("hello", func(_ context.Context, c *tunnel.Conn) error {
				_, err := io.WriteString(c, "hello")
				return err
			})
		}
		a.cfg.Store = stores(t, dir)
		a.start(t, network, p2p.Config{})
		require.Empty(t, added)
		a.found(t, library.RecoveryKey{})
		require.Equal(t, []*library.Library{a.lib}, added)
		_, err := a.libraries.Add(a.lib.Record(), identity.New())
		require.ErrorIs(t, err, library.ErrAdded)
		require.Len(t, added, 1)
		a.stop(t)
		require.NoError(t, a.cfg.Store.Close())

		a.libraries, a.cfg.Store = nil, stores(t, dir)
		a.start(t, network, p2p.Config{})
		require.Len(t, added, 2)
		require.Equal(t, a.libraries.All(), added[1:])
	})
}

// TestCallWhileJoining: the admin that adds a device may open a tunnel to it
// before the device has learned that it was added. Opening waits until it has.
func TestCallWhileJoining(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		b.start(t, network, p2p.Config{})
		a.found(t, library.RecoveryKey{})
		before := a.lib.Record()
		_, err := a.lib.Admit(b.first(t, before), library.RoleMember, "b", library.RecoveryKey{})
		require.NoError(t, err)
		pass(5 * time.Second) // until a has tried to tell b, which has no library yet
		b.load(t, before)
		went := make(chan error, 1)
		go func() { went <- a.echo(t, b) }()
		pass(time.Second)
		require.Zero(t, b.lib.Role())
		require.Empty(t, went)
		require.NoError(t, b.lib.Learn(a.lib.Record().Statements))
		require.NoError(t, <-went)
	})
}

// TestCallWhileOut: if the device does not learn of it, opening fails.
func TestCallWhileOut(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		b.start(t, network, p2p.Config{})
		a.found(t, library.RecoveryKey{})
		before := a.lib.Record()
		_, err := a.lib.Admit(b.first(t, before), library.RoleMember, "b", library.RecoveryKey{})
		require.NoError(t, err)
		pass(5 * time.Second)
		b.load(t, before)
		began := time.Now()
		require.ErrorIs(t, a.echo(t, b), p2p.ErrNoRoute)
		require.Less(t, time.Since(began), 10*time.Second)
	})
}
