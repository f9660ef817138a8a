package ancestor

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/multistream"
)

// DCUtR, as libp2p specifies it for QUIC: the callee of the circuit asks for an
// exchange of addresses and says when to begin; then the caller dials, and the
// callee sends packets that open its NAT. At the third attempt the callee dials
// as well.
const (
	upgradeTries = 3
	upgradeIn    = 10 * time.Second // for the exchange
	punchFor     = 5 * time.Second
	punchLeast   = 10 * time.Millisecond // between packets
	punchMost    = 200 * time.Millisecond
	punchSize    = 64
	shortenEvery = time.Minute // between trials of a peer's addresses
)

// upgradeAgain are the times between attempts; the last one repeats.
var upgradeAgain = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

// upgrades reports whether the peer may ask for an upgrade: if this node has
// dialed it, and tells addresses at all.
func (c *conn) upgrades() bool { return c.path.Dialed && c.run.lines.Upgrades() }

// upgrade looks for a direct path, as the callee, with a tracked peer only:
// others must not learn this node's addresses.
func (c *conn) upgrade() {
	for i := 0; ; i++ {
		if c.run.lines.Upgrades() && !c.run.scope.Stranger(c.id) {
			for try := 1; try <= upgradeTries && !c.gone() && !c.run.direct(c.id); try++ {
				ctx, cancel := context.WithTimeout(c.ctx, upgradeIn+punchFor)
				if err := c.punch(ctx, try == upgradeTries); err != nil {
					c.run.log.Debug("still relayed", "peer", c.id, "cause", err)
				}
				cancel()
			}
		}
		c.rest(upgradeAgain[min(i, len(upgradeAgain)-1)])
		if c.gone() {
			return
		}
	}
}

// punch makes one attempt as the callee.
func (c *conn) punch(ctx context.Context, dials bool) error {
	endpoint := c.run.lines.Endpoint()
	if endpoint == nil {
		return ErrNotRunning
	}
	theirs, rtt, err := c.exchange(ctx)
	if err != nil {
		return err
	}
	c.rest(rtt / 2) // the caller begins now
	if dials {
		return c.connect(ctx, endpoint, theirs)
	}
	ctx, cancel := context.WithTimeout(ctx, punchFor)
	defer cancel()
	for !c.run.direct(c.id) {
		for _, a := range theirs {
			b := make([]byte, punchSize)
			crand.Read(b)
			b[0] &= 0x3f // not a packet of QUIC
			endpoint.Send(b, a)
		}
		c.rest(punchLeast + rand.N(punchMost-punchLeast))
		if ctx.Err() != nil || c.gone() {
			return context.Cause(ctx)
		}
	}
	return nil
}

// exchange tells the peer this node's addresses, and returns the peer's once
// both may begin.
func (c *conn) exchange(ctx context.Context) (theirs []netip.AddrPort, rtt time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, upgradeIn)
	defer cancel()
	s, err := c.mux.OpenStream(ctx)
	if err != nil {
		return nil, 0, c.failed(err)
	}
	defer s.Reset() // does nothing if both have closed it
	defer context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })()
	st := newStream(c, s)
	if st.rest, err = multistream.Select(st, junction.Upgrade); err != nil {
		return nil, 0, err
	}
	began := time.Now()
	if _, err = st.Write(circuit.Punch{Type: circuit.PunchConnect, Addrs: c.run.lines.Addrs()}.Append(nil)); err != nil {
		return nil, 0, err
	}
	m, err := expect(st, circuit.PunchConnect)
	if err != nil {
		return nil, 0, err
	}
	rtt = time.Since(began)
	if _, err = st.Write(circuit.Punch{Type: circuit.PunchSync}.Append(nil)); err != nil {
		return nil, 0, err
	}
	return c.believed(m.Addrs), rtt, st.CloseWrite()
}

// punched makes one attempt as the caller.
func (c *conn) punched(st *stream) {
	defer st.MuxedStream.Reset()
	err := c.follow(st)
	if err != nil {
		c.run.log.Debug("still relayed", "peer", c.id, "cause", err)
	}
}

func (c *conn) follow(st *stream) error {
	endpoint := c.run.lines.Endpoint()
	if endpoint == nil {
		return ErrNotRunning
	}
	st.MuxedStream.SetDeadline(time.Now().Add(upgradeIn))
	m, err := expect(st, circuit.PunchConnect)
	if err != nil {
		return err
	}
	if _, err := st.Write(circuit.Punch{Type: circuit.PunchConnect, Addrs: c.run.lines.Addrs()}.Append(nil)); err != nil {
		return err
	}
	if _, err := expect(st, circuit.PunchSync); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, punchFor)
	defer cancel()
	return c.connect(ctx, endpoint, c.believed(m.Addrs))
}

func expect(st *stream, t circuit.PunchType) (circuit.Punch, error) {
	m, err := circuit.ReadPunch(st)
	if err == nil && m.Type != t {
		err = fmt.Errorf("ancestor: %w", circuit.UnexpectedMessage)
	}
	return m, err
}

// believed returns the addresses of a peer that are plausible.
func (c *conn) believed(all []netip.AddrPort) (some []netip.AddrPort) {
	for _, a := range all {
		if c.run.lines.Believes(a) {
			some = append(some, a)
		}
	}
	return some
}

// connect makes a direct connection, one at a time with a peer.
func (c *conn) connect(ctx context.Context, endpoint junction.Endpoint, at []netip.AddrPort) error {
	if len(at) == 0 || !c.run.upgrading(c.id, true) {
		return nil
	}
	defer c.run.upgrading(c.id, false)
	return endpoint.Connect(ctx, c.id, at)
}

// upgrading records that a direct connection with a peer is being made, and
// returns false if that is already so; or records that it no longer is.
func (r *run) upgrading(id identity.RemoteIdentity, begins bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if begins && r.upgrades[id] {
		return false
	}
	delete(r.upgrades, id)
	if begins {
		r.upgrades[id] = true
	}
	return true
}

// shorten tries now and then to make a direct connection with a peer that is
// discovered at an address, while the relayed one serves.
func (r *run) shorten(c *conn, via []p2p.Candidate) {
	var at []netip.AddrPort
	for _, v := range via {
		if v.Kind != p2p.Relay {
			at = append(at, v.Addr)
		}
	}
	endpoint := r.lines.Endpoint()
	c.mu.Lock()
	due := len(at) > 0 && endpoint != nil && time.Since(c.shortened) >= shortenEvery
	if due {
		c.shortened = time.Now()
	}
	c.mu.Unlock()
	if !due {
		return
	}
	r.start(func() {
		ctx, cancel := context.WithTimeout(c.ctx, upgradeIn)
		defer cancel()
		if err := c.connect(ctx, endpoint, at); err != nil {
			r.log.Debug("still relayed", "peer", c.id, "cause", err)
		}
	})
}
