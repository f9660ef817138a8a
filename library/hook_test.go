package library_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"
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

// TestAddRaces: a library that is still being added, or that cannot be added,
// is not visible.
func TestAddRaces(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) { // in a bubble, no tunnel times out
		a, b := newDevice(), newDevice()
		a.cfg.Limits = plenty
		for _, d := range []*device{a, b} {
			d.start(t, network, p2p.Config{})
		}
		b.load(t, a.add(t, b).record())
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		var echoes, adds sync.WaitGroup
		for range 4 {
			echoes.Go(func() {
				for range 10 {
					if err := b.echo(t, a); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range 2 {
			adds.Go(func() {
				for ctx.Err() == nil {
					bad := library.Record{ID: uuid.New()}
					_, err := a.libraries.Add(bad, identity.New())
					if !errors.Is(err, library.ErrInvalid) {
						t.Error(err)
					}
					good := newCharter(t, newDevice()).record()
					_, err = a.libraries.Add(good, identity.New())
					if err != nil {
						t.Error(err)
					}
					a.libraries.Remove(good.ID)
				}
			})
		}
		echoes.Wait()
		cancel()
		adds.Wait()
		require.Len(t, p2p.Libraries(a.Metadata()), 1)
	})
}

// TestNothingKeptAfterRemove: the record of a removed library is not stored
// again.
func TestNothingKeptAfterRemove(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, _ := pair(t, network)
		require.NoError(t, a.libraries.Remove(a.lib.ID()))
		a.cfg.Changed = func(library.Record) error { t.Error("the removed library was stored"); return nil }
		require.ErrorIs(t, a.lib.Rotate(), library.ErrRemoved)
		require.ErrorIs(t, a.lib.Block(a.own()), library.ErrRemoved)
	})
}
