package quic

import (
	"net/netip"
	"sync"

	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p/internal/carrier"
)

// An outlet is a socket from which packets of connections leave. The main
// outlet is the endpoint's socket, where peers' answers are recognized on any
// path. A spare outlet has another port, and so makes another path between the
// same addresses; all connections that leave from it share its transport.
type outlet struct {
	socket    *carrier.Socket
	transport *quicgo.Transport // of a spare one

	mu     sync.Mutex
	turned map[netip.AddrPort]*turn // by the address at which connections were dialed
}

// A turn is the new destination of packets to a peer's former address.
type turn struct {
	to   netip.AddrPort
	refs int // connections that need it
	undo func()
}

// turn redirects packets to the address of a connection until undo is called.
// It returns false if another connection needs them to go to a third address.
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

// maxSpares is the number of spare outlets: a connection alternates between the
// two, independently of other connections.
const maxSpares = 2

// spares are the outlets besides the endpoint's socket. They are opened when
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

// sourceTo returns the source address that the system would use to send to an
// address; invalid if there is no route.
func sourceTo(to netip.AddrPort) netip.Addr {
	from, err := carrier.Route(to)
	if err != nil {
		return netip.Addr{}
	}
	return from
}
