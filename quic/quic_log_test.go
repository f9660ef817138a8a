package quic_test

import (
	"log/slog"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// A log at Debug level explains a session: the port, each connection and how it
// ended, every refusal, and the result at each address.
func TestDebugLog(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a := start(t, p2p.Config{Logger: logger}, quic.Config{})
	b := start(t, p2p.Config{Handler: &p2p.Mux{}}, quic.Config{})
	stranger := start(t, p2p.Config{}, quic.Config{})
	peer := a.knows(t, b)
	_, err := a.knows(t, stranger, b.addr()).NewStream(within(t))
	require.Error(t, err)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	s.Reset(p2p.ErrCanceled)
	a.Revoke(b.Identity())
	until(t, a, func() bool { return !peer.Connected() })
	require.Eventually(t, func() bool {
		return regexp.MustCompile(`msg=disconnected .*peer=` + regexp.QuoteMeta(b.Identity().String()) + `.*cause=.*closed`).MatchString(log.String())
	}, patience, 10e6, "%s", &log)
	for _, line := range []string{
		`level=DEBUG msg=listening hook=quic port=\d+`,
		`level=DEBUG msg=connected peer=` + regexp.QuoteMeta(b.Identity().String()) + ` hook=quic path="direct ` + b.addr().String() + `, dialed"`,
		`level=DEBUG msg="dial failed" .*another peer is at this address`,
	} {
		require.Regexp(t, line, log.String())
	}
}
