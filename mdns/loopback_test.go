package mdns

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// The list of loopback interfaces is never empty: that would mean all others.
func TestLoopback(t *testing.T) {
	lo, eth := net.Interface{Name: "lo0", Flags: net.FlagUp | net.FlagLoopback}, net.Interface{Name: "eth0", Flags: net.FlagUp}
	require.Equal(t, []string{"lo0"}, loopback([]net.Interface{eth, lo}))
	require.Equal(t, []string{"loopback"}, loopback([]net.Interface{eth}))
	require.Equal(t, []string{"loopback"}, loopback(nil))
	require.NotEmpty(t, Loopback())
}
