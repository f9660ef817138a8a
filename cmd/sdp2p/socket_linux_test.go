package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestSocketChecks(t *testing.T) {
	var subjects []string
	granted := askSocket()
	for _, c := range granted.checks() {
		subjects = append(subjects, c.Subject)
		require.NotEqual(t, fail, c.Verdict)
		require.Equal(t, c.Verdict == fine, c.Advice == "", c)
	}
	require.Equal(t, []string{"receive buffer", "send buffer", "GSO"}, subjects)

	require.Equal(t, check{"socket", "x", fine, codeOK, "7168 KiB of 7168 wanted", ""}, buffer("x", "rmem_max", bufferWanted, nil))
	small := buffer("receive buffer", "rmem_max", 2*212992, nil) // the value on most systems
	require.Equal(t, warn, small.Verdict)
	require.Equal(t, "416 KiB of 7168 wanted", small.Value)
	require.Contains(t, small.Advice, "sysctl -w net.core.rmem_max=7500000")
	require.Equal(t, warn, buffer("x", "rmem_max", 0, unix.EBADF).Verdict)

	require.Equal(t, fine, segmentation(nil, false).Verdict)
	require.Contains(t, segmentation(nil, true).Value, "QUIC_GO_DISABLE_GSO")
	require.Equal(t, warn, segmentation(unix.ENOPROTOOPT, false).Verdict)
	t.Setenv("QUIC_GO_DISABLE_GSO", "1")
	granted = askSocket()
	require.Equal(t, warn, granted.checks()[2].Verdict)
}
