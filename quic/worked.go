package quic

import (
	"errors"
	"net/netip"
	"sync"

	"github.com/sdp2p/p2p/identity"
)

// worked are the addresses at which peers have answered last: each is tried
// before others that a discovery reports of the peer, which anybody may have
// announced, until it does not answer.
type worked struct {
	mu sync.Mutex
	at map[identity.RemoteIdentity]netip.AddrPort
}

const maxWorked = 1024 // peers

// note notes that a peer has answered at an address.
func (w *worked) note(id identity.RemoteIdentity, addr netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at == nil {
		w.at = map[identity.RemoteIdentity]netip.AddrPort{}
	}
	if _, known := w.at[id]; !known && len(w.at) >= maxWorked {
		for other := range w.at { // any: it only costs that one its lead
			delete(w.at, other)
			break
		}
	}
	w.at[id] = unmap(addr)
}

// failed notes why an address did not lead to a peer.
func (w *worked) failed(id identity.RemoteIdentity, addr netip.AddrPort, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at[id] == unmap(addr) && !errors.Is(err, errDialFinished) {
		delete(w.at, id)
	}
}

// is reports whether a peer has answered at an address.
func (w *worked) is(id identity.RemoteIdentity, addr netip.AddrPort) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.at[id]
	return ok && at == unmap(addr)
}
