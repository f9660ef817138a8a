package conns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/session"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/quic"
)

const route = "test"

// A world is a node that listens and another one that dials it, over one kind
// of connection.
type world struct {
	server, client *p2p.P2P
	mux            *p2p.Mux
	here, there    *library.Library

	listener net.Listener
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	relisten func() net.Listener
	session  bool                       // whether connections share a tunnel
	host     string                     // the server's host name
	caller   identity.RemoteIdentity    // the client's identity
	who      func(*http.Request) string // the caller's host in the request's context
}

// each runs a test for each kind of connection.
func each(t *testing.T, f func(t *testing.T, w *world)) {
	t.Parallel()
	for _, over := range []string{"quic", "memory"} {
		for kind, listen := range map[string]func(*world, testing.TB){
			"stream": (*world).streams, "tunnel": (*world).tunnels, "session": (*world).sessions,
		} {
			t.Run(over+"/"+kind, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, over)
				listen(w, t)
				f(t, w)
			})
		}
	}
}

func newWorld(t testing.TB, over string) *world {
	w := &world{mux: &p2p.Mux{}}
	network := p2ptest.NewNetwork(p2ptest.Config{})
	start := func(id identity.Identity, mux *p2p.Mux) (*p2p.P2P, *library.Libraries, *quic.Listener) {
		libraries := library.New(library.Config{})
		mux.Handle(library.Route, p2p.Anyone, libraries)
		cfg := p2p.Config{App: "conns", Identity: id, Handler: mux, Logger: slog.New(slog.DiscardHandler)}
		if over == "memory" {
			node := network.Start(t, cfg)
			require.NoError(t, node.Register(t.Context(), libraries))
			return node, libraries, nil
		}
		listener := quic.New(quic.Config{})
		cfg.Hooks = []p2p.Hook{listener, libraries}
		node, err := p2p.Start(t.Context(), cfg)
		require.NoError(t, err)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			defer cancel()
			node.Shutdown(ctx)
		})
		return node, libraries, listener
	}
	key := identity.New()
	var ours, theirs *library.Libraries
	var at, from *quic.Listener
	w.server, theirs, at = start(identity.New(), w.mux)
	w.client, ours, from = start(key, &p2p.Mux{})
	var err error
	w.there, err = theirs.Found("photos", library.RecoveryKey{})
	require.NoError(t, err)
	r, instance := w.there.Record(), identity.New()
	first, err := r.First(key, instance)
	require.NoError(t, err)
	_, err = w.there.Admit(first, library.RoleMember, "", library.RecoveryKey{})
	require.NoError(t, err)
	w.here, err = ours.Add(w.there.Record(), instance)
	require.NoError(t, err)
	if from != nil {
		port, _ := at.Port()
		require.NoError(t, from.SetManualPeers([]string{fmt.Sprintf("127.0.0.1:%d", port)}))
	}
	for peer := range w.client.Available(t.Context()) {
		if peer.Identity() == w.server.Identity() {
			break
		}
	}
	return w
}

func (w *world) streams(testing.TB) {
	w.relisten = func() net.Listener { return w.mux.Listen(route, p2p.Anyone) }
	w.listener, w.dial = w.relisten(), w.client.DialContext(route)
	w.host, w.caller = w.server.Identity().Host(), w.client.Identity()
	w.who = func(r *http.Request) string {
		peer, ok := p2p.PeerOf(r.Context())
		if !ok {
			return "nobody"
		}
		return peer.Identity().Host()
	}
}

func (w *world) tunnels(testing.TB) {
	w.relisten = func() net.Listener { return w.there.Listen(route) }
	w.listener, w.dial = w.relisten(), w.here.DialContext(route)
	w.members()
}

func (w *world) sessions(t testing.TB) {
	var routes session.Mux
	w.there.Handle(session.Route, routes.Serve)
	s := session.New(w.here, w.there.Instance())
	t.Cleanup(func() { s.Close() })
	w.session, w.relisten = true, func() net.Listener { return routes.Listen(route) }
	w.listener, w.dial = w.relisten(), s.DialContext(route)
	w.members()
}

func (w *world) members() {
	w.host, w.caller = w.there.Instance().Host(), w.here.Instance()
	w.who = func(r *http.Request) string {
		m, ok := library.MemberOf(r.Context())
		if !ok {
			return "nobody"
		}
		return m.Instance.Host()
	}
}

// pipe returns both ends of a connection.
func (w *world) pipe() (near, far net.Conn, err error) {
	near, err = w.dial(context.Background(), "tcp", w.host)
	if err != nil {
		return nil, nil, err
	}
	far, err = w.listener.Accept()
	return near, far, err
}
