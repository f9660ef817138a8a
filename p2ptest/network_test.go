package p2ptest_test

import (
	"context"
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/p2ptest"
)

var echo = p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
	_, err := io.Copy(s, s)
	return err
})

// peerOf waits until node has discovered other and returns it.
func peerOf(t *testing.T, node, other *p2p.P2P) *p2p.Peer {
	t.Helper()
	for peer := range node.Available(t.Context()) {
		if peer.Identity() == other.Identity() {
			return peer
		}
	}
	t.Fatal("the test ended")
	return nil
}

// pair starts two nodes, the second of which echoes.
func pair(t *testing.T, network *p2ptest.Network) (a, b *p2p.P2P, ab *p2p.Peer) {
	t.Helper()
	a = network.Start(t, p2p.Config{Name: "a"})
	b = network.Start(t, p2p.Config{Name: "b", Handler: echo})
	return a, b, peerOf(t, a, b)
}

// exchange sends a byte over a stream and waits for its echo.
func exchange(s *p2p.Stream) error {
	if _, err := s.Write([]byte{42}); err != nil {
		return err
	}
	_, err := io.ReadFull(s, make([]byte, 1))
	return err
}

// open opens a stream that is reset when the test ends.
func open(t *testing.T, to *p2p.Peer) *p2p.Stream {
	t.Helper()
	s, err := to.NewStream(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { s.Reset(p2p.ErrCanceled) })
	return s
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		a, b, ab := pair(t, network)
		link := network.Link(a.Identity(), b.Identity())
		link.SetDelay(50 * time.Millisecond)

		began := time.Now()
		s := open(t, ab)
		require.Equal(t, 100*time.Millisecond, time.Since(began), "connecting takes a round trip")
		for range 3 {
			began = time.Now()
			require.NoError(t, exchange(s))
			require.Equal(t, 100*time.Millisecond, time.Since(began))
		}
		connection := ab.Info().Connections[0]
		require.Equal(t, 100*time.Millisecond, connection.RTT)
		require.Equal(t, 300*time.Millisecond, time.Since(connection.Opened))

		began = time.Now()
		require.NoError(t, exchange(open(t, ab)))
		require.Equal(t, 100*time.Millisecond, time.Since(began), "the connection is reused")
		require.Equal(t, p2ptest.LinkStats{Dials: 1, Connections: 1, Streams: 2, Open: 4}, link.Stats())

		_, err := s.Write([]byte("slow"))
		require.NoError(t, err)
		link.SetDelay(0)
		began = time.Now()
		_, err = s.Write([]byte("fast"))
		require.NoError(t, err)
		got := make([]byte, 8)
		_, err = io.ReadFull(s, got)
		require.NoError(t, err)
		require.Equal(t, "slowfast", string(got))
		require.Equal(t, 50*time.Millisecond, time.Since(began), "nothing may be overtaken")
	})
}

func TestDelayLongerThanTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{DialTimeout: time.Second})
		a, b, ab := pair(t, network)
		network.Link(a.Identity(), b.Identity()).SetDelay(501 * time.Millisecond)
		began := time.Now()
		_, err := ab.NewStream(t.Context())
		require.ErrorIs(t, err, p2ptest.ErrUnreachable)
		require.Equal(t, time.Second, time.Since(began))
	})
}

func TestCutAndRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		a, b, ab := pair(t, network)
		link := network.Link(b.Identity(), a.Identity())
		s := open(t, ab)
		require.NoError(t, exchange(s))

		read := make(chan error)
		go func() {
			_, err := s.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		link.Cut()
		err := <-read
		require.ErrorIs(t, err, p2p.ErrConnectionLost)
		require.NotErrorIs(t, err, io.EOF)
		_, err = s.Write([]byte{1})
		require.ErrorIs(t, err, p2p.ErrConnectionLost)
		synctest.Wait()
		require.Empty(t, a.Peers())
		require.Empty(t, b.Peers())

		link.Restore()
		ab = peerOf(t, a, b)
		require.NoError(t, exchange(open(t, ab)))
		require.Equal(t, 2, link.Stats().Connections)
	})
}

// No reaction to the cut of a link arrives at its other end.
func TestCutAtBothEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		a := network.Start(t, p2p.Config{})
		b := network.Start(t, p2p.Config{Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
			io.CopyN(s, s, 1)
			_, err := s.Read(make([]byte, 1))
			return err // resets the stream
		})})
		ab := peerOf(t, a, b)
		for range 20 {
			var streams []*p2p.Stream
			for range 50 {
				s := open(t, ab)
				require.NoError(t, exchange(s))
				streams = append(streams, s)
			}
			synctest.Wait()
			link := network.Link(a.Identity(), b.Identity())
			link.Cut()
			for _, s := range streams {
				_, err := s.Read(make([]byte, 1))
				require.ErrorIs(t, err, p2p.ErrConnectionLost)
			}
			link.Restore()
			ab = peerOf(t, a, b)
		}
	})
}

// With a discovery that does not know of the cut, a dial shows what it does
// then.
func TestDialOverACutLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		lan := p2ptest.NewNetwork(p2ptest.Config{Name: "lan"})
		a := network.Start(t, p2p.Config{Hooks: []p2p.Hook{lan.Discovery()}})
		b := network.Start(t, p2p.Config{Hooks: []p2p.Hook{lan.Discovery()}, Handler: echo})
		link := network.Link(a.Identity(), b.Identity())
		ab := peerOf(t, a, b)
		synctest.Wait()
		link.Cut()
		synctest.Wait()
		require.Equal(t, []string{"lan-discovery"}, ab.Info().DiscoveredBy)

		began := time.Now()
		_, err := ab.NewStream(t.Context())
		require.ErrorIs(t, err, p2ptest.ErrUnreachable)
		require.Equal(t, 5*time.Second, time.Since(began))
		var failed *p2p.DialError
		require.ErrorAs(t, err, &failed)
		require.Len(t, failed.Attempts, 1)
		require.Equal(t, 5*time.Second, failed.Attempts[0].Took)

		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = ab.NewStream(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorAs(t, err, &failed)
		require.ErrorIs(t, failed.Attempts[0].Err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))

		link.Restore()
		link.SetDelay(time.Second)
		time.AfterFunc(time.Second, link.Cut)
		began = time.Now()
		_, err = ab.NewStream(t.Context())
		require.ErrorIs(t, err, p2ptest.ErrUnreachable, "cut while connecting")
		require.Equal(t, 5*time.Second, time.Since(began))

		time.AfterFunc(time.Second, link.Restore)
		_, err = ab.NewStream(t.Context())
		require.ErrorIs(t, err, p2ptest.ErrUnreachable, "restored while connecting")
	})
}

func TestLoss(t *testing.T) {
	fates := func(t *testing.T, seed uint64, p float64) (all []bool) {
		synctest.Test(t, func(t *testing.T) {
			network := p2ptest.NewNetwork(p2ptest.Config{Seed: seed})
			a, b, ab := pair(t, network)
			link := network.Link(a.Identity(), b.Identity())
			link.SetLoss(p)
			for range 40 {
				began := time.Now()
				s, err := ab.NewStream(t.Context())
				all = append(all, err == nil)
				if err != nil {
					require.ErrorIs(t, err, p2ptest.ErrUnreachable)
					require.Equal(t, 5*time.Second, time.Since(began))
					continue
				}
				require.NoError(t, exchange(s))
				s.Reset(p2p.ErrCanceled)
				link.Cut()
				link.Restore()
				synctest.Wait()
			}
			require.Equal(t, 40, link.Stats().Dials)
		})
		return all
	}
	count := func(all []bool) (connected int) {
		for _, ok := range all {
			if ok {
				connected++
			}
		}
		return connected
	}
	half := fates(t, 1, 0.5)
	require.InDelta(t, 20, count(half), 12)
	require.Equal(t, half, fates(t, 1, 0.5), "the seed must decide")
	require.NotEqual(t, half, fates(t, 2, 0.5))
	require.Equal(t, 40, count(fates(t, 1, 0)))
	require.Equal(t, 0, count(fates(t, 1, 1)))
}

func TestDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		a, b, ab := pair(t, network)
		other := network.Start(t, p2p.Config{App: "other"})
		synctest.Wait()
		require.Empty(t, other.Peers(), "a node of another app must find nobody")
		require.Len(t, a.Peers(), 1)
		require.Equal(t, "b", ab.Name())
		require.False(t, ab.Verified())
		candidates := ab.Info().Candidates
		require.Len(t, candidates, 1)
		require.Equal(t, p2p.Direct, candidates[0].Kind)
		require.Equal(t, b.Listeners()[0].Addrs[0], candidates[0].Addr)

		rename := func(name string) {
			require.NoError(t, b.UpdateMetadata(func(m map[string]string) { m["name"] = name }))
			synctest.Wait()
		}
		rename("b2")
		require.Equal(t, "b2", ab.Name())

		require.NoError(t, exchange(open(t, ab)))
		require.True(t, ab.Verified())
		ba, ok := b.Peer(a.Identity())
		require.True(t, ok)
		require.True(t, ba.Verified())
		require.Equal(t, "a", ba.Name())

		link := network.Link(a.Identity(), b.Identity())
		link.SetDelay(time.Second)
		rename("b3")
		require.Equal(t, "b2", ab.Name(), "what the peer has stated outranks what is discovered")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, "b3", ab.Name())

		require.NoError(t, b.Shutdown(t.Context()))
		synctest.Wait()
		require.True(t, ab.Connected(), "the end of the connection is under way")
		require.Empty(t, ab.Info().DiscoveredBy)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Empty(t, a.Peers())
	})
}

func TestListenerAddsAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		second := p2ptest.NewNetwork(p2ptest.Config{Name: "second"})
		_, b, ab := pair(t, network)
		l := second.Listener(p2ptest.ListenerConfig{})
		require.NoError(t, b.Register(t.Context(), l))
		synctest.Wait()
		require.Len(t, ab.Info().Candidates, 2)
		require.NoError(t, b.Unregister(t.Context(), l))
		synctest.Wait()
		require.Len(t, ab.Info().Candidates, 1)
	})
}

// A foreign listener announces the given addresses, and accepts nothing.
type foreign struct{ addrs []netip.AddrPort }

func (*foreign) Name() string { return "foreign" }

func (f *foreign) Run(ctx context.Context, s *p2p.Scope) error {
	for _, addr := range f.addrs {
		if err := s.AddAddr(addr); err != nil {
			return err
		}
	}
	s.Ready()
	<-ctx.Done()
	return nil
}

func (*foreign) Dial(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
	return nil, p2p.ErrNoCandidate
}

func TestDiscoveryOfForeignListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		foreign := &foreign{}
		for _, addr := range []string{"0.0.0.0:1", "[::]:2", "192.168.1.7:3"} {
			foreign.addrs = append(foreign.addrs, netip.MustParseAddrPort(addr))
		}
		a := start(t, p2p.Config{App: "p2ptest", Hooks: []p2p.Hook{network.Discovery()}})
		b := start(t, p2p.Config{App: "p2ptest", Hooks: []p2p.Hook{foreign, network.Discovery()}})
		require.Equal(t, "memory-discovery", b.Hooks()[1].Name)
		var got []string
		for _, c := range peerOf(t, a, b).Info().Candidates {
			got = append(got, c.String())
		}
		require.Equal(t, []string{"direct 127.0.0.1:1", "direct [::1]:2", "direct 192.168.1.7:3"}, got)
	})
}

// When a node ends, data on its way is lost, and its host leaves no timer
// behind.
func TestShutdownWithDataUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		a, b, ab := pair(t, network)
		s := open(t, ab)
		require.NoError(t, exchange(s))
		network.Link(a.Identity(), b.Identity()).SetDelay(time.Hour)
		_, err := s.Write([]byte("late"))
		require.NoError(t, err)
		began := time.Now()
		require.NoError(t, b.Shutdown(t.Context()))
		require.Less(t, time.Since(began), time.Minute)
		_, err = s.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrShuttingDown, "the stream's error, which was sent before the connection ended")
		require.Equal(t, time.Hour, time.Since(began))
		synctest.Wait()
		require.Empty(t, a.Peers())
	})
}

func TestDialOfAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		a := network.Start(t, p2p.Config{})
		b := network.Start(t, p2p.Config{})
		l := network.Listener(p2ptest.ListenerConfig{})
		_, err := l.Dial(t.Context(), b.Identity(), nil)
		require.ErrorIs(t, err, p2p.ErrStopped)
		c := start(t, p2p.Config{App: "p2ptest", Hooks: []p2p.Hook{l}})
		network.Link(c.Identity(), a.Identity()).SetDelay(time.Second)

		began := time.Now()
		_, err = l.Dial(t.Context(), b.Identity(), []p2p.Candidate{
			{Kind: p2p.Manual, Addr: a.Listeners()[0].Addrs[0]},
			{Kind: p2p.Relay, Relay: a.Identity()},
		})
		require.ErrorIs(t, err, p2ptest.ErrOtherNode)
		require.Equal(t, 2*time.Second, time.Since(began))
		var failed *p2p.DialError
		require.ErrorAs(t, err, &failed)
		require.Len(t, failed.Attempts, 1, "this listener cannot use a relay")

		_, err = l.Dial(t.Context(), c.Identity(), []p2p.Candidate{{Kind: p2p.Direct, Addr: c.Listeners()[0].Addrs[0]}})
		require.ErrorIs(t, err, p2p.ErrSelf)

		_, err = l.Dial(t.Context(), b.Identity(), []p2p.Candidate{{Kind: p2p.Relay, Relay: a.Identity()}})
		require.ErrorIs(t, err, p2p.ErrNoCandidate)
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = l.Dial(cancelled, b.Identity(), []p2p.Candidate{{Kind: p2p.Direct, Addr: b.Listeners()[0].Addrs[0]}})
		require.ErrorIs(t, err, context.Canceled)
	})
}

func start(t *testing.T, cfg p2p.Config) *p2p.P2P {
	t.Helper()
	node, err := p2p.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Shutdown(context.Background())) })
	return node
}

func TestListenerRunsOnce(t *testing.T) {
	l := p2ptest.NewNetwork(p2ptest.Config{}).Listener(p2ptest.ListenerConfig{})
	start(t, p2p.Config{App: "p2ptest", Hooks: []p2p.Hook{l}})
	_, err := p2p.Start(t.Context(), p2p.Config{App: "p2ptest", Hooks: []p2p.Hook{l}})
	require.ErrorContains(t, err, "running already")
}

// At the end that dials, a connection has the kind of the candidate that has
// led to the peer.
func TestPathOfAManualCandidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		here := network.Listener(p2ptest.ListenerConfig{})
		a := start(t, p2p.Config{App: "p2ptest", Hooks: []p2p.Hook{here}})
		b := network.Start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)})
		there := b.Listeners()[0].Addrs[0]
		raw, err := here.Dial(t.Context(), b.Identity(), []p2p.Candidate{{Kind: p2p.Manual, Addr: there}})
		require.NoError(t, err)
		raw.Reset(p2p.ErrCanceled)
		require.Equal(t, p2p.Path{Kind: p2p.Manual, Dialed: true, Remote: there}, raw.Path())
		require.Equal(t, p2p.Path{Kind: p2p.Direct, Remote: a.Listeners()[0].Addrs[0]}, peerOf(t, b, a).Info().Path)
	})
}
