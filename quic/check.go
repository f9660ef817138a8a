package quic

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	tpt "github.com/libp2p/go-libp2p/core/transport"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/multistream"
)

// A connection between two masks belongs to nobody until the check: a stream in
// which the dialer proves which contact it is, and the other side proves that
// it is the intended one. Only then is the connection reported to the node.
//
//	accepted → checking → contact | refused
//
// All refusals look the same.
const (
	checkFirst   = 2 * time.Second  // until the dialer has said something
	checkTime    = 10 * time.Second // until the check is over
	maxChecks    = 8                // of dialers, at a time
	checksByAddr = 2
)

var (
	errStranger = errors.New("quic: not a contact")
	errPushed   = errors.New("quic: the check made room for another one")
)

// A proven is a connection whose other end is a contact, or has been invited.
type proven struct {
	tpt.CapableConn
	id   identity.RemoteIdentity
	pass *pass // of a guest or a host; nil for a contact
}

// checks are the running checks of dialers, the oldest first.
type checks struct {
	mu  sync.Mutex
	all []*check
}

type check struct {
	addr netip.Addr
	push context.CancelCauseFunc
}

// enter takes a place. If none is free, it ends the oldest check, of the same
// address if possible.
func (c *checks) enter(addr netip.Addr, push context.CancelCauseFunc) (leave func()) {
	k := &check{addrOf(addr), push}
	c.mu.Lock()
	defer c.mu.Unlock()
	same, first := 0, -1
	for i, o := range c.all {
		if o.addr == k.addr {
			same++
			if first < 0 {
				first = i
			}
		}
	}
	switch {
	case same >= checksByAddr:
		c.out(first)
	case len(c.all) >= maxChecks:
		c.out(0)
	}
	c.all = append(c.all, k)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all = slices.DeleteFunc(c.all, func(o *check) bool { return o == k })
	}
}

// out removes a check. The caller holds mu.
func (c *checks) out(i int) {
	c.all[i].push(errPushed)
	c.all = slices.Delete(c.all, i, i+1)
}

// receive checks the dialer of a connection, and accepts the connection if the
// dialer is a contact.
func (e *endpoint) receive(tc tpt.CapableConn) {
	ctx, cancel := context.WithCancelCause(e.ctx)
	defer cancel(nil)
	from, q := addrPort(tc.RemoteMultiaddr()), quicOf(tc)
	leave := e.veil.checks.enter(from.Addr(), cancel)
	defer context.AfterFunc(q.Context(), func() { cancel(errStranger) })()
	id, pass, err := e.examine(ctx, tc, from.Addr())
	leave()
	if err != nil {
		e.log.Debug("a dialer was refused", "path", from, "cause", err)
		refuse(tc)
		return
	}
	_, _ = e.connected(proven{tc, id, pass}, p2p.Path{Kind: p2p.Direct})
}

// refuse closes a connection without revealing anything.
func refuse(tc tpt.CapableConn) { tc.CloseWithError(network.ConnGated) }

// examine lets the dialer prove which contact it is, or that it was invited.
func (e *endpoint) examine(ctx context.Context, tc tpt.CapableConn, from netip.Addr) (id identity.RemoteIdentity, _ *pass, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTime, errStranger)
	defer cancel()
	key, err := remoteIdentity(tc.RemotePeer())
	if err != nil {
		return id, nil, err
	}
	q := quicOf(tc)
	first := time.Now().Add(checkFirst)
	early, stop := context.WithDeadline(ctx, first)
	defer stop()
	s, err := q.AcceptStream(early)
	if err != nil {
		return id, nil, err
	}
	defer context.AfterFunc(ctx, func() { reset(s, network.StreamGated) })()
	s.SetDeadline(first)
	_, rest, err := multistream.Accept(s, e.veil.protocol)
	if err != nil {
		return id, nil, err
	}
	own, ok := e.veil.worn(nameOf(q))
	if !ok { // it has requested no key: a proof would be worthless
		own = e.veil.now()
	}
	m := meeting(q, s, rest, own.key, key, from)
	if i := e.veil.invited(nameOf(q)); i != nil {
		id, err = i.check(ctx, m)
		return id, &i.pass, err
	}
	id, err = e.veil.contacts.Check(ctx, m)
	return id, nil, err
}

// present proves this node's identity on a connection that this node dialed,
// and returns the connection as one with the contact or host.
func (e *endpoint) present(ctx context.Context, tc tpt.CapableConn, d *disguise, to identity.RemoteIdentity) (tpt.CapableConn, error) {
	if d.mask == nil {
		return proven{tc, to, &d.visit.pass}, nil
	}
	key, err := remoteIdentity(tc.RemotePeer())
	if err != nil {
		return nil, err
	}
	q := quicOf(tc)
	s, err := q.OpenStreamSync(ctx)
	if err != nil {
		return nil, streamError(err)
	}
	defer context.AfterFunc(ctx, func() { reset(s, network.StreamGated) })()
	if deadline, ok := ctx.Deadline(); ok {
		s.SetDeadline(deadline)
	}
	rest, err := multistream.Select(s, checkProtocol(e.scope.Node().App()))
	if err != nil {
		return nil, streamError(err)
	}
	from := addrPort(tc.RemoteMultiaddr()).Addr()
	m := meeting(q, s, rest, d.mask.key, key, from)
	if v := d.visit; v != nil {
		return proven{tc, to, &v.pass}, v.prove(ctx, m)
	}
	return proven{tc, to, nil}, e.veil.contacts.Prove(ctx, m, to)
}

// meeting turns a stream into a Meeting for package contact.
func meeting(q *quicgo.Conn, s *quicgo.Stream, rest []byte, local, remote identity.RemoteIdentity, addr netip.Addr) junction.Meeting {
	return junction.Meeting{
		Stream: &talk{side{stream: s, rest: rest}, q}, Local: local, Remote: remote, Addr: addr,
		Exporter: func(label string) (value [32]byte, ok bool) {
			state := q.ConnectionState().TLS
			b, err := state.ExportKeyingMaterial(label, nil, len(value))
			if err != nil {
				return value, false
			}
			return [32]byte(b), true
		},
		Reset: func() { reset(s, network.StreamGated) },
	}
}

// A talk is a stream of a check.
type talk struct {
	side
	quic *quicgo.Conn
}

func (t *talk) LocalAddr() net.Addr  { return t.quic.LocalAddr() }
func (t *talk) RemoteAddr() net.Addr { return t.quic.RemoteAddr() }
