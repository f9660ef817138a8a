package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/exampletest"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/quic"
)

// TestMain lets the test binary act as the program, for the test that runs it.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_EXAMPLE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestExample(t *testing.T) {
	exampletest.Loopback(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, `^called by (\w{4}-?){4}\n(\w{4}-?){4} is SERVING\n$`, string(out))
}

// A line connects a listener of one node with a dialer of another.
type line struct {
	server, client *p2p.P2P
	listener       net.Listener
	dial           dialer
	host           string
	caller         identity.RemoteIdentity
}

// each runs a test over streams and over tunnels, each over QUIC and in memory.
func each(t *testing.T, f func(t *testing.T, l *line)) {
	t.Parallel()
	for _, over := range []string{"quic", "memory"} {
		for _, kind := range []string{"stream", "tunnel"} {
			t.Run(over+"/"+kind, func(t *testing.T) {
				t.Parallel()
				f(t, newLine(t, over == "quic", kind == "tunnel"))
			})
		}
	}
}

func newLine(t *testing.T, overQUIC, tunnel bool) *line {
	l := &line{}
	network := p2ptest.NewNetwork(p2ptest.Config{})
	key, instance := identity.New(), identity.New()
	var mux p2p.Mux
	start := func(id identity.Identity, mux *p2p.Mux) (*p2p.P2P, *library.Libraries, *quic.Listener) {
		libraries := library.New(library.Config{})
		mux.Handle(library.Route, p2p.Anyone, libraries)
		cfg := p2p.Config{App: "grpc", Identity: id, Handler: mux, Logger: slog.New(slog.DiscardHandler)}
		if !overQUIC {
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
	var ours, theirs *library.Libraries
	var at, from *quic.Listener
	l.server, theirs, at = start(identity.New(), &mux)
	l.client, ours, from = start(key, &p2p.Mux{})
	there, err := theirs.Found("home", library.RecoveryKey{})
	require.NoError(t, err)
	record := there.Record()
	first, err := record.First(key, instance)
	require.NoError(t, err)
	_, err = there.Admit(first, library.RoleMember, "", library.RecoveryKey{})
	require.NoError(t, err)
	here, err := ours.Add(there.Record(), instance)
	require.NoError(t, err)
	if overQUIC {
		port, _ := at.Port()
		require.NoError(t, from.SetManualPeers([]string{fmt.Sprintf("127.0.0.1:%d", port)}))
	}
	for peer := range l.client.Available(t.Context()) {
		if peer.Identity() == l.server.Identity() {
			break
		}
	}
	if tunnel {
		l.listener, l.dial = there.Listen(route), here.DialContext(route)
		l.host, l.caller = there.Instance().Host(), here.Instance()
	} else {
		l.listener, l.dial = mux.Listen(route, p2p.Anyone), l.client.DialContext(route)
		l.host, l.caller = l.server.Identity().Host(), l.client.Identity()
	}
	return l
}

func (l *line) client40(t *testing.T, call func(healthpb.HealthClient)) {
	t.Helper()
	var all sync.WaitGroup
	for range 4 { // four connections
		conn, err := connect(l.dial, l.host)
		require.NoError(t, err)
		defer conn.Close()
		for range 10 {
			all.Go(func() { call(healthpb.NewHealthClient(conn)) })
		}
	}
	all.Wait()
}

func TestCalls(t *testing.T) {
	each(t, func(t *testing.T, l *line) {
		server := serve(l.listener, func(by identity.RemoteIdentity) { assert.Equal(t, l.caller, by) })
		defer server.Stop()
		l.client40(t, func(c healthpb.HealthClient) {
			answer, err := c.Check(t.Context(), &healthpb.HealthCheckRequest{})
			assert.NoError(t, err)
			assert.Equal(t, healthpb.HealthCheckResponse_SERVING, answer.GetStatus())
			stream, err := c.Watch(t.Context(), &healthpb.HealthCheckRequest{})
			if assert.NoError(t, err) {
				answer, err = stream.Recv()
				assert.NoError(t, err)
				assert.Equal(t, healthpb.HealthCheckResponse_SERVING, answer.GetStatus())
			}
		})
	})
}

// When the server or its node is stopped, the calls that run end with the
// status that gRPC defines for this.
func TestStops(t *testing.T) {
	for name, stop := range map[string]func(*line, func()){
		"server": func(_ *line, server func()) { server() },
		"node":   func(l *line, _ func()) { l.server.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, l *line) {
				server := serve(l.listener, func(identity.RemoteIdentity) {})
				defer server.Stop()
				var running sync.WaitGroup
				running.Add(40)
				go func() {
					running.Wait()
					stop(l, server.Stop)
				}()
				l.client40(t, func(c healthpb.HealthClient) {
					stream, err := c.Watch(t.Context(), &healthpb.HealthCheckRequest{})
					if !assert.NoError(t, err) {
						return
					}
					_, err = stream.Recv()
					assert.NoError(t, err)
					running.Done()
					_, err = stream.Recv()
					assert.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
					assert.False(t, strings.HasSuffix(err.Error(), "use of closed network connection"), "%v", err)
				})
			})
		})
	}
}
