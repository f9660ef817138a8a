package p2ptest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p"
)

// An end is one side of a connection.
type end struct {
	host    *host
	remote  *end
	link    *Link
	in      wire // what the remote end sends
	path    p2p.Path
	opened  time.Time
	version int
	secret  [32]byte // the same at both ends

	sent, received atomic.Uint64 // bytes of streams
	why            atomic.Value  // a string: why it has ended

	// Under network.mu.
	closed  bool
	streams map[*stream]struct{} // opened or arrived here, and not yet freed
}

// connect makes a connection through a kind of candidate and reports it to both
// nodes. The caller holds network.mu.
func connect(from, to *host, kind p2p.CandidateKind, link *Link) *end {
	link.stats.Connections++
	version, now := min(from.version, to.version), time.Now()
	newEnd := func(h *host, path p2p.Path) *end {
		return &end{host: h, link: link, path: path, opened: now, version: version, streams: map[*stream]struct{}{}}
	}
	a, b := newEnd(from, p2p.Path{Kind: kind, Dialed: true, Remote: to.addr}), newEnd(to, from.pathIn())
	rand.Read(a.secret[:])
	b.secret = a.secret
	a.remote, b.remote = b, a
	for _, e := range []*end{a, b} {
		e.in.end = e
		e.host.ends = append(e.host.ends, e)
		e.host.scope.Connected(e.remote.host.id, e)
		e.host.scope.Stated(e.remote.host.id, e.remote.host.scope.Node().Metadata())
	}
	return a
}

// Path returns the path to the other end.
func (e *end) Path() p2p.Path { return e.path }

// Opened returns when the connection was made.
func (e *end) Opened() time.Time { return e.opened }

// RTT returns the round-trip time of the link.
func (e *end) RTT() time.Duration { return e.link.roundTrip() }

// Close closes the connection. The other end learns of it after the link's
// delay.
func (e *end) Close() error {
	e.close("closed")
	return nil
}

// shut ends this side at once, without telling the other side.
func (e *end) shut(err error, why string) {
	n := e.host.network
	n.mu.Lock()
	if e.closed {
		n.mu.Unlock()
		return
	}
	e.closed = true
	e.why.Store(why)
	e.host.ends = slices.DeleteFunc(e.host.ends, func(other *end) bool { return other == e })
	streams := e.streams
	e.streams = nil
	e.host.scope.Disconnected(e.remote.host.id, e)
	n.mu.Unlock()
	e.in.drop()
	for s := range streams {
		s.fail(err)
	}
}

// exporter derives a value that is bound to the connection.
func (e *end) exporter(label string) (out [32]byte, ok bool) {
	mac := hmac.New(sha256.New, e.secret[:])
	mac.Write([]byte(label))
	mac.Sum(out[:0])
	return out, true
}

// A wire carries messages from one end to the other, in order and with the
// link's delay. The sender delivers a message if it is due at once; otherwise a
// timer does.
type wire struct {
	end *end // the receiving one

	mu      sync.Mutex
	queue   []message
	busy    bool // somebody delivers, or the timer will
	timer   *time.Timer
	dropped bool
}

type message struct {
	due     time.Time // or once those before it have been delivered
	deliver func()
}

// send calls deliver once it is due. deliver must not block.
func (w *wire) send(deliver func()) {
	w.mu.Lock()
	if w.dropped {
		w.mu.Unlock()
		return
	}
	w.queue = append(w.queue, message{time.Now().Add(w.end.link.oneWay()), deliver})
	idle := !w.busy
	w.busy = true
	w.mu.Unlock()
	if idle {
		w.run()
	}
}

// run delivers what is due. Only one goroutine at a time runs it.
func (w *wire) run() {
	for {
		w.mu.Lock()
		if w.dropped || len(w.queue) == 0 {
			w.busy = false
			w.mu.Unlock()
			return
		}
		first := w.queue[0]
		if wait := time.Until(first.due); wait > 0 {
			deliveries := &w.end.host.deliveries
			deliveries.Add(1)
			w.timer = time.AfterFunc(wait, func() {
				defer deliveries.Done()
				w.run()
			})
			w.mu.Unlock()
			return
		}
		w.queue = w.queue[1:]
		w.mu.Unlock()
		first.deliver()
	}
}

// drop discards everything on the wire, and everything sent from now on.
func (w *wire) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropped = true
	w.queue = nil
	if w.timer != nil && w.timer.Stop() {
		w.end.host.deliveries.Done()
	}
}

// close is Close for a reason, in a word or two.
func (e *end) close(why string) {
	e.shut(fmt.Errorf("%w: closed here", p2p.ErrConnectionLost), why)
	r := e.remote
	r.in.send(func() { r.shut(fmt.Errorf("%w: closed by the peer", p2p.ErrConnectionLost), why) })
}

// Stats implements [p2p.MeasuredConn]: the bytes that streams have carried.
func (e *end) Stats() p2p.ConnStats {
	why, _ := e.why.Load().(string)
	return p2p.ConnStats{Bytes: p2p.Bytes{Sent: e.sent.Load(), Received: e.received.Load()}, End: why}
}

var _ p2p.MeasuredConn = (*end)(nil)
