package server

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/relay/token"
)

const (
	helloPatience = 10 * time.Second
	sendPatience  = 5 * time.Second
	sendQueue     = 16 // messages
	askedRate     = 10 // messages of a client in a second
	askedBurst    = 30
)

// An authStream is a session's stream of messages.
type authStream struct {
	stream network.Stream
	queue  chan []byte
}

// send queues a message; one for which there is no room is dropped.
func (a *authStream) send(b []byte) {
	select {
	case a.queue <- b:
	default:
	}
}

// write writes what is queued until ctx is done.
func (a *authStream) write(ctx context.Context) {
	for {
		select {
		case b := <-a.queue:
			a.stream.SetWriteDeadline(time.Now().Add(sendPatience))
			if _, err := a.stream.Write(b); err != nil {
				a.stream.Reset()
				return
			}
		case <-ctx.Done():
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

	a := &authStream{stream, make(chan []byte, sendQueue)}
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
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	go a.write(ctx)
	s.listen(session, a)
}

// present gives a session what its tokens give.
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
		return answer // what the session has, it keeps
	}
	if len(good) > 0 {
		session.grant(good, true, s.accounts)
	}
	answer.Status, answer.Left = token.OK, circuit.Unlimited
	until := session.until()
	answer.Again = max(until.Sub(now), 0)
	if a := session.pass(token.Connect); a != nil {
		answer.Left = a.purse.balance(s.ctx)
		if answer.Left == 0 && session.pass(token.Reserve) == nil {
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

// admit makes a session with rights the one of its node: the ones before are
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

// Review looks at the tokens in use at once, which is else done every 15 s: after
// one was revoked, for example.
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

// valid reports whether what a session was given still holds. The signatures do
// not change.
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
