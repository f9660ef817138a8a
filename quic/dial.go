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
)

// Causes of failed attempts.
var (
	ErrNotRunning   = errors.New("quic: the listener is not running")
	ErrDisabled     = errors.New("quic: the address family is disabled, or this host does not have it")
	ErrLinkLocal    = errors.New("quic: a link-local address needs the interface as its zone")
	ErrNoAddress    = errors.New("quic: not an address of a peer")
	ErrNoRelays     = errors.New("quic: no relay client is registered, which package relay has")
	ErrOtherPeer    = errors.New("quic: another peer is at this address")
	errNotTried     = errors.New("quic: not tried before the end")
	errNotFinished  = errors.New("quic: no answer yet at the end")
	errNobodyThere  = errors.New("quic: no answer")
	errItself       = errors.New("quic: this is the node itself")
	errDialFinished = errors.New("quic: given up, since the dial had ended")
	errFullThere    = fmt.Errorf("quic: the peer takes no more connections now: %w", p2p.ErrBusy)
	errClock        = errors.New("quic: this device's clock is before 1975: set it")
)

// Dial opens a stream to a peer over an existing connection, or else over the
// first candidate to answer. Candidates are tried in parallel: first the address
// at which the peer has answered last, then manual ones in their order and local
// ones, each with a lead of
// 250 ms over the next one, or as long as it takes to fail. It fails with a
// *[p2p.DialError].
//
// Streams to a version 1 peer are opened one at a time on each connection. One
// that the peer drops is opened again, for 15 s at most; then the error wraps
// [p2p.ErrBusy].
func (l *Listener) Dial(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
	e := l.running()
	if e == nil {
		return nil, &p2p.DialError{Peer: to, Err: ErrNotRunning}
	}
	said := l.recall(to)
	if said == 0 { // what was found out counts more than what is said
		for _, c := range via {
			said = max(said, c.Version)
		}
	}
	e.clear(ctx, to)
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
		if errors.Is(err, errRetired) { // until it is gone, it would be found again
			select {
			case <-c.quic.Context().Done():
			case <-ctx.Done():
			}
		}
		if try < maxTries && ctx.Err() == nil && (errors.Is(err, errRetired) || c.gone()) {
			continue // it ended just now: make another one
		}
		return nil, &p2p.DialError{Peer: to, Err: err}
	}
}

// maxTries is how often a stream is opened anew because the connection for it
// ended.
const maxTries = 3

// dialable tells why a candidate is not to be tried, or nil.
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

// dial makes a connection to one address. A peer that takes no more connections
// at this moment is asked again until ctx ends.
func (e *endpoint) dial(ctx context.Context, addr netip.AddrPort, to identity.RemoteIdentity) (tpt.CapableConn, error) {
	ctx, cancel := context.WithTimeout(ctx, e.listener.cfg.DialTimeout)
	defer cancel()
	defer e.handshakes.expect(addr.Addr())()
	for wait := busyWait; ; wait *= 2 {
		c, err := e.transport.Dial(ctx, multiaddr(addr), peerID(to))
		if err == nil {
			return c, nil
		}
		if !refused(err) {
			return nil, cause(err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, errFullThere
		}
	}
}

// busyWait is how long a peer that takes no more connections is left alone, at
// first.
const busyWait = 50 * time.Millisecond

// refused reports whether a peer had no place for a handshake.
func refused(err error) bool {
	var e *quicgo.TransportError
	return errors.As(err, &e) && e.Remote && e.ErrorCode == quicgo.ConnectionRefused
}

// identify finds out which peer is at an address, by asking for one that is
// not.
func (e *endpoint) identify(ctx context.Context, addr netip.AddrPort) (identity.RemoteIdentity, error) {
	ctx, cancel := context.WithTimeout(ctx, e.listener.cfg.DialTimeout)
	defer cancel()
	defer e.handshakes.expect(addr.Addr())()
	c, err := e.transport.Dial(ctx, multiaddr(addr), nobody())
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

// cause makes a dial's error readable. Nothing that the peer wrote is in it.
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
	case refused(err):
		return errFullThere
	case errors.Is(err, context.Canceled):
		return errDialFinished
	}
	var silent net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &silent) && silent.Timeout() {
		return fmt.Errorf("%w: %w", errNobodyThere, err)
	}
	if time.Now().Before(notBefore) {
		return fmt.Errorf("%w: %w", errClock, described(err))
	}
	return described(err)
}
