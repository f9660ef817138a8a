package server

import (
	"errors"
	"math"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/relay/token"
)

const (
	helloPatience = 10 * time.Second
	sendPatience  = 5 * time.Second
	sendQueue     = 16 // messages
	askedRate     = 10 // messages of a client per second
	askedBurst    = 30
)

// An authStream is a session's stream of messages.
type authStream struct {
	stream network.Stream

	mu      sync.Mutex
	queue   [][]byte
	writing bool
}

// send queues a message, or drops it if there is no room. The writing goroutine
// exists only while there is something to write, which is rare, and a relay has
// many sessions.
func (a *authStream) send(b []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) >= sendQueue {
		return
	}
	a.queue = append(a.queue, b)
	if !a.writing {
		a.writing = true
		go a.write()
	}
}

// write writes the queued messages.
func (a *authStream) write() {
	for {
		a.mu.Lock()
		if len(a.queue) == 0 {
			a.queue, a.writing = nil, false
			a.mu.Unlock()
			return
		}
		b := a.queue[0]
		a.queue = a.queue[1:]
		a.mu.Unlock()
		a.stream.SetWriteDeadline(time.Now().Add(sendPatience))
		if _, err := a.stream.Write(b); err != nil {
			a.stream.Reset() // no more messages are written
			return
		}
	}
}

// auth serves a stream on which a client shows tokens.
func (s *Server) auth(stream network.Stream) {
	session := s.sessions.of(stream.Conn())
	stream.SetReadDeadline(time.Now().Add(helloPatience))
	shown, err := circuit.ReadHello(stream)
	if err != nil || session == nil || session.node.IsZero() {
		if errors.Is(err, circuit.ErrMalformed) {
			s.metrics.tokens.add(token.Malformed.String())
			stream.Write(circuit.Answer{Status: token.Malformed, Observed: addrOf(stream.Conn())}.Append(nil))
		}
		stream.Reset()
		return
	}
	stream.SetReadDeadline(time.Time{})
	answer := s.present(session, shown)
	s.metrics.tokens.add(answer.Status.String())
	s.cfg.Logger.Debug("tokens shown", "peer", session.node, "count", len(shown), "status", answer.Status.String())

	a := &authStream{stream: stream}
	a.send(answer.Append(nil))
	session.mu.Lock()
	old := session.before
	session.before, session.auth, session.observed = session.auth, a, answer.Observed
	session.mu.Unlock()
	if old != nil {
		old.stream.Reset()
	}
	if s.leaving.Load() {
		a.send(s.farewell().Append(nil))
	}
	go s.listen(session, a) // in a new goroutine, whose stack is smaller than this one's has grown
}

// present gives a session the rights of its tokens.
func (s *Server) present(session *session, shown [][token.Size]byte) circuit.Answer {
	answer := circuit.Answer{Status: token.Malformed, Observed: session.addr()}
	now := time.Now()
	var good []token.Token
	for i, b := range shown {
		status := token.Malformed
		if t, err := token.FromBytes(b[:]); err == nil {
			if status = s.rules.Verify(t, session.node, now); status == token.OK {
				good = append(good, t)
			}
		}
		if i == 0 {
			answer.Status = status
		}
	}
	if len(good) == 0 && (len(shown) > 0 || session.stranger()) {
		return answer // the session keeps the rights that it has
	}
	if len(good) > 0 {
		session.grant(good, true, s.accounts)
	}
	answer.Status, answer.Left = token.OK, circuit.Unlimited
	until := session.until()
	answer.Again = max(until.Sub(now), 0)
	if a := session.pass(token.Connect); a != nil {
		answer.Left = a.purse.balance(s.ctx)
		if answer.Left < circuitCost && session.pass(token.Reserve) == nil {
			answer.Status = token.QuotaExhausted
		}
	}
	s.admit(session)
	return answer
}

// until returns when the first token that a session uses expires.
func (s *session) until() time.Time {
	until := time.Unix(math.MaxUint32, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.passes {
		if p != nil && p.shown && p.token.Expiry.Before(until) {
			until = p.token.Expiry
		}
	}
	return until
}

// admit makes a session with rights its node's session: earlier ones are
// closed.
func (s *Server) admit(session *session) {
	before, ok := s.sessions.rank(session)
	if !ok {
		session.leave()
	}
	if before != nil {
		before.conn.Close()
	}
}

// listen answers a client's messages until the stream ends.
func (s *Server) listen(session *session, a *authStream) {
	pace := newBucket(askedRate, askedBurst)
	for {
		m, err := circuit.ReadClient(a.stream)
		if err != nil || !pace.allow() {
			a.stream.Reset()
			return
		}
		switch m := m.(type) {
		case circuit.Ping:
			session.mu.Lock()
			now := session.addr()
			moved := now != session.observed
			session.observed = now
			session.mu.Unlock()
			if moved {
				a.send(circuit.Observed(now).Append(nil))
			}
			a.send(circuit.Pong(m).Append(nil))
		case circuit.Callers:
			session.mu.Lock()
			session.callers = m
			session.mu.Unlock()
		}
	}
}

// Review checks the tokens in use at once instead of within 15 s, for example
// after one was revoked.
func (s *Server) Review() { s.review(time.Now()) }

// review closes the connections whose rights have ended.
func (s *Server) review(now time.Time) {
	for _, session := range s.sessions.list() {
		if !s.valid(session, now) {
			s.cfg.Logger.Info("access has ended", "peer", session.node)
			session.conn.Close()
		}
	}
}

// valid reports whether the rights of a session are still valid. It does not
// verify the signatures again.
func (s *Server) valid(session *session, now time.Time) bool {
	session.mu.Lock()
	passes := session.passes
	session.mu.Unlock()
	for _, p := range passes {
		switch {
		case p == nil:
		case !p.shown:
			if _, ok := s.cfg.Known(session.node); !ok {
				return false
			}
		case !now.Before(p.token.Ends()), !s.cfg.Trusted(p.token.Issuer), s.cfg.Revoked(p.token.Issuer, p.token.Serial):
			return false
		}
	}
	return true
}
