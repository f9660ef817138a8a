package contact_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
)

// taken returns how many more goroutines and bytes there are after f.
func taken(f func()) (goroutines, bytes int) {
	measure := func() (int, int) {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), int(m.HeapAlloc)
	}
	g, b := measure()
	f()
	g2, b2 := measure()
	return g2 - g, b2 - b
}

// A node in the mode takes little more than a node in the open.
func TestFootprint(t *testing.T) { // not parallel
	start := func() (*p2p.P2P, *contact.Contacts) {
		l := quic.New(quic.Config{})
		c := contact.New(contact.Config{Listener: l})
		many := make([]identity.RemoteIdentity, 123)
		for i := range many {
			many[i] = identity.New().Remote()
		}
		require.NoError(t, c.Set(many))
		c.Veil(true)
		n, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{l, c}})
		require.NoError(t, err)
		for _, ok, changed := c.Show(); !ok; _, ok, changed = c.Show() {
			<-changed
		}
		return n, c
	}
	n, _ := start() // makes what the process needs only once
	require.NoError(t, n.Shutdown(t.Context()))
	plain, _ := taken(func() {
		var err error
		n, err = p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{quic.New(quic.Config{})}})
		require.NoError(t, err)
	})
	require.NoError(t, n.Shutdown(t.Context()))
	var c *contact.Contacts
	goroutines, bytes := taken(func() { n, c = start() })
	t.Logf("%d goroutines, %d more than a node in the open; %d KiB", goroutines, goroutines-plain, bytes>>10)
	require.LessOrEqual(t, goroutines-plain, 3)
	require.LessOrEqual(t, bytes, 600<<10) // in all, since other tests leave things behind
	began := time.Now()
	const epochs = 100
	_, grown := taken(func() {
		for range epochs {
			c.Turn()
		}
	})
	t.Logf("an epoch: %v", time.Since(began)/epochs)
	require.LessOrEqual(t, grown, 300<<10)
	require.NoError(t, n.Shutdown(t.Context()))
}
