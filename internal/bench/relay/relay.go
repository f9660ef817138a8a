package relay

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A Relay passes datagrams between anyone who sends to it and one address, and
// takes its time for it: each is passed on a fixed time after it came, in the
// order in which they came.
//
// It counts round trips as well, by how many datagrams had to follow each other
// at the least: a datagram is one deeper than the deepest one that its sender
// had got before. What was sent alongside does not count, nor how long the two
// ends took to compute.
type Relay struct {
	to    *net.UDPAddr
	delay time.Duration
	front *net.UDPConn
	tasks sync.WaitGroup

	passed, datagrams [2]atomic.Int64 // towards each end

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

// An End is one of the two of a flow.
type End int

// The one who sends first, and the address that is relayed to.
const (
	Client End = iota
	Server
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

// New relays to an address, with a delay in each direction.
func New(to netip.AddrPort, delay time.Duration) (*Relay, error) {
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	r := &Relay{to: net.UDPAddrFromAddrPort(to), delay: delay, front: front, flows: map[netip.AddrPort]*flow{}}
	r.tasks.Go(r.run)
	return r, nil
}

// Addr is where the relay is reached.
func (r *Relay) Addr() netip.AddrPort { return r.front.LocalAddr().(*net.UDPAddr).AddrPort() }

// Close ends the relay. What is on its way is lost.
func (r *Relay) Close() {
	r.mu.Lock()
	r.closed = true
	r.front.Close()
	for _, f := range r.flows {
		f.back.Close()
	}
	r.mu.Unlock()
	r.tasks.Wait()
}

// Reset forgets what the newest flow has had so far.
func (r *Relay) Reset() {
	r.mu.Lock()
	f := r.last
	r.mu.Unlock()
	if f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.count++
		f.depth = [2]int{}
	}
}

// RoundTrips returns how many of them the client of the newest flow has had
// since the last [Relay.Reset].
func (r *Relay) RoundTrips() float64 {
	r.mu.Lock()
	f := r.last
	r.mu.Unlock()
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return float64(f.depth[Client]) / 2
}

// Passed returns how many bytes have been sent on to an end.
func (r *Relay) Passed(to End) int64 { return r.passed[to].Load() }

// Datagrams returns how many of them have been sent on, to either end.
func (r *Relay) Datagrams() int64 { return r.datagrams[Client].Load() + r.datagrams[Server].Load() }

// run reads what clients send.
func (r *Relay) run() {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, f := range r.flows {
			close(f.queues[Server])
		}
	}()
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := r.front.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if f := r.flow(from); f != nil {
			f.enqueue(Server, buf[:n], r.delay)
		}
	}
}

// flow returns a client's flow, or nil if there is none to be had.
func (r *Relay) flow(from netip.AddrPort) *flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flows[from]
	if f != nil || r.closed {
		return f
	}
	back, err := net.DialUDP("udp4", nil, r.to)
	if err != nil {
		return nil // it is sent again
	}
	f = &flow{client: from, back: back, queues: [2]chan datagram{make(chan datagram, maxQueue), make(chan datagram, maxQueue)}}
	r.flows[from] = f
	r.last = f
	r.tasks.Go(func() {
		f.release(Server, func(b []byte) {
			r.count(Server, b)
			f.back.Write(b)
		})
	})
	r.tasks.Go(func() {
		f.release(Client, func(b []byte) {
			r.count(Client, b)
			r.front.WriteToUDPAddrPort(b, f.client)
		})
	})
	r.tasks.Go(func() {
		defer close(f.queues[Client])
		buf := make([]byte, maxDatagram)
		for {
			n, err := f.back.Read(buf)
			if err != nil {
				if r.ended() {
					return
				}
				continue // nobody listens (ICMP)
			}
			f.enqueue(Client, buf[:n], r.delay)
		}
	})
	return f
}

func (r *Relay) count(to End, b []byte) {
	r.datagrams[to].Add(1)
	r.passed[to].Add(int64(len(b)))
}

func (r *Relay) ended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// enqueue has a datagram sent to an end after the delay.
func (f *flow) enqueue(to End, b []byte, delay time.Duration) {
	d := datagram{data: append([]byte(nil), b...), due: time.Now().Add(delay)}
	f.mu.Lock()
	d.count, d.depth = f.count, f.depth[1-to]+1
	f.mu.Unlock()
	f.queues[to] <- d
}

// release sends what is due, until there will be no more.
func (f *flow) release(to End, send func([]byte)) {
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
