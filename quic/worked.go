package quic

import (
	"errors"
	"net/netip"
	"sync"

	"github.com/sdp2p/p2p/identity"
)

// worked holds the address at which each peer answered last. It is tried before
// others that a discovery reports, which anybody may have announced, until it
// does not answer.
type worked struct {
	mu sync.Mutex
	at map[identity.RemoteIdentity]netip.AddrPort
}

const maxWorked = 1024 // peers

// note records that a peer has answered at an address.
func (w *worked) note(id identity.RemoteIdentity, addr netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at == nil {
		w.at = map[identity.RemoteIdentity]netip.AddrPort{}
	}
	if _, known := w.at[id]; !known && len(w.at) >= maxWorked {
		for other := range w.at { // forgets any: it only loses its lead
			delete(w.at, other)
			break
		}
	}
	w.at[id] = unmap(addr)
}

// failed records that an address did not lead to a peer.
func (w *worked) failed(id identity.RemoteIdentity, addr netip.AddrPort, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at[id] == unmap(addr) && !errors.Is(err, errDialFinished) {
		delete(w.at, id)
	}
}

// is reports whether a peer answered last at an address.
func (w *worked) is(id identity.RemoteIdentity, addr netip.AddrPort) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.at[id]
	return ok && at == unmap(addr)
}
