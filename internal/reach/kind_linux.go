package reach

import (
	"net"
	"os"
	"path/filepath"
	"strings"
)

// kindOf reads an interface's kind from sysfs. If that is not readable, as on
// Android, no interface counts as physical.
func kindOf(i *net.Interface) Kind { return kindIn("/sys/class/net", i) }

func kindIn(dir string, i *net.Interface) Kind {
	switch {
	case i.Flags&net.FlagLoopback != 0:
		return Loopback
	case hasDevice(dir, i.Name, maxStack): // a point-to-point device is a modem
		return Physical
	case i.Flags&net.FlagPointToPoint != 0:
		return PointToPoint
	case exists(filepath.Join(dir, i.Name, "bridge")):
		return Inner
	}
	return Virtual
}

// maxStack limits how many interfaces may be stacked, such as a bridge on a
// VLAN on a bond on a device.
const maxStack = 4

// hasDevice reports whether an interface is based on a device: sysfs links the
// interface's own device as "device", and the interfaces that it consists of as
// "lower_" and their name.
func hasDevice(dir, name string, depth int) bool {
	if exists(filepath.Join(dir, name, "device")) {
		return true
	}
	if depth == 0 {
		return false
	}
	entries, _ := os.ReadDir(filepath.Join(dir, name))
	for _, e := range entries {
		if lower, ok := strings.CutPrefix(e.Name(), "lower_"); ok && hasDevice(dir, lower, depth-1) {
			return true
		}
	}
	return false
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
