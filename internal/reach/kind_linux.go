package reach

import (
	"net"
	"os"
	"path/filepath"
	"strings"
)

// kindOf asks sysfs. Where that is not readable, as on Android, no interface
// counts as physical.
func kindOf(i *net.Interface) Kind { return kindIn("/sys/class/net", i) }

func kindIn(dir string, i *net.Interface) Kind {
	switch {
	case i.Flags&net.FlagLoopback != 0:
		return Loopback
	case hasDevice(dir, i.Name, maxStack): // of point-to-point ones, a modem
		return Physical
	case i.Flags&net.FlagPointToPoint != 0:
		return PointToPoint
	case exists(filepath.Join(dir, i.Name, "bridge")):
		return Inner
	}
	return Virtual
}

// maxStack bounds how many interfaces may be on top of each other, such as a
// bridge on a VLAN on a bond on a device.
const maxStack = 4

// hasDevice reports whether there is a device below an interface: sysfs links
// the interface's own as "device", and the interfaces that it is made of as
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
