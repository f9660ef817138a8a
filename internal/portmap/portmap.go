package portmap

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sdp2p/p2p/internal/backoff"
)

const (
	lifetime = 20 * time.Minute // asked for
	shortest = 2 * time.Minute  // shorter lifetimes are not believed (RFC 6887 §15)

	again     = 4 * time.Second    // shortest time between two attempts (RFC 6887 §11.2.1)
	failFirst = time.Minute        // after silence
	failMost  = 1024 * time.Second // RFC 6887 §8.1.1
	longError = 30 * time.Minute   // after a refusal that gives no time (RFC 6887 §7.4)

	goodbye = 500 * time.Millisecond // for releasing a mapping
)

// waits are the times to wait for an answer after each transmission, the first
// of those in RFC 6886 §3.1.
var waits = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}

// Reasons why there is no mapping, besides a [Refusal].
var (
	ErrNoGateway = errors.New("portmap: the network has no router, or the node no port")
	ErrSilent    = errors.New("portmap: the gateway does not answer: it may not support port mapping, or have it disabled")
	ErrLying     = errors.New("portmap: the gateway returned an address that cannot be a host's")
	errRestarted = errors.New("portmap: the gateway has restarted meanwhile")
)

// A Config says which port is mapped.
type Config struct {
	// Target returns the gateway, which is not valid if there is none, and this
	// node's port, 0 for none. It is called before each request.
	Target func() (gateway netip.Addr, port uint16)
	// Changed, if not nil, is called by Run when Addr has changed, and when the
	// gateway has restarted.
	Changed func()
	Logger  *slog.Logger // required

	dial func(gateway netip.Addr) (net.Conn, error) // for tests
}

// A Mapper keeps a port mapped while it runs.
type Mapper struct {
	cfg   Config
	renew chan struct{} // of size 1

	mu   sync.Mutex
	addr netip.AddrPort // not valid if there is none
	err  error          // why there is none

	// The rest is only for Run.
	gateway  netip.Addr
	wanted   request
	speaks   Protocol // that was last answered; 0 if none
	expires  time.Time
	clock    epoch
	lost     bool // since the last round: the gateway has restarted
	failures backoff.Backoff
}

// New returns a mapper, which does nothing until it runs.
func New(cfg Config) *Mapper {
	if cfg.dial == nil {
		cfg.dial = dial
	}
	return &Mapper{
		cfg: cfg, renew: make(chan struct{}, 1), err: ErrNoGateway,
		failures: backoff.Backoff{Min: failFirst, Max: failMost},
	}
}

// dial returns a socket that receives only from the gateway.
func dial(gateway netip.Addr) (net.Conn, error) {
	return net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(gateway, Port)))
}

// Addr returns the external address that is mapped to the port, according to
// the gateway; if there is none, it is not valid, and err says why. It may be
// called concurrently.
func (m *Mapper) Addr() (addr netip.AddrPort, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.addr, m.err
}

// Renew makes Run ask the gateway at once, since the network or the port may
// have changed. It may be called concurrently.
func (m *Mapper) Renew() {
	select {
	case m.renew <- struct{}{}:
	default:
	}
}

// Run keeps the port mapped until ctx is done, and then releases it, which
// takes half a second at most. It must not be called concurrently.
func (m *Mapper) Run(ctx context.Context) {
	defer func() {
		m.release()
		m.forget(netip.Addr{})
		m.set(netip.AddrPort{}, ErrNoGateway)
	}()
	for {
		timer := time.NewTimer(m.round(ctx))
		select {
		case <-timer.C:
		case <-m.renew:
			m.failures.Reset()
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// round asks the gateway, and returns the time until it is to be asked again.
func (m *Mapper) round(ctx context.Context) time.Duration {
	gateway, port := m.cfg.Target()
	if gateway == m.gateway && port != m.wanted.port {
		m.release()
	}
	if !gateway.Is4() || port == 0 {
		m.forget(gateway)
		m.set(netip.AddrPort{}, ErrNoGateway)
		return failMost // until something changes
	}
	conn, err := m.cfg.dial(gateway)
	if err != nil {
		m.forget(gateway)
		m.set(netip.AddrPort{}, err)
		return m.failures.Next()
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	self := addrOf(conn.LocalAddr())
	if gateway != m.gateway || self != m.wanted.client || port != m.wanted.port {
		m.forget(gateway)
		m.wanted.client, m.wanted.port = self, port
		rand.Read(m.wanted.nonce[:])
	}
	m.wanted.lifetime = lifetime
	a, err := m.ask(ctx, conn)
	if ctx.Err() != nil {
		return 0
	}
	if err == nil && (a.port == 0 || !a.addr.Is4() || a.addr.IsUnspecified() || a.addr.IsMulticast()) {
		err = ErrLying
	}
	return m.settle(a, err)
}

// settle records the outcome of a round.
func (m *Mapper) settle(a answer, err error) (wait time.Duration) {
	now := time.Now()
	if err == nil {
		m.failures.Reset()
		m.wanted.external = netip.AddrPortFrom(a.addr, a.port)
		life := max(a.lifetime, shortest)
		m.expires = now.Add(life)
		m.set(m.wanted.external, nil)
		return life / 2
	}
	m.cfg.Logger.Debug("no port is mapped", "gateway", m.gateway, "cause", err)
	if left := m.expires.Sub(now); left > 0 { // the mapping stays as it is (RFC 6887 §8.3)
		m.set(m.wanted.external, nil)
		return max(left/2, again)
	}
	m.speaks = 0
	m.set(netip.AddrPort{}, err)
	var refusal Refusal
	switch {
	case errors.Is(err, errRestarted):
		return again
	case errors.As(err, &refusal) && refusal.Lasts > 0:
		return min(max(refusal.Lasts, failFirst), longError)
	case errors.As(err, &refusal):
		return longError
	}
	return m.failures.Next()
}

// forget starts over with a gateway about which nothing is known.
func (m *Mapper) forget(gateway netip.Addr) {
	m.gateway, m.speaks, m.expires, m.clock = gateway, 0, time.Time{}, epoch{}
	m.wanted = request{}
}

// set records the outcome, and calls Changed.
func (m *Mapper) set(addr netip.AddrPort, err error) {
	m.mu.Lock()
	changed := m.addr != addr || m.lost
	m.addr, m.err, m.lost = addr, err, false
	m.mu.Unlock()
	if changed && m.cfg.Changed != nil {
		m.cfg.Changed()
	}
}

// release asks the gateway to remove the mapping, if there is one.
func (m *Mapper) release() {
	if time.Until(m.expires) <= 0 {
		return
	}
	m.expires = time.Time{}
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	conn, err := m.cfg.dial(m.gateway)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if addrOf(conn.LocalAddr()) == m.wanted.client {
		m.wanted.lifetime = 0
		_, _ = m.ask(ctx, conn) // on failure it expires by itself
	}
}

// ask asks with the protocol that the gateway speaks, after finding out which
// one that is.
func (m *Mapper) ask(ctx context.Context, conn net.Conn) (a answer, err error) {
	if m.speaks != NATPMP {
		a, err = m.askPCP(ctx, conn)
		if m.speaks == PCP || !errors.Is(err, errVersion) && !errors.Is(err, ErrSilent) {
			return a, err
		}
	}
	if a, err = m.askPMP(ctx, conn); errors.Is(err, errVersion) {
		m.speaks = 0 // it was spoken before
	}
	return a, err
}

func (m *Mapper) askPCP(ctx context.Context, conn net.Conn) (answer, error) {
	a, err := exchange(ctx, conn, m.wanted.appendPCP(nil), m.wanted.readPCP)
	if err == nil {
		m.speaks = PCP
		m.lost = m.clock.restarted(a.epoch, time.Now())
	}
	return a, err
}

// askPMP asks for a mapping, and then for its external address.
func (m *Mapper) askPMP(ctx context.Context, conn net.Conn) (answer, error) {
	a, err := exchange(ctx, conn, m.wanted.appendPMP(nil), m.wanted.readPMP)
	if err != nil || m.wanted.lifetime == 0 {
		return a, err
	}
	m.speaks = NATPMP
	m.lost = m.clock.restarted(a.epoch, time.Now())
	at, err := exchange(ctx, conn, appendAddress(nil), readAddress)
	if err != nil {
		return a, err
	}
	if m.clock.restarted(at.epoch, time.Now()) {
		m.lost, m.expires = true, time.Time{}
		return a, errRestarted
	}
	a.addr = at.addr
	return a, nil
}

// exchange sends a datagram until it is answered.
func exchange(ctx context.Context, conn net.Conn, question []byte, read func([]byte) (answer, error)) (answer, error) {
	b := make([]byte, pcpMost+1)
	for _, wait := range waits {
		conn.SetDeadline(time.Now().Add(wait))
		if ctx.Err() != nil {
			return answer{}, context.Cause(ctx)
		}
		_, err := conn.Write(question)
		for n := 0; err == nil; {
			if n, err = conn.Read(b); err == nil {
				if a, err := read(b[:n]); !errors.Is(err, errNoAnswer) {
					return a, err
				}
			}
		}
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return answer{}, fmt.Errorf("%w (%w)", ErrSilent, err)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return answer{}, err
		}
	}
	return answer{}, ErrSilent
}

func addrOf(a net.Addr) netip.Addr {
	if a, ok := a.(*net.UDPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
