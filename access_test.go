package p2p_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// Whatever Allow does, short of returning nil within 2 s, the stream is
// refused. Allow may use the node.
func TestGate(t *testing.T) {
	for name, test := range map[string]struct {
		allow func(ctx context.Context, node *p2p.P2P, r p2p.Request) error
		takes time.Duration
		err   error
		log   string
	}{
		"yes":   {allow: func(context.Context, *p2p.P2P, p2p.Request) error { return nil }},
		"no":    {allow: func(context.Context, *p2p.P2P, p2p.Request) error { return errTest }, err: p2p.ErrRefused},
		"panic": {allow: func(context.Context, *p2p.P2P, p2p.Request) error { panic("gate") }, err: p2p.ErrRefused, log: "Config.Allow panicked"},
		"slow": {allow: func(ctx context.Context, _ *p2p.P2P, _ p2p.Request) error {
			time.Sleep(1999 * time.Millisecond)
			return ctx.Err()
		}, takes: 1999 * time.Millisecond},
		"too slow": {allow: func(context.Context, *p2p.P2P, p2p.Request) error {
			time.Sleep(2001 * time.Millisecond)
			return nil
		}, takes: 2 * time.Second, err: p2p.ErrRefused},
		"uses the node": {allow: func(ctx context.Context, node *p2p.P2P, r p2p.Request) error {
			if _, known := node.Peer(r.Peer); !known || len(node.Peers()) != 1 {
				return errTest
			}
			return node.UpdateMetadata(func(m map[string]string) { m["asked"] = "yes" })
		}},
		"revokes": {allow: func(_ context.Context, node *p2p.P2P, r p2p.Request) error {
			node.Revoke(r.Peer)
			return nil
		}, err: p2p.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log logBuffer
				var node *p2p.P2P
				asked := make(chan p2p.Request, 1)
				node, l, peer := pair(t, p2p.Config{
					Handler: p2p.HandlerFunc(echo), Logger: log.logger(),
					Allow: func(ctx context.Context, r p2p.Request) error {
						asked <- r
						return test.allow(ctx, node, r)
					},
				})
				far := l.accept(peer.Identity())
				began := time.Now()
				answer, err := call(far, "x")
				require.Equal(t, test.takes, time.Since(began))
				require.Equal(t, p2p.Request{Action: p2p.OpenStream, Peer: peer.Identity()}, <-asked)
				if test.err == nil {
					require.NoError(t, err)
					require.Equal(t, ":x", answer)
				} else {
					require.ErrorIs(t, err, test.err)
				}
				require.Contains(t, log.String(), test.log)
				time.Sleep(time.Second)
			})
		})
	}
}

// An Allow function that never returns blocks only the calls that wait for it.
// Their number is bounded, and Shutdown names what did not stop.
func TestGateBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		node, err := p2p.New(p2p.Config{App: "test", Allow: func(context.Context, p2p.Request) error {
			<-release
			return nil
		}})
		require.NoError(t, err)
		request := p2p.Request{Action: p2p.Connect, Peer: newID()}
		answers := make(chan error, 1000)
		for range cap(answers) {
			go func() { answers <- node.Allows(t.Context(), request) }()
		}
		synctest.Wait()
		require.Len(t, answers, cap(answers)-8, "the others are refused at once")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Len(t, answers, cap(answers))
		busy := 0
		for range cap(answers) {
			err := <-answers
			if busy++; !errors.Is(err, p2p.ErrBusy) {
				busy--
				require.ErrorIs(t, err, p2p.ErrRefused)
			}
		}
		require.Equal(t, cap(answers)-8, busy)
		require.ErrorIs(t, node.Allows(t.Context(), request), p2p.ErrBusy, "calls of Allow that have not returned still count against the limit")

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		overran := (*p2p.ShutdownError)(nil)
		require.ErrorAs(t, node.Shutdown(ctx), &overran)
		require.Equal(t, []string{"handlers"}, overran.Overran)
		close(release)
		synctest.Wait()
		request.Peer = newID()
		require.ErrorIs(t, node.Allows(t.Context(), request), p2p.ErrClosed)
	})
}

// The context of Allow is canceled once its answer no longer matters.
func TestGateCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, err := p2p.New(p2p.Config{App: "test", Allow: func(ctx context.Context, _ p2p.Request) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			time.Sleep(time.Second)
			cancel(errTest)
		}()
		began := time.Now()
		require.ErrorIs(t, node.Allows(ctx, p2p.Request{}), errTest)
		require.Equal(t, time.Second, time.Since(began))
		go func() {
			time.Sleep(time.Second)
			node.Shutdown(context.Background())
		}()
		require.Error(t, node.Allows(t.Context(), p2p.Request{}))
		require.Equal(t, 2*time.Second, time.Since(began))
	})
}

// Revoke ends a peer's streams, in both directions, and its connections; later
// ones are refused until the peer is reinstated.
func TestRevoke(t *testing.T) {
	node, l, peer := pair(t, p2p.Config{Handler: p2p.HandlerFunc(echo)})
	near, _ := opened(t, l, peer)
	far := l.accept(peer.Identity())
	_, err := far.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(far, make([]byte, 2))
	require.NoError(t, err)

	other := newID()
	l.connect(t, other)
	node.Revoke(peer.Identity())
	require.True(t, node.Revoked(peer.Identity()))
	require.False(t, node.Revoked(other))
	_, err = near.Read(make([]byte, 1))
	require.ErrorIs(t, err, p2p.ErrRefused)
	_, err = far.Read(make([]byte, 1))
	require.ErrorIs(t, err, p2p.ErrRefused)

	_, err = peer.NewStream(t.Context())
	require.ErrorIs(t, err, p2p.ErrRevoked)
	_, err = call(l.accept(peer.Identity()), "x")
	require.ErrorIs(t, err, p2p.ErrRefused)
	require.ErrorIs(t, node.Allows(t.Context(), p2p.Request{Action: p2p.Connect, Peer: peer.Identity()}), p2p.ErrRevoked)
	require.ErrorIs(t, l.scope.Connected(peer.Identity(), &fakeConn{}), p2p.ErrRevoked)

	answer, err := call(l.accept(other), "x")
	require.NoError(t, err)
	require.Equal(t, ":x", answer)
	node.Reinstate(peer.Identity())
	answer, err = call(l.accept(peer.Identity()), "x")
	require.NoError(t, err)
	require.Equal(t, ":x", answer)
}
