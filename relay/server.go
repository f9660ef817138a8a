package relay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p/internal/backoff"
	"github.com/sdp2p/p2p/internal/cause"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/relay/token"
)

const (
	addrLead = 250 * time.Millisecond // of an address over the next one (RFC 8305 §5)
	answerIn = 5 * time.Second        // for each answer of a relay

	refusedFirst = 30 * time.Second // until a relay that refuses is asked again; doubled each time
	refusedMost  = 10 * time.Minute
	failedFirst  = time.Second // the same for one that does not answer
	failedMost   = time.Minute

	// A relay that restarts can accept some hundred clients a second: clients
	// that can be called elsewhere meanwhile come back at a random time within
	// comeBack. Clients of a long list, which has many relays for many clients,
	// do so in any case: if two relays in two zones are lost, so are others,
	// and all their clients come back.
	comeBack = time.Minute

	idleTime = time.Minute // until a connection that nothing uses is closed

	reservedFor   = time.Hour // the life of a reservation if the relay's clock is implausible
	shortestLease = 20 * time.Second
)

// Reasons why a circuit could not be opened. Other errors are of type
// [token.Status], or describe the relay's answer.
var (
	ErrNotListed  = cause.New("relay: not listed", "relay: the relay is not on the list")
	ErrNotRunning = cause.New("relay: not running", "relay: the client is not running")
	ErrNoToken    = cause.New("relay: token refused", "relay: the relay requires a token, which its operator issues for this node: see Config.Tokens")
	errDown       = cause.New("relay: down", "relay: the relay does not answer")
	errLost       = cause.New("relay: lost", "relay: the connection with the relay has ended")
)

// A server is the client's state of a relay.
type server struct {
	Server
	client *Client
	guest  bool // it is not on the list: see [Client.relayAt]

	turn chan struct{} // of size 1: held while a connection is made

	mu      sync.Mutex
	struck  bool  // it is no longer on the list
	up      *link // nil if there is no connection
	state   State
	since   time.Time
	err     error
	rtt     time.Duration  // of the last handshake
	seen    netip.AddrPort // the address at which a relay that refused last saw this node
	outside netip.AddrPort // the address at which it last saw this node
	failed  func()         // replaces it by another relay; nil while no reservation is kept
	poke    chan struct{}  // of size 1: another attempt may succeed
}

func newServer(c *Client, s Server) *server {
	return &server{Server: s, client: c, turn: make(chan struct{}, 1), since: time.Now(), poke: make(chan struct{}, 1)}
}

// of reports whether a server belongs to an entry.
func (s *server) of(e Server) bool {
	return s.Identity == e.Identity && s.Zone == e.Zone && slices.Equal(s.Addrs, e.Addrs)
}

// enter records a state.
func (s *server) enter(state State, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enterLocked(state, err)
}

// enterLocked is enter. The caller holds mu.
func (s *server) enterLocked(state State, err error) {
	if s.state != state {
		s.state, s.since = state, time.Now()
		s.client.tell()
	}
	if err != nil || state == Ready || state == Connected {
		s.err = err
	}
}

// advance records a state of a connection, unless the relay has announced that
// it is going down. The caller holds mu.
func (s *server) advance(state State) {
	if s.state != Leaving {
		s.enterLocked(state, nil)
	}
}

func (s *server) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Server: s.Server, State: s.state, Since: s.since, Err: s.err, Observed: s.seen, BytesLeft: -1}
	st.Server.Addrs = slices.Clone(s.Addrs)
	if s.up != nil {
		st.RTT = s.up.session.RTT()
		st.Observed, st.BytesLeft = s.up.told()
	}
	return st
}

// refused reports whether the relay refuses this node or fails now.
func (s *server) refused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == Refused || s.state == Leaving || s.state == Off && s.err != nil
}

// distance orders relays: 0 if a connection is up, otherwise the round-trip
// time of the last one.
func (s *server) distance() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == Leaving:
		return math.MaxInt64
	case s.up != nil:
		return s.up.session.RTT()
	case s.rtt > 0:
		return time.Second + s.rtt
	}
	return time.Hour
}

// look makes the link ping the relay or, if the last attempt to connect failed,
// retries at once.
func (s *server) look() {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	if up != nil {
		up.look()
	}
	signal(s.poke)
}

// tokensChanged shows the relay the new tokens.
func (s *server) tokensChanged() {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	if up != nil && up.shows() {
		s.client.start(func() {
			if err := up.present(s.client.ctx); err != nil {
				s.client.log.Debug("the relay does not take the new token", "relay", s.Identity, "cause", err)
				up.close()
			}
		})
	}
	signal(s.poke)
}

// drop closes the connection, if there is one.
func (s *server) drop() {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	if up != nil {
		up.over.Store(true)
		up.close()
	}
	s.enter(Off, nil)
}

// strike drops a relay that is no longer on the list, for good.
func (s *server) strike() {
	s.mu.Lock()
	s.struck = true
	s.mu.Unlock()
	s.drop()
}

// connected returns the connection with the relay, and makes one if there is
// none.
func (s *server) connected(ctx context.Context) (*link, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done(): // another attempt has waited for the relay all that time
		err := context.Cause(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %w", errDown, err)
		}
		return nil, err
	}
	s.mu.Lock()
	up, before, struck := s.up, s.state, s.struck
	s.mu.Unlock()
	switch {
	case struck:
		return nil, ErrNotListed
	case up != nil && !up.gone():
		return up, nil
	}
	s.enter(Connecting, nil)
	up, err := s.dial(ctx)
	if err == nil {
		s.enter(Presenting, nil)
		if err = up.present(ctx); err != nil {
			up.close()
		}
	}
	switch {
	case err == nil:
		return up, s.install(up)
	case ctx.Err() != nil: // no longer wanted, which says nothing about the relay
		if before != Refused && before != Leaving {
			before = Off
		}
		s.enter(before, nil)
	case errors.As(err, new(token.Status)):
		s.enter(Refused, err)
	default:
		s.enter(Off, err)
	}
	return nil, err
}

// install makes a new connection the one with the relay.
func (s *server) install(up *link) error {
	s.mu.Lock()
	s.up, s.rtt, s.seen = up, up.session.RTT(), netip.AddrPort{}
	struck := s.struck
	s.advance(Connected)
	s.mu.Unlock()
	if struck || !s.client.start(func() { up.serve() }) {
		up.over.Store(true)
		up.close()
		s.ended(up)
		return ErrNotRunning
	}
	if s.client.edition() != up.shown.Load() {
		s.tokensChanged() // they changed meanwhile
	}
	return nil
}

// dial connects to the relay at the first address that answers.
func (s *server) dial(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	type result struct {
		session junction.Session
		err     error
	}
	results := make(chan result)
	for i, a := range s.Addrs {
		go func() {
			var r result
			select {
			case <-time.After(time.Duration(i) * addrLead):
				r.session, r.err = s.client.seam.Dial(ctx, a, s.Identity)
			case <-ctx.Done():
				r.err = context.Cause(ctx)
			}
			results <- r
		}()
	}
	var won junction.Session
	var errs []error
	for _, a := range s.Addrs {
		r := <-results
		switch {
		case r.err != nil:
			errs = append(errs, fmt.Errorf("%v: %w", a, r.err))
		case won != nil:
			r.session.Close()
		default:
			won = r.session
			cancel() // the others
		}
	}
	if won == nil {
		return nil, fmt.Errorf("%w: %w", errDown, errors.Join(errs...))
	}
	return newLink(s, won), nil
}

// sees records the address at which a relay that refuses sees this node.
func (s *server) sees(addr netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = addr
}

// elsewhere reports whether the relay now sees this node at another address.
func (s *server) elsewhere(addr netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.outside
	s.outside = addr
	return before.IsValid() && addr.IsValid() && before != addr
}

// ready reports whether there is a reservation.
func (s *server) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == Ready
}

// reserved records that there is a reservation, and returns false if it is no
// longer wanted: release is called after ctx is done.
func (s *server) reserved(ctx context.Context, up *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	up.reserved.Store(1)
	s.advance(Ready)
	return true
}

// release lets a reservation lapse. The connection is closed once it is idle.
func (s *server) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up == nil {
		s.enterLocked(Off, nil)
		return
	}
	s.up.reserved.Store(0)
	s.advance(Connected)
}

// keep keeps a reservation at the relay until ctx is done. It calls failed when
// it does not get one, and got when it does.
func (s *server) keep(ctx context.Context, failed, got func()) {
	s.mu.Lock()
	s.failed = failed
	s.mu.Unlock()
	refusals := backoff.Backoff{Min: refusedFirst, Max: refusedMost}
	failures := backoff.Backoff{Min: failedFirst, Max: failedMost}
	for ctx.Err() == nil {
		lease, up, err := s.reserve(ctx)
		var wait time.Duration
		var ended <-chan struct{}
		switch {
		case err == nil:
			refusals.Reset()
			failures.Reset()
			got()
			wait, ended = lease/2-rand.N(lease/10+1), up.session.Done()
		case ctx.Err() != nil:
			return
		case s.isRefusal(err):
			s.enter(Refused, err)
			wait = spread(refusals.Next())
		default:
			s.enter(Off, err)
			wait = spread(failures.Next())
		}
		if err != nil {
			s.client.log.Debug("no reservation", "relay", s.Identity, "cause", err)
			failed()
		}
		s.rest(ctx, wait, ended, err == nil)
		if err == nil && up.gone() && s.client.canWait(s) {
			s.rest(ctx, rand.N(comeBack), nil, false)
		}
	}
}

// spread randomizes a time, so that clients that wait for the same event do not
// all come at once.
func spread(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// canWait reports whether this node need not come back to a relay at once.
func (c *Client) canWait(s *server) bool {
	c.mu.Lock()
	many := len(c.servers) > shortList
	c.mu.Unlock()
	return many || c.callable(s)
}

// callable reports whether this node has a reservation at another relay than
// the given one.
func (c *Client) callable(beside *server) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.servers, func(s *server) bool { return s != beside && s.status().State == Ready })
}

// rest waits until the reservation needs attention again. After a failure, it
// returns at once if another attempt may succeed.
func (s *server) rest(ctx context.Context, wait time.Duration, ended <-chan struct{}, good bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ended:
		case <-s.poke:
			if good {
				continue
			}
		case <-ctx.Done():
		}
		return
	}
}

func (s *server) isRefusal(err error) bool {
	var status circuit.Status
	return errors.As(err, new(token.Status)) || errors.As(err, &status)
}

// reserve gets a reservation, and returns its duration.
func (s *server) reserve(ctx context.Context) (lease time.Duration, up *link, err error) {
	up, err = s.connected(ctx)
	if err != nil {
		return 0, nil, err
	}
	if up.reserved.Load() == 0 {
		s.mu.Lock()
		s.advance(Reserving)
		s.mu.Unlock()
	}
	m, err := up.ask(ctx, circuit.Hop{Type: circuit.HopReserve})
	if err != nil {
		up.reserved.Store(0)
		return 0, nil, err
	}
	if !s.reserved(ctx, up) {
		return 0, nil, context.Cause(ctx)
	}
	return leaseOf(time.Until(m.Expire)), up, nil
}

// leaseOf returns how long a reservation counts: the time left by the clocks of
// both sides, if that is plausible.
func leaseOf(left time.Duration) time.Duration {
	if left < shortestLease || left > 2*reservedFor {
		return reservedFor / 2
	}
	return left
}

// connect opens a circuit to a peer.
func (s *server) connect(ctx context.Context, m circuit.Hop) (junction.Stream, *link, error) {
	up, err := s.connected(ctx)
	if err != nil {
		return nil, nil, err
	}
	stream, err := up.hop(ctx, m)
	return stream, up, err
}

// observed returns this node's address as the relay sees it.
func (s *server) observed() (addr netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up != nil {
		addr, _ = s.up.told()
	}
	return addr
}
