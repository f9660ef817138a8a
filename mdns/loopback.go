package mdns

import "net"

// Loopback returns the names of the loopback interfaces, for
// [Config].Interfaces of programs that find each other on one computer only,
// such as demos. It is never empty, which would mean the interfaces of other
// networks: without a loopback interface it is "loopback", which does not
// exist.
func Loopback() []string {
	all, _ := net.Interfaces()
	return loopback(all)
}

func loopback(all []net.Interface) (names []string) {
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			names = append(names, i.Name)
		}
	}
	if names == nil {
		return []string{"loopback"}
	}
	return names
}
