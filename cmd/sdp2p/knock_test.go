package main

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A node answers packets of both sizes without a connection; a silent socket
// sends no answer, and a closed port is reported as such.
func TestKnocks(t *testing.T) {
	_, port := startNode(t, "test", "node")
	small, large := knocks(t.Context(), netip.AddrPortFrom(localhost, port), 0, patience)
	require.Equal(t, [2]knock{{sent: small.sent, answered: true}, {sent: large.sent, answered: true}}, [2]knock{small, large})

	small, large = knocks(t.Context(), silent(t), 0, quietTime)
	require.Equal(t, [2]knock{{sent: small.sent}, {sent: large.sent}}, [2]knock{small, large})
	require.Positive(t, small.sent)

	k := knockAt(t.Context(), netip.AddrPortFrom(localhost, freePort(t)), knockSmall, 0, patience)
	require.Error(t, k.err)
	require.False(t, k.answered)
	require.Equal(t, hearing, k.doing)
	if system == "linux" {
		require.Equal(t, reject{from: localhost, kind: 3, code: 3}, *k.reject)
		require.Equal(t, closedPort, k.reject.class())
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Zero(t, knockAt(ctx, silent(t), knockSmall, time.Hour, time.Hour))
}
