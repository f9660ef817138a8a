package portmap

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

var (
	router   = netip.MustParseAddr("192.0.2.1")
	self     = netip.MustParseAddr("192.0.2.7")
	external = netip.MustParseAddr("203.0.113.5")
)

const inner = 7373

// A gateway answers as the RFCs demand. It is written independently of the
// package.
type gateway struct {
	mu       sync.Mutex
	pcp, pmp bool
	silent   bool
	drop     int // the number of datagrams that it drops next
	code     byte
	errLasts uint32
	lasts    uint32 // the longest lifetime that it grants
	external netip.Addr
	started  time.Time
	mapped   map[uint16]uint16     // by outside port
	asked    []byte                // versions, or version | 0x80 of a release, in order
	mangle   func([]byte) [][]byte // replaces the answers; may be nil
	nonces   map[nonce]bool
}

func newGateway() *gateway {
	return &gateway{pcp: true, pmp: true, lasts: 86400, external: external, started: time.Now(), mapped: map[uint16]uint16{}, nonces: map[nonce]bool{}}
}

func (g *gateway) set(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

// restart forgets all mappings.
func (g *gateway) restart() {
	g.set(func() { g.started, g.mapped = time.Now(), map[uint16]uint16{} })
}

func (g *gateway) epoch() uint32 { return uint32(time.Since(g.started) / time.Second) }

// hear returns the answers to a datagram.
func (g *gateway) hear(b []byte) [][]byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(b) > 60 {
		panic("a datagram of more than 60 bytes")
	}
	g.asked = append(g.asked, b[0])
	if g.drop > 0 {
		g.drop--
		return nil
	}
	if g.silent {
		return nil
	}
	var out []byte
	switch {
	case b[0] == 2 && g.pcp:
		out = g.hearPCP(b)
	case b[0] == 0 && g.pmp:
		out = g.hearPMP(b)
	case g.pmp:
		out = binary.BigEndian.AppendUint32([]byte{0, 0x80 | b[1], 0, 1}, g.epoch())
	case g.pcp:
		out = make([]byte, 24)
		out[0], out[1], out[3] = 2, 0x80|b[1], 1
	}
	if out == nil {
		return nil
	}
	if g.mangle != nil {
		return g.mangle(out)
	}
	return [][]byte{out}
}

func (g *gateway) hearPCP(b []byte) []byte {
	out := append([]byte(nil), b...)
	out[1] |= 0x80
	out[3] = g.code
	binary.BigEndian.PutUint32(out[8:], g.epoch())
	clear(out[12:24])
	g.nonces[nonce(b[24:36])] = true
	if g.code != 0 {
		binary.BigEndian.PutUint32(out[4:], g.errLasts)
		return out
	}
	lasts := min(binary.BigEndian.Uint32(b[4:]), g.lasts)
	binary.BigEndian.PutUint32(out[4:], lasts)
	port := g.change(binary.BigEndian.Uint16(b[40:]), binary.BigEndian.Uint16(b[42:]), lasts)
	binary.BigEndian.PutUint16(out[42:], port)
	a := g.external.As16()
	copy(out[44:], a[:])
	return out
}

func (g *gateway) hearPMP(b []byte) []byte {
	out := []byte{0, 0x80 | b[1], 0, g.code}
	out = binary.BigEndian.AppendUint32(out, g.epoch())
	if b[1] == 0 {
		a := g.external.As4()
		return append(out, a[:]...)
	}
	if g.code != 0 {
		return out
	}
	in := binary.BigEndian.Uint16(b[4:])
	lasts := min(binary.BigEndian.Uint32(b[8:]), g.lasts)
	port := g.change(in, binary.BigEndian.Uint16(b[6:]), lasts)
	out = binary.BigEndian.AppendUint16(out, in)
	out = binary.BigEndian.AppendUint16(out, port)
	return binary.BigEndian.AppendUint32(out, lasts)
}

// change adds a mapping, or removes it.
func (g *gateway) change(in, suggested uint16, lasts uint32) uint16 {
	if lasts == 0 {
		g.asked[len(g.asked)-1] |= 0x80
		for out, i := range g.mapped {
			if i == in {
				delete(g.mapped, out)
			}
		}
		return 0
	}
	for out, i := range g.mapped {
		if i == in {
			return out
		}
	}
	if suggested == 0 {
		suggested = 40000
	}
	for g.mapped[suggested] != 0 {
		suggested++
	}
	g.mapped[suggested] = in
	return suggested
}

// A wire is a socket in a bubble, which receives only from the gateway.
type wire struct{ net.Conn }

func (wire) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(netip.AddrPortFrom(self, 50000)) }

// dial connects to the gateway within a bubble.
func (g *gateway) dial(to netip.Addr) (net.Conn, error) {
	if to != router {
		return nil, errors.New("another gateway")
	}
	a, b := net.Pipe()
	out := make(chan []byte, 1000)
	go func() {
		for datagram := range out {
			b.Write(datagram) // as long as the socket is open
		}
	}()
	go func() {
		defer close(out)
		defer b.Close()
		for buf := make([]byte, 2000); ; {
			n, err := b.Read(buf)
			if err != nil {
				return
			}
			for _, datagram := range g.hear(buf[:n]) {
				out <- datagram
			}
		}
	}()
	return wire{a}, nil
}

// A run is a running mapper.
type run struct {
	*Mapper
	mu      sync.Mutex
	target  netip.Addr
	port    uint16
	changes int
	stop    func()
}

func start(t *testing.T, dial func(netip.Addr) (net.Conn, error)) *run {
	r := &run{target: router, port: inner}
	r.Mapper = New(Config{
		Target: func() (netip.Addr, uint16) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.target, r.port
		},
		Changed: func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.changes++
		},
		Logger: slog.New(slog.DiscardHandler), dial: dial,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	r.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(r.stop)
	return r
}

func (r *run) changed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changes
}

func (g *gateway) mappings() map[uint16]uint16 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.mapped)
}

func (g *gateway) questions() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	asked := g.asked
	g.asked = nil
	return asked
}
