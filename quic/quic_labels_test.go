package quic_test

import (
	"context"
	"net"
	"regexp"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
)

// goroutines returns the labels of the goroutines that run a function, as a
// profile shows them.
func goroutines(t *testing.T, function string) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, pprof.Lookup("goroutine").WriteTo(&b, 1))
	var all []string
	for _, g := range strings.Split(b.String(), "\n\n") {
		if strings.Contains(g, function) {
			all = append(all, regexp.MustCompile(`# labels: .*`).FindString(g))
		}
	}
	return strings.Join(all, "\n")
}

// A profile shows for which hook, peer and route a node's goroutines work.
func TestGoroutinesHaveLabels(t *testing.T) {
	t.Parallel()
	handling := make(chan string)
	var mux p2p.Mux
	mux.HandleFunc("wait", p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		go func() { // its goroutines have the same labels
			route, _ := pprof.Label(ctx, "route")
			handling <- route
			<-ctx.Done()
			handling <- ""
		}()
		<-ctx.Done()
		return nil
	})
	a, b := start(t, p2p.Config{}, quic.Config{}), start(t, p2p.Config{Handler: &mux}, quic.Config{})
	s, err := a.knows(t, b).Open(within(t), "wait")
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, "wait", <-handling)
	defer func() { go func() { <-handling }() }()

	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer silent.Close()
	nobody := identity.New().Remote()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dialed := make(chan error, 1)
	at := []p2p.Candidate{{Kind: p2p.Direct, Addr: silent.LocalAddr().(*net.UDPAddr).AddrPort()}}
	require.NoError(t, a.scope.Discovered(nobody, nil, at))
	lost := a.peer(t, nobody)
	go func() {
		_, err := lost.NewStream(ctx)
		dialed <- err
	}()
	short := func(id identity.RemoteIdentity) string { return `"peer":"` + id.String()[:8] + `"` }
	for _, g := range [][2]string{
		{"TestGoroutinesHaveLabels.func1", `{"hook":"quic", ` + short(a.Identity()) + `, "route":"wait"}`},
		{"(*race).run", `{"hook":"quic", ` + short(nobody) + `}`},
		{"(*race).dial", `{"hook":"quic", ` + short(nobody) + `}`},
		{"(*endpoint).serve", `{"hook":"quic", ` + short(b.Identity()) + `}`},
		{"(*endpoint).serve", `{"hook":"quic", ` + short(a.Identity()) + `}`},
		{"(*endpoint).accept", `{"hook":"quic"}`},
		{"(*Listener).Run", `{"hook":"quic"}`},
		{"(*book).Run", `{"hook":"book"}`},
	} {
		function, labels := g[0], g[1]
		require.Eventually(t, func() bool { return strings.Contains(goroutines(t, function), labels) }, patience, 10*time.Millisecond, "%s: %s", function, labels)
	}
	require.NotContains(t, goroutines(t, ""), a.Identity().String(), "labels hold only the short form of an identity")
	cancel()
	require.Error(t, <-dialed)
}
