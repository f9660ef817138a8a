//go:build !windows

package carrier

import (
	"encoding/binary"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// An arrival is a packet of a connection that arrives at a given time.
type arrival struct {
	at         time.Duration // since the line was started
	connection byte
	number     uint32
}

func (a arrival) packet() []byte {
	b := []byte{0x40, a.connection, 0, 0, 0, 0, 0, 0, 0}
	return binary.BigEndian.AppendUint32(b, a.number)
}

// A line is a system socket that gets packets at given times, and keeps all of
// them.
type line struct {
	*fake
	began time.Time
	left  []arrival
	costs time.Duration // the time that reading a packet takes
}

func (l *line) ReadBatch(all []ipv4.Message, flags int) (n int, err error) {
	for {
		l.mu.Lock()
		deadline, changed := l.deadline, l.changed
		l.mu.Unlock()
		for ; n < len(all) && len(l.left) > 0 && time.Since(l.began) >= l.left[0].at; n++ {
			all[n].N, all[n].NN, all[n].Addr = copy(all[n].Buffers[0], l.left[0].packet()), copy(all[n].OOB, l.left[0].packet()), there
			l.left = l.left[1:]
		}
		if n > 0 {
			time.Sleep(time.Duration(n) * l.costs)
			return n, nil
		}
		if flags != 0 { // this read must not block
			return 0, unix.EAGAIN
		}
		var passed, next <-chan time.Time
		if !deadline.IsZero() {
			passed = time.After(time.Until(deadline))
		}
		if len(l.left) > 0 {
			next = time.After(l.left[0].at - time.Since(l.began))
		}
		select {
		case <-l.closed:
			return 0, net.ErrClosed
		case <-passed:
			return 0, os.ErrDeadlineExceeded
		case <-changed:
		case <-next:
		}
	}
}

// A handed is a packet that was handed over, and the time.
type handed struct {
	connection byte
	number     uint32
	at         time.Duration
}

// handOver has a socket read the arrivals until there are no more, in simulated
// time. Reading a packet takes time, and so does handling one that was handed
// over.
func handOver(t *testing.T, arrivals []arrival, reading, handing time.Duration) (got []handed) {
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return int(a.at - b.at) })
	l := &line{fake: newFake(), began: time.Now(), left: arrivals, costs: reading}
	s := newSocket(l, Config{})
	defer s.Close()
	end := 100 * time.Millisecond
	if len(arrivals) > 0 {
		end += arrivals[len(arrivals)-1].at
	}
	require.NoError(t, s.SetReadDeadline(l.began.Add(end)))
	all := make([]ipv4.Message, 8)
	for i := range all {
		all[i] = ipv4.Message{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, 128)}
	}
	for {
		n, err := s.ReadBatch(all, 0)
		if err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.Zero(t, s.pacer.held.Load())
			return got
		}
		require.Positive(t, n)
		for _, m := range all[:n] {
			b := m.Buffers[0][:m.N]
			require.Equal(t, b, m.OOB[:m.NN], "the system's control data must go with a packet")
			require.Equal(t, net.Addr(there), m.Addr)
			got = append(got, handed{b[1], binary.BigEndian.Uint32(b[9:]), time.Since(l.began)})
			time.Sleep(handing)
		}
	}
}

// burst returns n packets, numbered from number on, that arrive at the same
// time.
func burst(at time.Duration, connection byte, number, n int) (all []arrival) {
	for i := range n {
		all = append(all, arrival{at, connection, uint32(number + i)})
	}
	return all
}

// crowded returns packets of two connections in turn, until a time; those of
// connection 1 are numbered from 0 on.
func crowded(until time.Duration) (all []arrival) {
	for at := until - 5*crowdEach/2; at < until; at += 10 * time.Millisecond {
		all = append(all, arrival{at, 1, uint32(len(all) / 2)}, arrival{at, 2, uint32(len(all) / 2)})
	}
	return all
}

// A connection that sends more than can be handled does not hold up another
// connection's packets, and is kept to its pace.
func TestFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const each, lasts = 400, 400 // packets, ms; handling all would take 1.4 ms for each
		var arrivals []arrival
		sent := map[uint32]time.Duration{}
		for i := range lasts {
			at := time.Duration(i) * time.Millisecond
			arrivals = append(arrivals, burst(at, 1, i*each, each)...)
			if i%10 == 0 {
				at += 300 * time.Microsecond
				sent[uint32(i)] = at
				arrivals = append(arrivals, arrival{at, 2, uint32(i)})
			}
		}
		var flood, before uint32
		for _, p := range handOver(t, arrivals, time.Microsecond/2, 3*time.Microsecond) {
			if p.connection == 2 {
				if p.at > 2*crowdEach { // until then, the other connection may seem to be alone
					require.LessOrEqual(t, p.at-sent[p.number], time.Millisecond)
				}
				delete(sent, p.number)
				continue
			}
			require.True(t, flood == 0 || p.number > before, "packets must keep their order")
			before = p.number
			flood++
		}
		require.Empty(t, sent, "no packet of the other connection may be dropped")
		require.Greater(t, flood, uint32(lasts*pace), "there is time for more packets of the flood")
	})
}

// Packets beyond the pace arrive in order: at once if the system has no others,
// and within a millisecond if it has.
func TestBursts(t *testing.T) {
	t.Parallel()
	const soon = time.Second
	before := crowded(soon)
	n := len(before) / 2
	for name, test := range map[string]struct {
		arrivals []arrival
		longest  time.Duration // longest wait of a packet
	}{
		"what came while nobody read": {burst(soon, 1, n, pace*paceSaved), 0},
		"the system has no others":    {burst(soon+time.Microsecond, 1, n, pace+maxHeld), 0},
		"a connection behind":         {slices.Concat(burst(soon, 1, n, 100), burst(soon, 2, n, 1)), 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				arrivals := slices.Concat(before, test.arrivals)
				arrived := map[[2]uint32]time.Duration{}
				for _, a := range arrivals {
					arrived[[2]uint32{uint32(a.connection), a.number}] = a.at
				}
				next := map[byte]uint32{}
				for _, p := range handOver(t, arrivals, 0, 0) {
					require.Equal(t, next[p.connection], p.number)
					next[p.connection]++
					id := [2]uint32{uint32(p.connection), p.number}
					require.LessOrEqual(t, p.at-arrived[id], test.longest)
					delete(arrived, id)
				}
				require.Empty(t, arrived)
			})
		})
	}
}

// Other connections come first: packets beyond the pace wait for them.
func TestOthersFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const soon = time.Second
		before := crowded(soon)
		n := len(before) / 2
		arrivals := slices.Concat(before, burst(soon, 1, n, 1), burst(soon+time.Millisecond, 1, n+1, 2*pace), burst(soon+time.Millisecond, 2, n, 1))
		got := handOver(t, arrivals, 0, 0)
		require.Len(t, got, len(arrivals))
		other := slices.IndexFunc(got, func(p handed) bool { return p.connection == 2 && p.number == uint32(n) })
		require.LessOrEqual(t, other, len(before)+1+pace)
	})
}

// The packets of a lone connection are handed over at once, even while its ID
// changes, as QUIC's IDs do.
func TestAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const each, lasts = pace * paceAlone, 500
		var arrivals []arrival
		for i := range lasts {
			arrivals = append(arrivals, burst(time.Duration(i)*time.Millisecond, byte(i/50), i*each, each)...)
		}
		got := handOver(t, arrivals, 0, 0)
		require.Len(t, got, each*lasts)
		for i, p := range got {
			require.EqualValues(t, i, p.number)
			require.Equal(t, time.Duration(i/each)*time.Millisecond, p.at.Truncate(time.Millisecond))
		}
	})
}

// Whatever arrives, the packets of a connection keep their order, all packets
// of a connection that never exceeds the buffer arrive, and none arrives twice.
func TestPaceOfAny(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var arrivals []arrival
		sent, at := map[byte]int{}, time.Duration(0)
		if rapid.Bool().Draw(rt, "crowded") {
			at = time.Second
			arrivals = crowded(at)
			sent[1], sent[2] = len(arrivals)/2, len(arrivals)/2
		}
		for range rapid.IntRange(1, 20).Draw(rt, "bursts") {
			at += time.Duration(rapid.IntRange(0, 3000).Draw(rt, "µs")) * time.Microsecond
			c := rapid.ByteRange(1, 4).Draw(rt, "connection")
			n := rapid.IntRange(1, 300).Draw(rt, "packets")
			arrivals = append(arrivals, burst(at, c, sent[c], n)...)
			sent[c] += n
		}
		reading := time.Duration(rapid.IntRange(0, 3).Draw(rt, "µs to read")) * time.Microsecond
		handing := time.Duration(rapid.IntRange(0, 3).Draw(rt, "µs to hand over")) * time.Microsecond
		var got []handed
		synctest.Test(t, func(t *testing.T) { got = handOver(t, arrivals, reading, handing) })
		next, came := map[byte]uint32{}, map[byte]int{}
		for _, p := range got {
			require.GreaterOrEqual(rt, p.number, next[p.connection])
			next[p.connection] = p.number + 1
			came[p.connection]++
		}
		for c, n := range sent {
			if n <= pace+maxHeld {
				require.Equal(rt, n, came[c])
			}
		}
	})
}
