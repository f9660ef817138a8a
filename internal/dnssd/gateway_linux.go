package dnssd

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
)

// gateways returns the IPv4 default router reached through each interface, by the interface's name. It is empty where
// the kernel's table cannot be read.
func gateways() map[string]netip.Addr {
	table, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return nil
	}
	return parseRoutes(string(table))
}

// parseRoutes reads the format of /proc/net/route: Iface, Destination, Gateway and more, separated by white space;
// addresses in hexadecimal, in the byte order of the machine.
func parseRoutes(table string) map[string]netip.Addr {
	out := make(map[string]netip.Addr)
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 3 || f[1] != "00000000" || f[2] == "00000000" {
			continue
		}
		b, err := hex.DecodeString(f[2])
		if err != nil || len(b) != 4 {
			continue
		}
		var a [4]byte
		binary.NativeEndian.PutUint32(a[:], binary.BigEndian.Uint32(b))
		if _, ok := out[f[0]]; !ok { // the first is the one in use
			out[f[0]] = netip.AddrFrom4(a)
		}
	}
	return out
}
