package netlab

import (
	"net/netip"
	"sync"
)

// A Tunnel is a point-to-point interface of a host, as of a VPN, whose other
// end accepts all packets and answers none.
type Tunnel struct {
	// Interface is its name.
	Interface string

	mu   sync.Mutex
	sent [][]byte
}

// Tunnel gives a host a tunnel with an address, up until the test ends.
func (h *Host) Tunnel(name string, addr netip.Prefix) *Tunnel {
	t := h.lab.t
	t.Helper()
	file := h.tun(name)
	tunnel := &Tunnel{Interface: name}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 65536); ; {
			n, err := file.Read(b)
			if err != nil {
				return
			}
			tunnel.mu.Lock()
			tunnel.sent = append(tunnel.sent, append([]byte(nil), b[:n]...))
			tunnel.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		file.Close()
		<-done
	})
	h.lab.ip("-n", h.ns, "link", "set", name, "addrgenmode", "none")
	h.lab.ip("-n", h.ns, "link", "set", name, "up")
	h.lab.ip("-n", h.ns, "addr", "add", addr.String(), "dev", name)
	return tunnel
}

// Sent returns the IP packets that were sent through the tunnel so far.
func (t *Tunnel) Sent() [][]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([][]byte(nil), t.sent...)
}
