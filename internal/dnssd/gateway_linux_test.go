package dnssd

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The default routers in /proc/net/route.
func TestParseRoutes(t *testing.T) {
	table := strings.Join([]string{
		"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT",
		"wlan0\t00000000\tFE01A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0",
		"wlan0\t00000000\t0101A8C0\t0003\t0\t0\t700\t00000000\t0\t0\t0",
		"wlan0\t0001A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0",
		"tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0",
		"eth0\t00000000\tnonsense\t0001",
		"short",
	}, "\n")
	got := parseRoutes(table)
	require.Len(t, got, 1)
	require.Equal(t, "192.168.1.254", got["wlan0"].String())
}
