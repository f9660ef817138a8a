package quic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/sec"
	tpt "github.com/libp2p/go-libp2p/core/transport"
	ma "github.com/multiformats/go-multiaddr"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// Causes of failed attempts.
var (
	ErrNotRunning   = errors.New("quic: the listener is not running")
	ErrDisabled     = errors.New("quic: the address family is disabled, or this host does not have it")
	ErrLinkLocal    = errors.New("quic: a link-local address cannot be dialled")
	ErrNoAddress    = errors.New("quic: not an address of a peer")
	ErrUnsupported  = errors.New("quic: relays are not supported")
	ErrOtherPeer    = errors.New("quic: another peer is at this address")
	errNotTried     = errors.New("quic: not tried before the end")
	errNotFinished  = errors.New("quic: no answer yet at the end")
	errNobodyThere  = errors.New("quic: no answer")
	errItself       = errors.New("quic: this is the node itself")
	errDialFinished = errors.New("quic: given up, since the dial had ended")
)

// Dial opens a stream to a peer, over a connection that there is or over the first candidate that answers. Candidates are
// tried in parallel, each with a lead of 250 ms over the next, and local addresses first. It fails with a *[p2p.DialError].
func (l *Listener) Dial(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
	e := l.running()
	if e == nil {
		return nil, &p2p.DialError{Peer: to, Err: ErrNotRunning}
	}
	said := l.recall(to)
	for _, c := range via {
		said = max(said, c.Version)
	}
	for try := 1; ; try++ {
		c := e.best(to)
		if c == nil {
			var err error
			if c, err = e.connect(ctx, to, via); err != nil {
				return nil, err
			}
		}
		s, err := c.open(ctx, said)
		if err == nil {
			return s, nil
		}
		if try < maxTries && ctx.Err() == nil && (err == errRetired || c.swarm.IsClosed()) {
			continue // it ended just now: make another one
		}
		return nil, &p2p.DialError{Peer: to, Err: err}
	}
}

// maxTries is how often a stream is opened anew because the connection for it ended.
const maxTries = 3

// connect makes a connection.
func (e *endpoint) connect(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (*conn, error) {
	failed := &p2p.DialError{Peer: to, Attempts: make([]p2p.Attempt, len(via))}
	addrs := make([]ma.Multiaddr, len(via)) // nil where there is none to try
	for i, c := range via {
		failed.Attempts[i].Candidate = c
		if failed.Attempts[i].Err = e.dialable(c); failed.Attempts[i].Err == nil {
			addrs[i] = multiaddr(c.Addr)
		}
	}
	if len(via) == 0 {
		failed.Err = p2p.ErrNoCandidate
		return nil, failed
	}
	p := peerID(to)
	d := e.book.begin(p, addrs)
	defer e.book.end(p)
	e.swarm.Backoff().Clear(p) // or a second dial within 5 s would not be made at all
	nc, err := e.swarm.DialPeer(ctx, p)
	if err == nil {
		if c := e.await(ctx, nc); c != nil {
			return c, nil
		}
		failed.Err = errLost
	}
	if ctx.Err() != nil {
		failed.Err = context.Cause(ctx)
	}
	for i, a := range addrs {
		if a != nil {
			failed.Attempts[i].Took, failed.Attempts[i].Err = d.result(a)
		}
	}
	return nil, failed
}

// dialable tells why a candidate is not to be tried, or nil.
func (e *endpoint) dialable(c p2p.Candidate) error {
	ip := c.Addr.Addr()
	switch {
	case c.Kind == p2p.Relay:
		return ErrUnsupported
	case !c.Addr.IsValid() || c.Addr.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast():
		return ErrNoAddress
	case ip.Zone() != "" || ip.Is6() && ip.IsLinkLocalUnicast():
		return ErrLinkLocal
	case !e.enabled(ip) || ip.Unmap().Is4() && e.sockets.ipv4 == nil || !ip.Unmap().Is4() && e.sockets.ipv6 == nil:
		return ErrDisabled
	}
	return nil
}

// An addressBook is the swarm's peerstore, as much of it as a swarm without a host uses. Its addresses are those of the
// dials that are being made, and no others: the swarm would add some of its own, and keep them. Keys are in the peer ids.
type addressBook struct {
	peerstore.Peerstore // nil: nothing else is called

	mu    sync.Mutex
	dials map[peer.ID]*dials
}

// dials are those that are being made to one peer: the swarm joins them.
type dials struct {
	mu      sync.Mutex
	users   int
	addrs   []ma.Multiaddr
	results map[string]*result // by the bytes of the address
}

// A result is what came of dialling one address.
type result struct {
	began time.Time
	took  time.Duration
	err   error // nil while it is not finished
}

// begin adds a dial.
func (b *addressBook) begin(p peer.ID, addrs []ma.Multiaddr) *dials {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.dials[p]
	if d == nil {
		d = &dials{results: map[string]*result{}}
		b.dials[p] = d
	}
	d.users++
	for _, a := range addrs {
		if a != nil && !slices.ContainsFunc(d.addrs, a.Equal) {
			d.addrs = append(d.addrs, a)
		}
	}
	return d
}

// end takes it away.
func (b *addressBook) end(p peer.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.dials[p]
	if d.users--; d.users == 0 {
		delete(b.dials, p)
	}
}

// Addrs returns where to dial a peer.
func (b *addressBook) Addrs(p peer.ID) []ma.Multiaddr {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := b.dials[p]; d != nil {
		return slices.Clone(d.addrs)
	}
	return nil
}

// AddPubKey does nothing.
func (b *addressBook) AddPubKey(peer.ID, crypto.PubKey) error { return nil }

// AddAddrs does nothing.
func (b *addressBook) AddAddrs(peer.ID, []ma.Multiaddr, time.Duration) {}

// dialling returns the dials to a peer that are being made.
func (b *addressBook) dialling(p peer.ID) *dials {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dials[p]
}

func (d *dials) start(a ma.Multiaddr) *result {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &result{began: time.Now()}
	d.results[string(a.Bytes())] = r
	return r
}

func (d *dials) finish(r *result, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.took, r.err = time.Since(r.began), err
}

// result returns how long an address was tried, and why it did not lead to the peer.
func (d *dials) result(a ma.Multiaddr) (took time.Duration, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.results[string(a.Bytes())]
	switch {
	case r == nil:
		return 0, errNotTried
	case r.err == nil:
		return time.Since(r.began), errNotFinished
	}
	return r.took, r.err
}

// A dialer is the swarm's transport. It keeps what came of each address: the swarm's own error forgets most of that when a
// context ends, and drops some addresses unsaid.
type dialer struct {
	tpt.Transport
	endpoint *endpoint
}

// Dial makes a connection to one address.
func (d *dialer) Dial(ctx context.Context, addr ma.Multiaddr, p peer.ID) (tpt.CapableConn, error) {
	all := d.endpoint.book.dialling(p)
	if all == nil {
		return nil, errDialFinished
	}
	r := all.start(addr)
	c, err := d.Transport.Dial(ctx, addr, p)
	all.finish(r, cause(err))
	if err != nil {
		return nil, err
	}
	return newLink(c), nil
}

// Listen accepts connections.
func (d *dialer) Listen(addr ma.Multiaddr) (tpt.Listener, error) {
	l, err := d.Transport.Listen(addr)
	if err != nil {
		return nil, err
	}
	return listener{l}, nil
}

// identify finds out who is at an address, by asking for somebody who is not.
func (d *dialer) identify(ctx context.Context, addr netip.AddrPort) (identity.RemoteIdentity, error) {
	c, err := d.Transport.Dial(ctx, multiaddr(addr), nobody())
	if err == nil {
		c.Close()
		return identity.RemoteIdentity{}, errors.New("quic: a peer claims an identity that nobody has")
	}
	var mismatch sec.ErrPeerIDMismatch
	if errors.As(err, &mismatch) {
		return remoteIdentity(mismatch.Actual)
	}
	return identity.RemoteIdentity{}, cause(err)
}

// cause makes a dial's error readable.
func cause(err error) error {
	var mismatch sec.ErrPeerIDMismatch
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mismatch):
		if id, err := remoteIdentity(mismatch.Actual); err == nil {
			return fmt.Errorf("%w: %v", ErrOtherPeer, id)
		}
		return ErrOtherPeer
	case errors.Is(err, context.Canceled):
		return errDialFinished
	}
	var silent net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &silent) && silent.Timeout() {
		return fmt.Errorf("%w: %w", errNobodyThere, err)
	}
	var local *quicgo.TransportError
	if errors.As(err, &local) && local.ErrorCode == quicgo.InternalError && !local.Remote {
		return fmt.Errorf("quic: %s", local.ErrorMessage) // what the operating system says
	}
	return err
}
