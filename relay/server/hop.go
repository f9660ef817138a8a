package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/relay/token"
)

const hopPatience = 10 * time.Second

// A gate is the host that go-libp2p's relay sees. It passes only messages that
// the sender's connection has a right to, and counts the bytes of circuits.
type gate struct {
	host.Host
	s *Server
}

// SetStreamHandler puts the gate before the relay's handler.
func (g *gate) SetStreamHandler(p protocol.ID, handler network.StreamHandler) {
	if p != circuit.HopProtocol {
		g.Host.SetStreamHandler(p, handler)
		return
	}
	g.Host.SetStreamHandler(p, func(stream network.Stream) { g.s.hop(stream, handler) })
}

// NewStream opens a stream to a callee, on the connection of that node that has
// the right to be called.
func (g *gate) NewStream(ctx context.Context, p peer.ID, protocols ...protocol.ID) (network.Stream, error) {
	id, err := circuit.ParsePeerID([]byte(p))
	if err != nil {
		return nil, err
	}
	session := g.s.sessions.node(id)
	if session == nil {
		return nil, errors.New("relay: the callee has gone")
	}
	stream, err := session.conn.NewStream(ctx)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		stream.SetDeadline(deadline)
	}
	selected, err := multistream.SelectOneOf(protocols, stream)
	if err != nil {
		stream.Reset()
		return nil, err
	}
	stream.SetDeadline(time.Time{})
	return stream, stream.SetProtocol(selected)
}

// hop reads a client's message, checks its rights, and passes it on.
func (s *Server) hop(stream network.Stream, next network.StreamHandler) {
	stream.SetReadDeadline(time.Now().Add(hopPatience))
	var raw bytes.Buffer
	m, err := circuit.ReadHop(io.TeeReader(stream, &raw))
	status, reason := circuit.MalformedMessage, circuit.NoReason
	if err != nil && !errors.Is(err, circuit.ErrMalformed) {
		stream.Reset()
		return
	}
	stream.SetReadDeadline(time.Time{})
	w := &hopStream{Stream: stream, head: raw.Bytes()}
	w.ctx, w.cancel = context.WithCancel(s.ctx)
	if err == nil {
		switch session := s.sessions.of(stream.Conn()); m.Type {
		case circuit.HopReserve:
			status, reason = s.reserve(session)
		case circuit.HopConnect:
			status, reason = s.connect(session, m.Peer, w)
		}
	}
	s.metrics.hops.add(hopName(m.Type, err) + "\x00" + status.String() + "\x00" + reason.String())
	if status != circuit.OK {
		s.refuse(stream, status, reason)
		w.finish()
		return
	}
	next(w)
}

func hopName(t circuit.HopType, err error) string {
	switch {
	case err == nil && t == circuit.HopReserve:
		return "reserve"
	case err == nil && t == circuit.HopConnect:
		return "connect"
	}
	return "other"
}

// refuse answers with a status and a reason.
func (s *Server) refuse(stream network.Stream, status circuit.Status, reason circuit.Reason) {
	stream.SetWriteDeadline(time.Now().Add(sendPatience))
	if _, err := stream.Write(circuit.Hop{Type: circuit.HopStatus, Status: status, Reason: reason}.Append(nil)); err != nil {
		stream.Reset()
		return
	}
	stream.Close()
}

// reserve decides about a reservation.
func (s *Server) reserve(session *session) (circuit.Status, circuit.Reason) {
	a := session.pass(token.Reserve)
	switch {
	case a == nil:
		return circuit.PermissionDenied, circuit.NoRight
	case s.leaving.Load():
		return circuit.ReservationRefused, circuit.RelayLeaves
	case !a.reserve(session.node, s.cfg.Limits.AccountReservations):
		return circuit.ReservationRefused, circuit.AccountReservations
	}
	return circuit.OK, circuit.NoReason
}

// connect decides about a circuit. A callee that does not allow the caller
// looks to it like one that is absent.
func (s *Server) connect(session *session, to identity.RemoteIdentity, w *hopStream) (circuit.Status, circuit.Reason) {
	a := session.pass(token.Connect)
	if a == nil {
		return circuit.PermissionDenied, circuit.NoRight
	}
	if !a.connects.allow() {
		return circuit.ResourceLimit, circuit.AccountRate
	}
	callee := s.sessions.node(to)
	if callee == nil || callee == session || !callee.allows(session.node, a) {
		return circuit.NoReservation, circuit.NoReason
	}
	switch err := a.purse.ready(w.ctx); {
	case errors.Is(err, errQuota):
		return circuit.ResourceLimit, circuit.QuotaUsedUp
	case errors.Is(err, errAllowance):
		return circuit.ResourceLimit, circuit.LedgerAway
	case err != nil: // the relay ends
		return circuit.ResourceLimit, circuit.RelayLeaves
	}
	between := pair{session.node, to}
	if !s.pairs.begin(between) {
		return circuit.ResourceLimit, circuit.PairRate
	}
	if !a.open(s.cfg.Limits.AccountCircuits) {
		s.pairs.end(between)
		return circuit.ResourceLimit, circuit.AccountCircuits
	}
	s.metrics.circuits.Add(1)
	w.account = a
	w.answered = sync.OnceFunc(func() { s.pairs.end(between) })
	w.closed = func() {
		a.circuits.Add(-1)
		s.metrics.circuits.Add(-1)
	}
	return circuit.OK, circuit.NoReason
}

// An acl is the server's access control for go-libp2p.
type acl struct{ *Server }

// AllowReserve is the second check, for go-libp2p's relay. The first was made
// on the connection.
func (a acl) AllowReserve(p peer.ID, _ ma.Multiaddr) bool { return a.allow(p, token.Reserve) }

// AllowConnect is the second check.
func (a acl) AllowConnect(p peer.ID, _ ma.Multiaddr, _ peer.ID) bool {
	return a.allow(p, token.Connect)
}

func (s *Server) allow(p peer.ID, right token.Rights) bool {
	id, err := circuit.ParsePeerID([]byte(p))
	return err == nil && s.sessions.node(id).pass(right) != nil
}
