package quic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/core/sec"
	tpt "github.com/libp2p/go-libp2p/core/transport"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/carrier"
	"github.com/sdp2p/p2p/internal/cause"
	"github.com/sdp2p/p2p/internal/certificate"
)

// Causes of failed attempts.
var (
	ErrNotRunning   = cause.New("not running", "quic: the listener is not running")
	ErrDisabled     = cause.New("address family disabled", "quic: the address family is disabled, or this host does not have it")
	ErrLinkLocal    = cause.New("not an address", "quic: a link-local address needs the interface as its zone")
	ErrNoAddress    = cause.New("not an address", "quic: not an address of a peer")
	ErrNoRelays     = cause.New("no relay client", "quic: no relay client of package relay is registered")
	ErrOtherPeer    = cause.New("other peer", "quic: another peer is at this address")
	errNotTried     = cause.New("not finished", "quic: not tried: the dial ended first")
	errNotFinished  = cause.New("not finished", "quic: no answer before the dial ended")
	errNobodyThere  = cause.New("no answer", "quic: no answer")
	errItself       = cause.New("itself", "quic: this is the node itself")
	errDialFinished = cause.New("not finished", "quic: given up, since the dial had ended")
	errFullThere    = fmt.Errorf("quic: the peer accepts no more connections now: %w", p2p.ErrBusy)
	errClock        = cause.New("clock", "quic: this device's clock is before 1975: set it")
)

// Dial opens a stream to a peer over an existing connection, or else over the
// first candidate to answer. Candidates are tried in parallel: first the
// address at which the peer answered last, then manual ones in their order,
// then local ones. Each one starts 250 ms after the previous one, or as soon as
// that fails. Dial fails with a *[p2p.DialError].
//
// If the connection is known to be silent, because something was sent and for a
// second nothing received, Dial first waits until the peer is heard again or
// another connection is made. A stream that was opened earlier stays where it
// is.
//
// Streams to a version 1 peer are opened one at a time on each connection. A
// stream that the peer drops is opened again, for up to 15 s; then the error
// wraps [p2p.ErrBusy].
func (l *Listener) Dial(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
	e := l.running()
	if e == nil {
		return nil, &p2p.DialError{Peer: to, Err: ErrNotRunning}
	}
	said := l.recall(to)
	if said == 0 { // a version that was found counts more than one that was announced
		for _, c := range via {
			said = max(said, c.Version)
		}
	}
	e.clear(ctx, to)
	for try := 1; ; try++ {
		c, err := e.connection(ctx, to, via)
		if err != nil {
			return nil, err
		}
		s, err := c.open(ctx, said)
		if err == nil {
			return s, nil
		}
		if errors.Is(err, errRetired) { // it would be found again until it is gone
			select {
			case <-c.quic.Context().Done():
			case <-ctx.Done():
			}
		}
		if try < maxTries && ctx.Err() == nil && (errors.Is(err, errRetired) || c.gone()) {
			continue // it has just ended: make another one
		}
		return nil, &p2p.DialError{Peer: to, Err: err}
	}
}

// maxTries is the most attempts to open a stream whose connection ended.
const maxTries = 3

// dialable returns the error of a candidate that must not be tried, or nil.
func (e *endpoint) dialable(c p2p.Candidate) error {
	ip := c.Addr.Addr().Unmap()
	switch {
	case c.Kind == p2p.Relay && e.listener.routed() == nil:
		return ErrNoRelays
	case c.Kind == p2p.Relay:
		return nil
	case carrier.IsVirtual(ip):
		return ErrNoAddress
	case !c.Addr.IsValid() || c.Addr.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast() || e.circle.broadcasts(ip):
		return ErrNoAddress
	case ip.Is6() && ip.IsLinkLocalUnicast() && ip.Zone() == "":
		return ErrLinkLocal
	case !e.enabled(ip):
		return ErrDisabled
	}
	return nil
}

// dial makes a connection to one address. While the peer accepts no more
// connections, it tries again until ctx ends.
func (e *endpoint) dial(ctx context.Context, addr netip.AddrPort, to identity.RemoteIdentity) (tpt.CapableConn, error) {
	ctx, cancel := context.WithTimeout(ctx, e.listener.cfg.DialTimeout)
	defer cancel()
	defer e.handshakes.expect(addr.Addr())()
	h, d, err := e.listener.hides(), (*disguise)(nil), error(nil)
	if h != nil {
		d, err = h.conceal(e, ctx, addr.Addr(), to)
	}
	if err != nil {
		return nil, err
	}
	asked := peerID(to)
	if d != nil {
		ctx, asked = context.WithValue(ctx, disguiseKey{}, *d), peerID(d.key)
	}
	for wait := busyWait; ; wait *= 2 {
		c, err := e.transport.Dial(ctx, multiaddr(addr), asked)
		if err == nil && d != nil {
			p, err := h.present(e, ctx, c, d, to)
			if err != nil {
				refuse(c)
			}
			return p, err
		}
		if err == nil {
			return c, nil
		}
		if !refused(err) {
			return nil, plain(err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, errFullThere
		}
	}
}

// busyWait is the first wait before a peer that accepts no more connections is
// tried again.
const busyWait = 50 * time.Millisecond

// refused reports whether a peer had no room for a handshake.
func refused(err error) bool {
	var e *quicgo.TransportError
	return errors.As(err, &e) && e.Remote && e.ErrorCode == quicgo.ConnectionRefused
}

// identify returns the identity of the peer at an address, by dialing it with
// an identity that nobody has.
func (e *endpoint) identify(ctx context.Context, addr netip.AddrPort) (identity.RemoteIdentity, error) {
	ctx, cancel := context.WithTimeout(ctx, e.listener.cfg.DialTimeout)
	defer cancel()
	defer e.handshakes.expect(addr.Addr())()
	if e.veil != nil {
		return identity.RemoteIdentity{}, ErrVeiled
	}
	c, err := e.transport.Dial(ctx, multiaddr(addr), nobody())
	if err == nil {
		c.Close()
		return identity.RemoteIdentity{}, errors.New("quic: a peer claims an identity that nobody has")
	}
	var mismatch sec.ErrPeerIDMismatch
	if errors.As(err, &mismatch) {
		return remoteIdentity(mismatch.Actual)
	}
	return identity.RemoteIdentity{}, plain(err)
}

// plain makes a dial's error readable, without any text from the peer.
func plain(err error) error {
	var mismatch sec.ErrPeerIDMismatch
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mismatch):
		if id, err := remoteIdentity(mismatch.Actual); err == nil {
			return fmt.Errorf("%w: %v", ErrOtherPeer, id)
		}
		return ErrOtherPeer
	case refused(err):
		return errFullThere
	case errors.Is(err, context.Canceled):
		return errDialFinished
	}
	var silent net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &silent) && silent.Timeout() {
		return fmt.Errorf("%w: %w", errNobodyThere, err)
	}
	if time.Now().Before(certificate.NotBefore) {
		return fmt.Errorf("%w: %w", errClock, described(err))
	}
	if end := endOf(err); end != "broken" { // the peer has ended it at once
		return cause.New(end, "quic: "+described(err).Error())
	}
	return described(err)
}
