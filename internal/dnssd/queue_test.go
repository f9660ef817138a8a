package dnssd

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newcomer is the announcement of an instance in full, padded to a size at
// least.
func newcomer(label string, addr netip.Addr, ttl uint32, size int) []byte {
	p := newHostile(true)
	name := wire(label, "_sd", "_udp", "local")
	p.add(1, record(wire("_sd", "_udp", "local"), 12, 1, ttl, name))
	p.add(1, record(name, 33, 1|1<<15, min(ttl, 120), srv(4242, wire(label, "local"))))
	p.add(1, record(name, 16, 1|1<<15, ttl, append([]byte{3}, "x=1"...)))
	p.add(1, record(wire(label, "local"), 1, 1|1<<15, min(ttl, 120), addr.AsSlice()))
	if rest := size - len(p.b); rest > 0 {
		p.add(3, record(wire("local"), 65280, 1, 1, make([]byte, rest)))
	}
	return p.bytes()
}

// waiting returns an engine on a link, idle for long, that admits one instance
// a second and eight at once, a function that announces an instance, and one
// that returns how many are known.
func waiting(t *testing.T) (e *Engine, announce func(label, src string), known func() int) {
	e, err := New(Config{Service: "_sd._udp", Network: &deaf{}, MaxNewPerSecond: 1})
	require.NoError(t, err)
	e.now = time.Unix(0, 0)
	require.NoError(t, e.openSockets())
	e.pollInterfaces()
	e.advance(90 * time.Second) // after a question, long before the next
	announce = func(label, src string) {
		e.hear(src, newcomer(label, netip.MustParseAddr(src), 4500, 0))
	}
	return e, announce, func() int { return len(e.links[1].seen) }
}

func src4(n int) string { return fmt.Sprint("10.0.0.", n) }

// consistent checks the queue's bounds, and returns its length.
func (q *queue) consistent(t require.TestingT) int {
	countless, sources, labels := 0, map[netip.Addr]int{}, map[string]int{}
	for _, a := range q.list {
		require.False(t, a.left)
		sources[a.by]++
		labels[a.key]++
		if a.l.countless(a.src) {
			countless++
		}
	}
	require.Equal(t, labels, q.labels)
	for _, n := range labels {
		require.LessOrEqual(t, n, maxQueuedBy)
	}
	require.Equal(t, sources, q.sources)
	require.LessOrEqual(t, countless, maxQueued/2)
	require.LessOrEqual(t, len(q.list), maxQueued)
	require.Equal(t, len(q.list) > 0, q.timer.pending())
	return len(q.list)
}

// What may not be admitted at once waits, and is learned as it was announced
// last, the first to come first, at the rate of admission. Nothing is asked.
func TestQueue(t *testing.T) {
	e, announce, known := waiting(t)
	l := e.links[1]
	for i := range 14 {
		announce(fmt.Sprintf("n%02d", i), src4(2+i))
	}
	e.queue.consistent(t)
	require.Equal(t, 8, known())
	require.Len(t, l.knownAnswers(), 14)
	require.True(t, l.inhabited(netip.MustParseAddr(src4(15))))
	e.hear(src4(10), newcomer("n08", netip.MustParseAddr("10.0.0.99"), 4500, 0)) // has moved
	e.hear(src4(11), newcomer("n09", netip.MustParseAddr(src4(11)), 0, 0))       // has left
	e.hear(src4(99), newcomer("n10", netip.MustParseAddr(src4(99)), 0, 0))       // only says so
	asked := e.Stats().Sent.Queries.Packets
	e.advance(1100 * time.Millisecond)
	require.Equal(t, 9, known())
	require.Contains(t, e.shown, "n08")
	require.Equal(t, "[10.0.0.99:4242]", fmt.Sprint(e.shown["n08"].Addrs))
	e.advance(time.Second)
	require.Contains(t, e.shown, "n10")
	e.advance(3 * time.Second)
	require.Equal(t, 13, known())
	require.NotContains(t, e.shown, "n09")
	require.Equal(t, asked, e.Stats().Sent.Queries.Packets)
	require.Zero(t, e.Stats().Refused)
	e.queue.consistent(t)
}

// The records of an instance live no longer because it has waited.
func TestQueueAges(t *testing.T) {
	e, announce, _ := waiting(t)
	for i := range 20 {
		announce(fmt.Sprintf("n%02d", i), src4(2+i))
	}
	e.advance(119 * time.Second)
	require.Len(t, e.shown, 20)
	e.advance(2 * time.Second)
	require.Empty(t, e.shown)
}

// What is not complete, too large, or from a source that floods does not wait.
func TestQueueRefuses(t *testing.T) {
	e, announce, known := waiting(t)
	for i := range 8 {
		announce(fmt.Sprint("n", i), src4(2+i))
	}
	svc := wire("_sd", "_udp", "local")
	p := newHostile(true)
	p.add(1, record(svc, 12, 1, 4500, wire("alone", "_sd", "_udp", "local")))
	e.hear(src4(20), p.bytes())
	e.hear(src4(21), newcomer("large", netip.MustParseAddr(src4(21)), 4500, maxQueuedPacket+1))
	require.Zero(t, e.queue.consistent(t))
	require.EqualValues(t, 2, e.Stats().Refused)
	for i := range 2 * originMany {
		announce(fmt.Sprint("m", i), src4(2))
	}
	require.Equal(t, maxQueued/2, e.queue.consistent(t))
	require.Equal(t, 8, known())
	e.advance(time.Second)
	announce("full", src4(21))
	require.Equal(t, 9, known(), "has its token")
	e.advance(queueTime + time.Second)
	require.Zero(t, e.queue.consistent(t), "it waited in vain")
	require.LessOrEqual(t, known(), 8+1+int(queueTime/time.Second)+2)
}

// A thousand forged instances of 200 sources leave room for those of others,
// whose turn comes first; sources without number have half of the room.
func TestQueueShares(t *testing.T) {
	e, announce, known := waiting(t)
	for i := range 1000 {
		announce(fmt.Sprint("junk", i), src4(50+i%200))
	}
	require.Equal(t, maxQueued, e.queue.consistent(t))
	require.Equal(t, 8, known())
	for i := range 5 {
		announce(fmt.Sprint("real", i), src4(2+i))
	}
	require.Equal(t, maxQueued, e.queue.consistent(t))
	for i := range 5 {
		require.True(t, e.queue.labels[fmt.Sprint("real", i)] > 0, i)
	}
	e.links[1].close()
	require.Zero(t, e.queue.consistent(t))

	e, announce, _ = waiting(t)
	for i := range 1000 {
		announce(fmt.Sprint("junk", i), fmt.Sprintf("172.16.%d.%d", i>>8, i&255))
	}
	require.Equal(t, maxQueued/2, e.queue.consistent(t))
	announce("real", src4(2))
	require.Contains(t, e.links[1].seen, "real")
}

// Nobody keeps an instance out by announcing it first.
func TestQueueOfOneLabel(t *testing.T) {
	e, announce, known := waiting(t)
	for i := range 8 {
		announce(fmt.Sprint("n", i), src4(2+i))
	}
	for i := range 6 {
		announce("real", src4(2+i)) // each has announced another
	}
	require.Equal(t, maxQueuedBy, e.queue.consistent(t))
	e.advance(1100 * time.Millisecond)
	require.Equal(t, 8, known(), "half of the tokens are for others")
	require.Equal(t, maxQueuedBy, e.queue.consistent(t), "they still wait")
	require.Less(t, e.origins[netip.MustParseAddr(src4(2))].lately(e.now), 3.0, "which is no flood")
	announce("real", src4(77))
	require.Equal(t, 9, known())
	require.Zero(t, e.queue.consistent(t))
}

// What is of no interest anymore when its turn comes leaves nothing behind, and
// a node that was suspended learns nothing that is old.
func TestQueueTooLate(t *testing.T) {
	e, announce, known := waiting(t)
	for i := range 10 {
		announce(fmt.Sprint("n", i), src4(2+i))
	}
	e.cfg.Admit = func(label string) bool { return label != "n8" }
	e.advance(1100 * time.Millisecond)
	require.Equal(t, 8, known())
	require.Len(t, e.table, 8)
	require.Equal(t, 1, e.queue.consistent(t))
	e.now = e.now.Add(queueTime + time.Minute)
	require.Len(t, e.links[1].knownAnswers(), 8)
	e.advance(time.Second)
	require.NotContains(t, e.table, "n9")
	require.Zero(t, e.queue.consistent(t))
}
