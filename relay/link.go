package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/multistream"
	"github.com/sdp2p/p2p/relay/token"
)

const (
	// A relay is pinged regularly: NATs forget after 30 s, and a relay's death
	// is to be noticed before the circuits' peers give up. Two missing answers
	// are enough. An idle relay is pinged before QUIC would do so at either
	// end, which is after 15 s.
	pingBusy = 2 * time.Second // while there are circuits
	pingIdle = 14 * time.Second
	pongIn   = 500 * time.Millisecond // or four round trips

	leaveJitter = 30 * time.Second // within which clients move elsewhere
)

// A link is a connection with a relay, up to its end.
type link struct {
	server   *server
	session  junction.Session
	opened   time.Time
	circuits atomic.Int32 // open ones
	reserved atomic.Int32 // 1 while there is a reservation
	used     atomic.Int64 // Unix nanoseconds of the last circuit's end, or of the last attempt at one
	shown    atomic.Int64 // edition of the tokens shown last
	over     atomic.Bool  // this node no longer wants it

	wake chan struct{} // of size 1: check at once
	pong chan struct{} // of size 1: answered has changed

	presenting sync.Mutex // held while tokens are shown

	mu       sync.Mutex
	callers  []byte          // the last message to it about callers
	asking   bool            // tokens are being shown: the relay may end access before its answer is read
	access   junction.Stream // on which tokens are shown; nil at a relay that asks for none
	observed netip.AddrPort
	left     int64 // bytes; -1 without a limit
	sent     uint32
	answered uint32
}

func newLink(s *server, session junction.Session) *link {
	return &link{server: s, session: session, opened: time.Now(), left: -1, callers: circuit.Callers{Rule: circuit.CallersAccount}.Append(nil), wake: make(chan struct{}, 1), pong: make(chan struct{}, 1)}
}

func (l *link) gone() bool {
	select {
	case <-l.session.Done():
		return true
	default:
		return false
	}
}

func (l *link) close() { l.session.Close() }

// told returns the values that the relay has sent.
func (l *link) told() (observed netip.AddrPort, left int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.observed, l.left
}

func (l *link) shows() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.access != nil
}

// present shows the relay the tokens before any request. A relay that does not
// know the protocol asks for none. Tokens are sent only once the relay has
// accepted the protocol, so that others do not see them.
func (l *link) present(ctx context.Context) error {
	l.presenting.Lock()
	defer l.presenting.Unlock()
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	l.inquire(true)
	defer l.inquire(false)
	s, err := l.session.Open(ctx, circuit.AuthProtocol)
	if errors.Is(err, multistream.ErrNotSupported) {
		return nil
	}
	if err != nil {
		return err
	}
	tokens, edition := l.server.tokens()
	l.shown.Store(edition)
	b, err := circuit.AppendHello(nil, tokens)
	if err != nil {
		return err
	}
	a, err := answer(ctx, s, b, circuit.ReadAnswer)
	if err == nil {
		err = a.Status.Err()
	}
	if err != nil && a.Status != token.OK && len(tokens) == 0 {
		err = fmt.Errorf("%w: %w", ErrNoToken, err)
	}
	if err != nil {
		l.server.sees(a.Observed)
		s.Close()
		return err
	}
	l.mu.Lock()
	before := l.access
	l.access, l.left = s, bytesLeft(a.Left)
	l.mu.Unlock()
	l.seen(a.Observed)
	if before != nil {
		before.Close()
	}
	l.server.client.start(func() { l.listen(s) })
	return nil
}

// seen records the address at which the relay sees this node.
func (l *link) seen(addr netip.AddrPort) {
	l.mu.Lock()
	l.observed = addr
	l.mu.Unlock()
	if l.server.elsewhere(addr) {
		l.server.client.elsewhere()
	}
}

// inquire records whether tokens are being shown.
func (l *link) inquire(now bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asking = now
}

func bytesLeft(n uint64) int64 {
	if n > math.MaxInt64 {
		return -1
	}
	return int64(n)
}

// listen reads the relay's messages on the stream on which tokens were shown.
func (l *link) listen(s junction.Stream) {
	defer s.Close()
	for leaves := false; ; {
		m, err := circuit.ReadRelay(s)
		if err != nil {
			l.mu.Lock()
			current := l.access == s && !l.asking
			l.mu.Unlock()
			if current {
				l.close() // the rights of the token end with the stream
			}
			return
		}
		l.mu.Lock()
		switch m := m.(type) {
		case circuit.Pong:
			l.answered = uint32(m)
			signal(l.pong)
		case circuit.Quota:
			l.left = bytesLeft(uint64(m))
		}
		l.mu.Unlock()
		if m, ok := m.(circuit.Observed); ok {
			l.seen(netip.AddrPort(m))
		}
		if leave, ok := m.(circuit.Leave); ok && !leaves {
			leaves = true
			l.server.leaving(l, leave)
		}
	}
}

// serve accepts circuits, and checks whether the relay is alive, until the
// connection ends.
func (l *link) serve() {
	c := l.server.client
	defer l.server.ended(l)
	defer l.close()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	c.start(func() {
		defer cancel()
		for {
			s, err := l.session.Accept(ctx)
			if err != nil {
				return
			}
			if !c.start(func() { c.accept(l, s) }) {
				s.Close()
			}
		}
	})
	last := time.Now()
	l.sayCallers()
	for {
		wait := pingIdle
		if l.circuits.Load() > 0 {
			wait = pingBusy
		}
		select {
		case <-l.session.Done():
			return
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-time.After(time.Until(last.Add(wait))):
		}
		last = time.Now()
		if l.idle() {
			l.over.Store(true)
			return
		}
		l.sayCallers()
		if !l.ping() {
			c.log.Debug("the relay does not answer", "relay", l.server.Identity)
			return
		}
	}
}

// look makes serve ping the relay.
func (l *link) look() { signal(l.wake) }

// idle reports whether nothing needs the connection.
func (l *link) idle() bool {
	since := l.opened
	if n := l.used.Load(); n > 0 {
		since = time.Unix(0, n)
	}
	return l.reserved.Load() == 0 && l.circuits.Load() == 0 && time.Since(since) > idleTime
}

// ping pings the relay, twice at most, and returns false if it has not
// answered. For a relay without an access stream, it relies on QUIC's own
// timeout.
func (l *link) ping() bool {
	for range 2 {
		l.mu.Lock()
		s := l.access
		l.sent++
		n := l.sent
		l.mu.Unlock()
		if s == nil {
			return true
		}
		if _, err := s.Write(circuit.Ping(n).Append(nil)); err != nil {
			return !l.gone() && l.shows()
		}
		timer := time.NewTimer(max(pongIn, 4*l.session.RTT()))
		for !l.answers(n) {
			select {
			case <-l.pong:
				continue
			case <-timer.C:
			case <-l.session.Done():
			}
			break
		}
		timer.Stop()
		if l.answers(n) {
			return true
		}
	}
	return false
}

// answers reports whether a ping was answered.
func (l *link) answers(n uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered >= n
}

// ask sends a message on a stream of its own, and returns the answer.
func (l *link) ask(ctx context.Context, m circuit.Hop) (circuit.Hop, error) {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	s, err := l.session.Open(ctx, circuit.HopProtocol)
	if err != nil {
		return circuit.Hop{}, err
	}
	defer s.Close()
	return status(answer(ctx, s, m.Append(nil), circuit.ReadHop))
}

// hop sends a message, and returns its stream if the answer is a success.
func (l *link) hop(ctx context.Context, m circuit.Hop) (junction.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*answerIn) // the peer has to answer, too
	defer cancel()
	l.used.Store(time.Now().UnixNano())
	s, err := l.session.Open(ctx, circuit.HopProtocol)
	if err != nil {
		return nil, err
	}
	if _, err := status(answer(ctx, s, m.Append(nil), circuit.ReadHop)); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// answer writes a message, and reads the answer, before ctx is done.
func answer[A any](ctx context.Context, s junction.Stream, question []byte, read func(io.Reader) (A, error)) (a A, err error) {
	stop := context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })
	if _, err = s.Write(question); err == nil {
		a, err = read(s)
	}
	if !stop() {
		return a, context.Cause(ctx)
	}
	return a, err
}

// status returns the error of an answer that is not a success.
func status(m circuit.Hop, err error) (circuit.Hop, error) {
	if err == nil && m.Type != circuit.HopStatus {
		err = fmt.Errorf("%w: not an answer", circuit.ErrMalformed)
	}
	if err == nil {
		err = m.Err()
	}
	return m, err
}

// leaving replaces this relay's reservation by another, and moves circuits to
// other relays at a random time before this one is down, so that not all its
// clients move at once.
func (s *server) leaving(l *link, leave circuit.Leave) {
	s.enter(Leaving, nil)
	s.mu.Lock()
	failed := s.failed
	s.mu.Unlock()
	if failed != nil {
		failed()
	}
	s.client.start(func() {
		select {
		case <-time.After(rand.N(min(leaveJitter, leave.After)/2 + 1)):
			l.close()
		case <-l.session.Done():
		case <-s.client.ctx.Done():
		}
	})
}

// ended records that a connection is gone.
func (s *server) ended(l *link) {
	s.mu.Lock()
	mine := s.up == l
	if mine {
		s.up = nil
	}
	leaving := s.state == Leaving
	s.mu.Unlock()
	if mine {
		var err error
		if !leaving && !l.over.Load() {
			err = errLost
		}
		s.enter(Off, err)
	}
}
