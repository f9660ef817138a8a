package carrier

import (
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	paceEach   = time.Millisecond
	pace       = 128  // packets of one connection in that time
	paceSaved  = 8    // times that: what came while nobody read is let through
	paceAlone  = 4    // times that for a connection that comes alone
	maxHeld    = 256  // packets of one connection that wait; those beyond are dropped
	maxHeldAll = 4096 // of all

	crowdEach = 100 * time.Millisecond
	crowd     = 4 // changes of the connection in that time: more than quic-go makes of one's IDs
)

// A pacer is between the system and quic-go, which keeps 256 packets of a
// connection and drops the rest, and meanwhile reads nothing of the others. Of
// a connection that sends more than pace, packets wait here, in their order,
// while those of others are read, and until the system has no more. What is
// beyond is dropped here, where that costs least: it does not fill the system's
// buffer, in which all connections wait behind each other.
//
// A connection that comes alone holds up no other, and may be faster.
type pacer struct {
	held atomic.Int32 // packets that wait; changed under mu

	mu      sync.Mutex
	began   time.Time // of this paceEach
	allowed int       // packets of each connection since then
	given   map[uint64]int
	waiting []heldFlow // with packets, few
	turn    int        // of which of these

	counted time.Time // when changes was zero
	changes int       // how often a packet was not of the connection of the one before
	last    uint64    // that connection
	alone   bool      // there were few in the last crowdEach
}

// A heldFlow is the packets of a connection that wait.
type heldFlow struct {
	id      uint64
	packets []*heldPacket
}

// A heldPacket is a packet that waits, with what the system says about it.
type heldPacket struct {
	b, oob []byte
	flags  int
	from   net.Addr
}

var heldPackets = sync.Pool{New: func() any { return new(heldPacket) }}

// ConnectionOf returns what tells the connection of a packet from others: the
// beginning of its destination connection ID (RFC 9000 §17), of which this
// node's have 8 bytes, as those of most peers.
func ConnectionOf(packet []byte) uint64 {
	at, n := 1, 8
	if len(packet) > 6 && packet[0]&0x80 != 0 {
		at, n = 6, min(8, int(packet[5]))
	}
	if len(packet) < at+n {
		return 0
	}
	var id [8]byte
	copy(id[:], packet[at:at+n])
	return binary.NativeEndian.Uint64(id[:])
}

// tick begins another paceEach if this one is over.
func (p *pacer) tick() {
	now := time.Now()
	since := now.Sub(p.began)
	if since < paceEach {
		return
	}
	p.began, p.allowed = now, pace*int(min(since/paceEach, paceSaved))
	if p.alone {
		p.allowed *= paceAlone
	}
	if len(p.given) > maxHeldAll {
		p.given = nil
	}
	if clear(p.given); p.given == nil {
		p.given = map[uint64]int{}
	}
	if now.Sub(p.counted) >= crowdEach {
		p.counted, p.alone, p.changes = now, p.changes < crowd, 0
	}
}

// hold takes those of the messages that were read that may not be handed over
// now, and returns how many; the others are at the beginning of all then.
func (p *pacer) hold(all []ipv4.Message) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tick()
	kept := 0
	for i := range all {
		m := &all[i]
		if m.N > 0 && !p.admit(m) {
			continue
		}
		if kept < i {
			to := &all[kept]
			to.N, to.NN = copy(to.Buffers[0], m.Buffers[0][:m.N]), copy(to.OOB, m.OOB[:m.NN])
			to.Flags, to.Addr = m.Flags, m.Addr
		}
		kept++
	}
	return len(all) - kept
}

// admit reports whether a packet may be handed over now. Otherwise it waits, or
// is dropped.
func (p *pacer) admit(m *ipv4.Message) bool {
	id := ConnectionOf(m.Buffers[0][:m.N])
	if id != p.last {
		p.last = id
		p.changes++
	}
	f := p.flow(id)
	if f == nil {
		n := p.given[id] + 1
		if n <= p.allowed {
			p.given[id] = n
			return true
		}
	}
	if p.held.Load() >= maxHeldAll {
		return false
	}
	if f == nil {
		p.waiting = append(p.waiting, heldFlow{id: id})
		f = &p.waiting[len(p.waiting)-1]
	}
	if len(f.packets) < maxHeld {
		h := heldPackets.Get().(*heldPacket)
		h.b, h.oob = append(h.b[:0], m.Buffers[0][:m.N]...), append(h.oob[:0], m.OOB[:m.NN]...)
		h.flags, h.from = m.Flags, m.Addr
		f.packets = append(f.packets, h)
		p.held.Add(1)
	}
	return false
}

// flow returns a connection of which packets wait, or nil.
func (p *pacer) flow(id uint64) *heldFlow {
	for i := range p.waiting {
		if p.waiting[i].id == id {
			return &p.waiting[i]
		}
	}
	return nil
}

// take hands over packets that wait, of each connection one in turn: those that
// are due by now, or any if the system is idle.
func (p *pacer) take(all []ipv4.Message, idle bool) (n int) {
	if p.held.Load() == 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tick()
	for passed := 0; n < len(all) && passed < len(p.waiting); p.turn++ {
		p.turn %= len(p.waiting)
		f := &p.waiting[p.turn]
		if !idle && p.given[f.id] >= p.allowed {
			passed++
			continue
		}
		passed = 0
		p.given[f.id]++
		f.packets[0].move(&all[n])
		f.packets = slices.Delete(f.packets, 0, 1)
		p.held.Add(-1)
		n++
		if len(f.packets) == 0 {
			p.waiting = slices.Delete(p.waiting, p.turn, p.turn+1)
			p.turn--
		}
	}
	return n
}

// move puts a packet into m, and lets go of it.
func (h *heldPacket) move(m *ipv4.Message) {
	m.N, m.NN, m.Flags, m.Addr = copy(m.Buffers[0], h.b), copy(m.OOB, h.oob), h.flags, h.from
	h.from = nil
	heldPackets.Put(h)
}
