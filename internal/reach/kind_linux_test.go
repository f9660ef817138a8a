package reach

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKinds reads files like those of Sysfs on hosts with many kinds of
// interfaces.
func TestKinds(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{
		"eth0/device", "eth1/device", "wwan0/device", "veth0/upper_docker0", "tun0",
		"docker0/bridge", "docker0/lower_veth0",
		"br0/bridge", "br0/lower_veth1", "br0/lower_bond0.7",
		"bond0/lower_eth0", "bond0/lower_eth1", "bond0.7/lower_bond0", "veth1",
		"loop0/lower_loop0", // this interface does not exist
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, path), 0o700))
	}
	const ethernet, tunnel = net.FlagUp | net.FlagBroadcast | net.FlagMulticast, net.FlagUp | net.FlagPointToPoint
	for name, test := range map[string]struct {
		flags net.Flags
		want  Kind
	}{
		"lo": {net.FlagUp | net.FlagLoopback, Loopback}, "eth0": {ethernet, Physical}, "veth0": {ethernet, Virtual},
		"docker0": {ethernet, Inner}, "br0": {ethernet, Physical}, "bond0": {ethernet, Physical}, "bond0.7": {ethernet, Physical},
		"tun0": {tunnel, PointToPoint}, "wwan0": {tunnel, Physical}, "loop0": {ethernet, Virtual}, "gone": {ethernet, Virtual},
	} {
		require.Equal(t, test.want, kindIn(dir, &net.Interface{Name: name, Flags: test.flags}), name)
	}
}
