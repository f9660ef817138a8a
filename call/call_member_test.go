package call_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/call"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/session"
	"github.com/sdp2p/p2p/p2ptest"
)

// newMembers returns the same library on two devices.
func newMembers(t *testing.T) (a, b *library.Library) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	start := func(id identity.Identity) *library.Libraries {
		libraries := library.New(library.Config{})
		var mux p2p.Mux
		mux.Handle(library.Route, p2p.Anyone, libraries)
		node, err := p2p.Start(t.Context(), p2p.Config{App: "test", Identity: id, Handler: &mux, Hooks: append(network.Hooks(), libraries)})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, node.Shutdown(context.Background())) })
		return libraries
	}
	first, second, instance := identity.New(), identity.New(), identity.New()
	a, err := start(first).Found("test", library.NewRecoveryKey())
	require.NoError(t, err)
	record := a.Record()
	joins, err := record.First(second, instance)
	require.NoError(t, err)
	_, err = a.Admit(joins, library.RoleMember, "", library.RecoveryKey{})
	require.NoError(t, err)
	b, err = start(second).Add(a.Record(), instance)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // until both are discovered
		return !slices.ContainsFunc(a.Members(), func(p library.Presence) bool { return !p.Available })
	}, time.Minute, time.Millisecond)
	return a, b
}

// Members call each other over a tunnel for each call, and over a session in a
// single tunnel.
func TestMembers(t *testing.T) {
	a, b := newMembers(t)
	var routes session.Mux
	b.Handle(session.Route, routes.Serve)
	serveMembers(t, b, a.Instance())
	serveMembers(t, &routes, a.Instance())
	t.Run("library", func(t *testing.T) { callMember(t, call.Member(a, b.Instance())) })
	// The compiler infers all types.
	call.HandleIn(b, "upper", func(context.Context, text) (text, error) { return text{}, nil })
	call.HandleIn(&routes, "upper", func(context.Context, text) (text, error) { return text{}, nil })
	s := session.New(a, b.Instance())
	defer s.Close()
	t.Run("session", func(t *testing.T) { callMember(t, s) })

	v := call.Versions("echo/2", "echo/1")
	var tried []string
	for range 2 {
		require.NoError(t, v.Try(call.Member(a, b.Instance()), func(route string) error {
			tried = append(tried, route)
			_, err := call.Do[text](t.Context(), call.Member(a, b.Instance()), route, text{"x"})
			return err
		}))
	}
	require.Equal(t, []string{"echo/2", "echo/1", "echo/1"}, tried)
}

func serveMembers[C call.Conn, H call.HandlerFunc[C]](t *testing.T, in call.Routes[H], caller identity.RemoteIdentity) {
	call.HandleIn[text, text, C](in, "echo/1", func(ctx context.Context, q text) (text, error) {
		from := call.From(ctx)
		if from.Instance != caller || from.Node.IsZero() || from.Peer != nil {
			t.Error(from)
		}
		if q.s == "" {
			return text{}, &call.Error{Code: errEmpty, Text: "say something"}
		}
		return q, nil
	})
	call.HandleIn[text, text, C](in, "fail", func(context.Context, text) (text, error) { return text{}, errors.New("secret") })
	call.HandleReceiveIn[number, text, C](in, "many", func(_ context.Context, n number) iter.Seq2[text, error] { return texts(int(n.n), nil) })
	call.HandleReceiveIn[number, text, C](in, "wait", func(ctx context.Context, n number) iter.Seq2[text, error] {
		return func(yield func(text, error) bool) {
			yield(text{}, nil)
			<-ctx.Done()
		}
	})
	call.HandleSendIn[text, number, C](in, "send", func(_ context.Context, reqs iter.Seq2[text, error]) (number, error) {
		all, err := collect(reqs)
		return number{uint32(len(all))}, err
	})
}

func callMember[C call.Conn](t *testing.T, to call.Opener[C]) {
	got, err := call.Do[text](t.Context(), to, "echo/1", text{"hello"})
	require.NoError(t, err)
	require.Equal(t, "hello", got.s)
	_, err = call.Do[text](t.Context(), to, "echo/1", text{})
	require.ErrorIs(t, err, errEmpty)
	require.ErrorContains(t, err, "say something")
	_, err = call.Do[text](t.Context(), to, "fail", text{})
	require.ErrorIs(t, err, p2p.ErrHandlerFailed)
	require.NotContains(t, err.Error(), "secret")
	_, err = call.Do[text](t.Context(), to, "none", text{})
	require.ErrorIs(t, err, p2p.ErrNoRoute)

	all, err := collect(call.Receive[text](t.Context(), to, "many", number{100}))
	require.NoError(t, err)
	require.Len(t, all, 100)
	for range call.Receive[text](t.Context(), to, "wait", number{}) {
		break // the function must end, or the shutdown would wait for it
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range call.Receive[text](ctx, to, "wait", number{}) {
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
		cancel()
	}
	n, err := call.Send[number](t.Context(), to, "send", texts(100, nil))
	require.NoError(t, err)
	require.EqualValues(t, 100, n.n)
	own := errors.New("own")
	_, err = call.Send[number](t.Context(), to, "send", texts(1, own))
	require.ErrorIs(t, err, own)
}
