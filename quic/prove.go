package quic

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlogwriter"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

var _ p2p.Prober = (*Listener)(nil)

// Probe implements [p2p.Prober]: it asks for a sign of life on the connections
// with the peer. If none comes within 200 ms, it dials the addresses, starting
// a further one every 50 ms.
func (l *Listener) Probe(ctx context.Context, id identity.RemoteIdentity, at []netip.AddrPort) (netip.AddrPort, error) {
	e := l.running()
	if e == nil || !e.hold() {
		return netip.AddrPort{}, ErrNotRunning
	}
	defer e.tasks.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	return e.prove(ctx, id, at)
}

const proveLead = 50 * time.Millisecond

// An answer is the outcome of asking at one address or on one connection.
type answer struct {
	from netip.AddrPort
	err  error
}

// prove checks whether the holder of a key answers.
func (e *endpoint) prove(ctx context.Context, id identity.RemoteIdentity, at []netip.AddrPort) (netip.AddrPort, error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	answers := make(chan answer)
	begin := func(wait time.Duration, f func() answer) {
		running.Go(func() {
			a := answer{err: ctx.Err()}
			select {
			case <-time.After(wait):
				a = f()
			case <-ctx.Done():
				a.err = context.Cause(ctx)
			}
			select {
			case answers <- a:
			case <-ctx.Done():
			}
		})
	}
	open, lead := 0, time.Duration(0)
	for _, c := range e.with(id) {
		open++
		lead = e.patient(signTime)
		begin(0, func() answer { return answer{c.remote(), c.sign(ctx)} })
	}
	errs := []error{}
	for _, addr := range at {
		if err := e.dialable(p2p.Candidate{Kind: p2p.Direct, Addr: addr}); err != nil {
			errs = append(errs, err)
			continue
		}
		open++
		begin(lead, func() answer { return answer{addr, e.shake(ctx, addr, id)} })
		lead += proveLead
	}
	if open == 0 && len(errs) == 0 {
		return netip.AddrPort{}, p2p.ErrNoCandidate
	}
	for ; open > 0; open-- {
		select {
		case a := <-answers:
			if a.err == nil {
				return a.from, nil
			}
			errs = append(errs, a.err)
		case <-ctx.Done():
			return netip.AddrPort{}, context.Cause(ctx)
		}
	}
	return netip.AddrPort{}, errors.Join(errs...)
}

// with returns the connections with a peer.
func (e *endpoint) with(id identity.RemoteIdentity) (all []*conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.conns {
		if c.id == id && c.usable && !c.gone() {
			all = append(all, c)
		}
	}
	return all
}

// sign waits for a sign of life of a connection, until ctx is done.
func (c *conn) sign(ctx context.Context) error {
	before := c.quic.ConnectionStats().PacketsReceived
	c.tellMetadata(true)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if c.quic.ConnectionStats().PacketsReceived > before && !c.gone() {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.quic.Context().Done():
			return errLost
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// shake checks by a handshake whether the holder of a key is at an address.
func (e *endpoint) shake(ctx context.Context, addr netip.AddrPort, id identity.RemoteIdentity) error {
	ours := id == e.scope.Node().Identity()
	var m *mirror
	if ours {
		m = e.mirrors.begin()
		defer e.mirrors.end(m)
		ctx = context.WithValue(ctx, mirrorKey{}, m)
	}
	c, err := e.dial(ctx, addr, id)
	if err != nil {
		return err
	}
	c.CloseWithError(0)
	if ours && e.mirrors.seen(m) {
		return errItself
	}
	return nil
}

// mirrors detects that a handshake which this node begins ends at the node
// itself. Addresses cannot show that, since any host can forward packets. But
// the connection ID that a client chooses for its first packet can: the
// accepting side knows it from the first packet on, and before the handshake is
// over, each side has verified that the other one knows the same (RFC 9000
// §7.3).
type mirrors struct {
	mu    sync.Mutex
	began map[quicgo.ConnectionID]*mirror
}

// A mirror is one handshake of this node, with its own key.
type mirror struct {
	ids []quicgo.ConnectionID
	own bool // it has arrived at this node
}

type mirrorKey struct{}

// begin begins to watch a handshake.
func (m *mirrors) begin() *mirror { return &mirror{} }

// end stops watching a handshake.
func (m *mirrors) end(of *mirror) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range of.ids {
		delete(m.began, id)
	}
}

// seen reports whether a handshake has arrived at this node.
func (m *mirrors) seen(of *mirror) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return of.own
}

// dialing records the first connection ID of a handshake that this node begins.
func (m *mirrors) dialing(of *mirror) func(context.Context, bool, quicgo.ConnectionID) qlogwriter.Trace {
	return func(_ context.Context, _ bool, id quicgo.ConnectionID) qlogwriter.Trace {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.began == nil {
			m.began = map[quicgo.ConnectionID]*mirror{}
		}
		m.began[id] = of
		of.ids = append(of.ids, id)
		return nil
	}
}

// accepting records the first connection ID of a handshake that has arrived.
func (m *mirrors) accepting(_ context.Context, _ bool, id quicgo.ConnectionID) qlogwriter.Trace {
	m.mu.Lock()
	defer m.mu.Unlock()
	if of := m.began[id]; of != nil {
		of.own = true
	}
	return nil
}
