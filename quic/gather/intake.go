// Package gather lets package quic read packets with fewer system calls, on
// systems that can coalesce them (UDP_GRO on Linux). It is for programs that
// transfer much data, and is imported only for its effect:
//
//	import _ "github.com/sdp2p/p2p/quic/gather"
package gather

import (
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/net/ipv4"

	"github.com/sdp2p/p2p/internal/carrier"
)

func init() {
	carrier.Gather = func(c syscall.Conn) carrier.Gatherer {
		if !coalesce(c) {
			return nil
		}
		return new(intake)
	}
}

const (
	maxCoalesced = 64 << 10 // bytes of one message from the system
	maxControl   = 256      // bytes of its control messages
	maxMessages  = 2        // read at once
	turnPackets  = 32       // of one connection, before those of another
	narrowAfter  = 64       // reads of one message until further buffers are released
)

// An intake reads packets that the system has coalesced: packets of one sender,
// with the same control messages and of the same size except for the last
// (UDP_GRO on Linux). It hands them over one by one, a few of each connection
// in turn, so that a fast sender does not delay the others. Between two turns
// it lets other goroutines run: quic-go queues 256 packets of a connection, and
// drops the rest.
//
// It reads again only after it has handed over all packets; until then, further
// packets wait in the system's buffer.
type intake struct {
	mu       sync.Mutex // held during Read
	messages []ipv4.Message
	single   int    // successive reads that brought one message of one packet
	flows    []flow // with packets that were not handed over yet
	turn     int    // index of the flow whose turn it is
	given    int    // packets in this turn
	rest     bool   // let other goroutines run before handing over more
}

// A flow holds the packets of one connection, in the order of arrival.
type flow struct {
	id   uint64
	runs []run
}

// A run is a sequence of packets of one connection within a message.
type run struct {
	m         *ipv4.Message
	size      int // of a packet
	from, end int // in the message's buffer
}

// Read hands over packets. If none are left, it first reads from the system.
func (in *intake) Read(all []ipv4.Message, from carrier.System, wait bool) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.flows) == 0 {
		in.prepare()
		n, err := from.Read(in.messages, wait)
		if err != nil {
			return 0, err
		}
		in.sort(max(0, min(n, len(in.messages))))
	}
	if in.rest {
		in.rest = false
		runtime.Gosched()
	}
	return in.hand(all), nil
}

// prepare makes room for the next read: for more than one message if the last
// read has filled all buffers.
func (in *intake) prepare() {
	want := len(in.messages)
	switch {
	case want == 0 || in.single >= narrowAfter:
		want, in.messages = 1, in.messages[:min(1, want):min(1, want)]
	case in.single == 0 && in.messages[want-1].N > 0:
		want = min(2*want, maxMessages)
	}
	for len(in.messages) < want {
		in.messages = append(in.messages, ipv4.Message{Buffers: [][]byte{make([]byte, maxCoalesced)}, OOB: make([]byte, maxControl)})
	}
	for i := range in.messages {
		m := &in.messages[i]
		m.N, m.NN, m.Flags, m.Addr = 0, 0, 0, nil
	}
}

// sort distributes the packets of n messages to flows.
func (in *intake) sort(n int) {
	in.turn, in.given = 0, 0
	for i := range in.messages[:n] {
		m := &in.messages[i]
		size, control := coalesced(m.OOB[:m.NN])
		if size <= 0 || size > m.N {
			size = m.N
		}
		m.NN = copy(m.OOB, control)
		for at := 0; at < m.N; at += size {
			in.add(run{m, size, at, min(at+size, m.N)})
		}
	}
	if n == 1 && len(in.flows) == 1 && len(in.flows[0].runs) == 1 && in.flows[0].runs[0].end == in.flows[0].runs[0].size {
		in.single++
	} else {
		in.single = 0
	}
}

// add adds one packet to its flow.
func (in *intake) add(r run) {
	id := carrier.ConnectionOf(r.m.Buffers[0][r.from:r.end])
	for i := range in.flows {
		f := &in.flows[i]
		if f.id != id {
			continue
		}
		if last := &f.runs[len(f.runs)-1]; last.m == r.m && last.end == r.from {
			last.end = r.end
			return
		}
		f.runs = append(f.runs, r)
		return
	}
	if len(in.flows) < cap(in.flows) {
		in.flows = in.flows[:len(in.flows)+1]
		f := &in.flows[len(in.flows)-1]
		f.id, f.runs = id, append(f.runs[:0], r)
		return
	}
	in.flows = append(in.flows, flow{id, []run{r}})
}

// hand hands over as many packets as are left and fit into all.
func (in *intake) hand(all []ipv4.Message) (n int) {
	for ; n < len(all) && len(in.flows) > 0; n++ {
		f := &in.flows[in.turn]
		r := &f.runs[0]
		end := min(r.from+r.size, r.end)
		m := &all[n]
		m.N = copy(m.Buffers[0], r.m.Buffers[0][r.from:end])
		m.NN = copy(m.OOB, r.m.OOB[:r.m.NN])
		m.Flags, m.Addr = r.m.Flags, r.m.Addr
		in.given++
		if r.from = end; r.from == r.end {
			f.runs = f.runs[:copy(f.runs, f.runs[1:])]
		}
		in.next()
	}
	return n
}

// next passes the turn to another flow if this one has had its share.
func (in *intake) next() {
	over := len(in.flows[in.turn].runs) == 0
	if !over && in.given < turnPackets {
		return
	}
	in.rest = in.rest || in.given >= turnPackets
	in.given = 0
	if over { // the last flow replaces it; the memory of its runs is kept
		last := len(in.flows) - 1
		in.flows[in.turn], in.flows[last] = in.flows[last], in.flows[in.turn]
		in.flows = in.flows[:last]
	} else {
		in.turn++
	}
	if in.turn >= len(in.flows) {
		in.turn = 0
	}
}
