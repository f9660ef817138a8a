package dnssd

import (
	"errors"
	"net/netip"
	"sync"
)

// maxSockets limits the sockets of a family. With the 20 memberships that Linux
// allows each, they suffice for more than maxLinks interfaces.
const maxSockets = 8

// A groupConn is the [Conn] of a family. Since systems limit the memberships of
// a socket, it opens further ones, which only receive, when the others cannot
// join any more.
type groupConn struct {
	family Family
	open   func() (*udpConn, error)
	all    []*udpConn       // the first sends
	on     map[int]*udpConn // the member, by interface
}

func (sockets) Open(f Family, deliver func(Packet), failed func(error)) (Conn, error) {
	var mu sync.Mutex
	one := func(p Packet) {
		mu.Lock()
		defer mu.Unlock()
		deliver(p)
	}
	var once sync.Once
	first := func(err error) { once.Do(func() { failed(err) }) }
	g := &groupConn{family: f, on: make(map[int]*udpConn)}
	g.open = func() (*udpConn, error) { return openUDP(f, one, first) }
	u, err := g.open()
	if err != nil {
		return nil, err
	}
	g.all = append(g.all, u)
	return g, nil
}

// A membershipError is ErrNoMembership with the system's error for the last
// socket that was tried.
type membershipError struct {
	family Family
	cause  error
}

func (m *membershipError) Error() string {
	return ErrNoMembership.Error() + ": see " + membershipLimit[m.family]
}

func (m *membershipError) Unwrap() []error { return []error{ErrNoMembership, m.cause} }

// Join implements [Conn].
func (g *groupConn) Join(ifc Interface) error {
	g.Leave(ifc)
	var cause error
	for n := 0; n < maxSockets; n++ {
		fresh := n == len(g.all)
		if fresh {
			u, err := g.open()
			if err != nil {
				return err
			}
			g.all = append(g.all, u)
		}
		u := g.all[n]
		err := u.join(ifc)
		if err == nil {
			g.on[ifc.Index] = u
			return nil
		}
		cause = err
		if fresh {
			_ = u.close()
			g.all = g.all[:n]
		}
		if !isMemberships(err) {
			return err
		}
		if fresh {
			break // no socket can
		}
	}
	return &membershipError{g.family, cause}
}

// Leave implements [Conn].
func (g *groupConn) Leave(ifc Interface) {
	if u := g.on[ifc.Index]; u != nil {
		u.leave(ifc)
		delete(g.on, ifc.Index)
	}
}

// Send implements [Conn].
func (g *groupConn) Send(data []byte, ifc Interface, to netip.AddrPort) error {
	return g.all[0].send(data, ifc, to)
}

// Close implements [Conn].
func (g *groupConn) Close() error {
	var errs []error
	for _, u := range g.all {
		errs = append(errs, u.close())
	}
	return errors.Join(errs...)
}
