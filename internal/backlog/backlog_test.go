package backlog

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

type conn struct {
	net.Conn
	over   chan struct{}
	served chan error // the result of Serve
}

// serve has a connection served, and returns once it waits in the queue or was
// refused.
func serve(ctx context.Context, q *Queue, of identity.RemoteIdentity) *conn {
	c := &conn{over: make(chan struct{}), served: make(chan error, 1)}
	go func() { c.served <- q.Serve(ctx, of, c, c.over, nil) }()
	synctest.Wait()
	return c
}

func (c *conn) is(t *testing.T, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-c.served:
		require.Equal(t, want, err)
	default:
		t.Fatal("is served")
	}
}

func (c *conn) isServed(t *testing.T) {
	t.Helper()
	synctest.Wait()
	require.Empty(t, c.served)
}

func peer() identity.RemoteIdentity { return identity.New().Remote() }

func TestOrderAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, id := New(), peer()
		ctx, cancel := context.WithCancel(t.Context())
		first, second, third := serve(ctx, q, id), serve(ctx, q, id), serve(ctx, q, peer())
		close(second.over) // the peer or this node has ended it before it was accepted
		second.is(t, nil)
		for _, want := range []*conn{first, third} {
			got, err := q.Accept()
			require.NoError(t, err)
			require.True(t, got == net.Conn(want))
		}
		waits := serve(ctx, q, id)
		cancel()
		waits.is(t, context.Canceled)
		first.isServed(t) // it counts until its user has closed it
		close(first.over)
		first.is(t, nil)

		fourth := serve(t.Context(), q, id)
		reason := errors.New("closed")
		require.True(t, q.Close(reason))
		require.False(t, q.Close(errors.New("again")))
		fourth.is(t, reason)
		serve(t.Context(), q, id).is(t, reason)
		_, err := q.Accept()
		require.Equal(t, reason, err)
		third.isServed(t) // connections outlive their listener
		close(third.over)
		third.is(t, nil)
		require.Empty(t, q.perPeer)
	})
}

func TestAcceptWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New()
		accepted := make(chan error, 4)
		for range cap(accepted) {
			go func() { _, err := q.Accept(); accepted <- err }()
		}
		synctest.Wait()
		a, b := serve(t.Context(), q, peer()), serve(t.Context(), q, peer())
		synctest.Wait()
		require.Len(t, accepted, 2)
		q.Close(net.ErrClosed)
		synctest.Wait()
		require.Len(t, accepted, 4, "all that wait must be told of the end")
		close(a.over)
		close(b.over)
	})
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, greedy := New(), peer()
		for range MaxPerPeer {
			serve(t.Context(), q, greedy).isServed(t)
		}
		serve(t.Context(), q, greedy).is(t, ErrFull)
		for range Max - MaxPerPeer {
			serve(t.Context(), q, peer()).isServed(t)
		}
		serve(t.Context(), q, peer()).is(t, ErrFull)
		c, err := q.Accept()
		require.NoError(t, err)
		serve(t.Context(), q, greedy).isServed(t)
		q.Close(net.ErrClosed)
		synctest.Wait()
		require.Empty(t, q.waiting)
		close(c.(*conn).over)
	})
}

// Whatever happens at the same time, each connection is either accepted once or
// handed back.
func TestRaces(t *testing.T) {
	q, id := New(), peer()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var accepting, serving sync.WaitGroup
	for range 4 {
		accepting.Go(func() {
			for {
				c, err := q.Accept()
				if err != nil {
					return
				}
				close(c.(*conn).over)
			}
		})
	}
	for i := range 400 {
		serving.Go(func() {
			c := &conn{over: make(chan struct{})}
			ctx := ctx
			if i%2 == 0 {
				var end context.CancelFunc
				ctx, end = context.WithCancel(ctx)
				go end()
			}
			err := q.Serve(ctx, id, c, c.over, nil)
			select {
			case <-c.over:
				require.NoError(t, err)
			default:
				require.Error(t, err)
			}
		})
		if i == 300 {
			serving.Go(func() { q.Close(net.ErrClosed) })
		}
	}
	serving.Wait()
	accepting.Wait()
	require.Empty(t, q.perPeer)
	require.Empty(t, q.waiting)
}
