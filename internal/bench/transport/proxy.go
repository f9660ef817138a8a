package transport

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A proxy relays datagrams between whoever sends to it and one address, and takes its time for it: each is passed on a
// fixed time after it came, in the order in which they came.
//
// It counts round trips as well, by how many datagrams had to follow each other at the least: a datagram is one deeper
// than the deepest one that its sender had got before. What was sent alongside does not count, nor how long the two ends
// took to compute.
type proxy struct {
	to    *net.UDPAddr
	delay time.Duration
	front *net.UDPConn
	tasks sync.WaitGroup

	passed    [2]atomic.Int64 // bytes, towards each end
	datagrams [2]atomic.Int64

	mu     sync.Mutex
	closed bool
	flows  map[netip.AddrPort]*flow
	last   *flow // the newest one
}

// A flow is what one sender has.
type flow struct {
	client netip.AddrPort
	back   *net.UDPConn // towards to
	queues [2]chan datagram

	mu    sync.Mutex
	count int    // of resets
	depth [2]int // of what an end has got
}

// The ends of a flow.
const (
	client = iota
	server
)

// A datagram is on its way.
type datagram struct {
	data         []byte
	due          time.Time
	count, depth int
}

const (
	maxQueue    = 4096    // datagrams; more are left to the kernel
	maxDatagram = 1 << 16 // bytes
)

// newProxy relays to an address, with a delay in each direction.
func newProxy(to netip.AddrPort, delay time.Duration) (*proxy, error) {
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	p := &proxy{to: net.UDPAddrFromAddrPort(to), delay: delay, front: front, flows: map[netip.AddrPort]*flow{}}
	p.tasks.Go(p.relay)
	return p, nil
}

func (p *proxy) addr() netip.AddrPort { return p.front.LocalAddr().(*net.UDPAddr).AddrPort() }

// close ends the proxy. What is on its way is lost.
func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.front.Close()
	for _, f := range p.flows {
		f.back.Close()
	}
	p.mu.Unlock()
	p.tasks.Wait()
}

// reset forgets what the newest flow has had so far.
func (p *proxy) reset() {
	p.mu.Lock()
	f := p.last
	p.mu.Unlock()
	if f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.count++
		f.depth = [2]int{}
	}
}

// roundTrips returns how many of them the client of the newest flow has had since the last reset.
func (p *proxy) roundTrips() float64 {
	p.mu.Lock()
	f := p.last
	p.mu.Unlock()
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return float64(f.depth[client]) / 2
}

// relay reads what clients send.
func (p *proxy) relay() {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, f := range p.flows {
			close(f.queues[server])
		}
	}()
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := p.front.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if f := p.flow(from); f != nil {
			f.enqueue(server, buf[:n], p.delay)
		}
	}
}

// flow returns a client's flow, or nil if there is none to be had.
func (p *proxy) flow(from netip.AddrPort) *flow {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.flows[from]
	if f != nil || p.closed {
		return f
	}
	back, err := net.DialUDP("udp4", nil, p.to)
	if err != nil {
		return nil // it is sent again
	}
	f = &flow{client: from, back: back, queues: [2]chan datagram{make(chan datagram, maxQueue), make(chan datagram, maxQueue)}}
	p.flows[from] = f
	p.last = f
	p.tasks.Go(func() {
		f.release(server, func(b []byte) {
			p.count(server, b)
			f.back.Write(b)
		})
	})
	p.tasks.Go(func() {
		f.release(client, func(b []byte) {
			p.count(client, b)
			p.front.WriteToUDPAddrPort(b, f.client)
		})
	})
	p.tasks.Go(func() {
		defer close(f.queues[client])
		buf := make([]byte, maxDatagram)
		for {
			n, err := f.back.Read(buf)
			if err != nil {
				if p.ended() {
					return
				}
				continue // nobody listens (ICMP)
			}
			f.enqueue(client, buf[:n], p.delay)
		}
	})
	return f
}

func (p *proxy) count(to int, b []byte) {
	p.datagrams[to].Add(1)
	p.passed[to].Add(int64(len(b)))
}

func (p *proxy) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// enqueue has a datagram sent to an end after the delay.
func (f *flow) enqueue(to int, b []byte, delay time.Duration) {
	d := datagram{data: append([]byte(nil), b...), due: time.Now().Add(delay)}
	f.mu.Lock()
	d.count, d.depth = f.count, f.depth[1-to]+1
	f.mu.Unlock()
	f.queues[to] <- d
}

// release sends what is due, until there will be no more.
func (f *flow) release(to int, send func([]byte)) {
	alarm := newAlarm()
	defer alarm.close()
	for d := range f.queues[to] {
		alarm.wait(d.due)
		f.mu.Lock()
		if d.count == f.count {
			f.depth[to] = max(f.depth[to], d.depth)
		}
		f.mu.Unlock()
		send(d.data)
	}
}
