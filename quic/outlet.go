package quic

import (
	"net/netip"
	"sync"

	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p/internal/carrier"
)

// An outlet is a socket that connections leave from. The main one is the
// endpoint's, on which the peers' answers are known by any path. A
// spare one has another port, and so makes another path of the same addresses; it
// has a transport of its own, which all connections share that leave from it.
type outlet struct {
	socket    *carrier.Socket
	transport *quicgo.Transport // of a spare one

	mu     sync.Mutex
	turned map[netip.AddrPort]*turn // by the address at which connections were dialed
}

// A turn is where packets to a peer's former address go.
type turn struct {
	to   netip.AddrPort
	refs int // connections that need it
	undo func()
}

// turn has packets to the address of a connection go elsewhere, until undo is
// called. It reports false if another connection needs them to go to a third
// address.
func (o *outlet) turn(from, to netip.AddrPort) (undo func(), ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.turned[from]
	if t == nil {
		t = &turn{to: to, undo: func() {}}
		if from != to {
			if t.undo, ok = o.socket.Redirect(from, to); !ok {
				return nil, false
			}
		}
		if o.turned == nil {
			o.turned = map[netip.AddrPort]*turn{}
		}
		o.turned[from] = t
	}
	if t.to != to {
		return nil, false
	}
	t.refs++
	return sync.OnceFunc(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if t.refs--; t.refs == 0 {
			t.undo()
			delete(o.turned, from)
		}
	}), true
}

// close closes a spare outlet.
func (o *outlet) close() {
	o.transport.Close()
	o.socket.Close()
}

// maxSpares is how many spare outlets there are: a connection leaves one of them
// for the other, which all the others can do as well.
const maxSpares = 2

// spares are the outlets besides the endpoint's socket, opened when they are
// needed.
type spares struct {
	mu     sync.Mutex
	all    []*outlet
	closed bool
}

// get returns a spare outlet by its number.
func (s *spares) get(i int) (*outlet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrNotRunning
	}
	for i >= len(s.all) {
		socket, err := bind(0)
		if err != nil {
			return nil, err
		}
		c := carrier.New(socket, carrier.Config{})
		s.all = append(s.all, &outlet{socket: c, transport: &quicgo.Transport{Conn: c, ConnectionIDLength: connectionIDLength}})
	}
	return s.all[i], nil
}

func (s *spares) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, o := range s.all {
		o.close()
	}
}

// sourceTo returns the address from which the system would send to another one,
// invalid if it would not.
func sourceTo(to netip.AddrPort) netip.Addr {
	from, err := carrier.Route(to)
	if err != nil {
		return netip.Addr{}
	}
	return from
}
