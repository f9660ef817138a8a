package pairing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/text"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/tunnel"
)

const (
	dialAgain = 2 * time.Second        // after a dial that failed
	dialSoon  = 100 * time.Millisecond // after an event about the peer, which our own attempt may have caused
	dialTime  = 15 * time.Second       // for dials with a ticket that has expired by our clock, which may be wrong
)

// A JoinConfig describes how to join. Only Confirm is required.
type JoinConfig struct {
	// Confirm asks the user of this device.
	Confirm ConfirmFunc

	// Keep, if not nil, is called with the record of the library and the key of
	// this device's new instance of it, before the library is added. The other
	// device waits 20 s for Keep before it relies on this one. An error ends
	// the pairing. If Join fails after Keep was called, discard what was kept.
	// An app with a [library.Store] needs no Keep.
	Keep func(r library.Record, instance identity.Identity) error
}

// Join joins the library that a ticket invites to, and returns it, as
// [library.Libraries.Add] does. It connects to the node that made the ticket:
// at an address in the ticket, where discovery finds it, or, if this node has a
// relay client, through a relay that the ticket names. It waits for that node
// until ctx is done or the ticket expires.
//
// It fails with [ErrOtherApp]; with [ErrRefused], [ErrExpired] or [ErrUsed] if
// the ticket is no longer valid; with [ErrDeclined], [ErrPeerDeclined] or
// [ErrNoAnswer] if a user does not agree; with [ErrPeerFailed] or
// [ErrUnfinished] if pairing breaks off; with a *[p2p.DialError] if the node
// cannot be reached; with an error that Keep returned; or with
// [library.ErrAdded] if this device already has the library. The ticket is used
// up once the other device has accepted it: never with ErrOtherApp, ErrRefused,
// ErrExpired or the DialError, nor with ErrAdded if the ticket itself names the
// library.
func (p *Pairing) Join(ctx context.Context, t Ticket, cfg JoinConfig) (*library.Library, error) {
	ctx, leave, scope, err := p.begin(ctx, t.Node, cfg, true)
	if err != nil {
		return nil, err
	}
	defer leave()
	if t.App != "" && t.App != scope.Node().App() {
		return nil, fmt.Errorf("%w: %q", ErrOtherApp, t.App)
	}
	if _, ok := p.libraries.Get(t.Library); ok {
		return nil, library.ErrAdded
	}
	candidates := make([]p2p.Candidate, len(t.Addrs))
	for i, a := range t.Addrs {
		candidates[i] = p2p.Candidate{Kind: p2p.Manual, Addr: a}
	}
	for _, r := range t.Relays {
		candidates = append(candidates, p2p.Candidate{Kind: p2p.Relay, Relay: r.Node, Addr: r.Addr})
	}
	if p.contacts != nil {
		defer p.contacts.Visit(t.Node, t.Ephemeral, t.psk(inviting))()
	}
	if err := scope.Discovered(t.Node, t.metadata(), candidates); err != nil {
		return nil, err
	}
	defer scope.Expired(t.Node)
	dialing, cancel := context.WithDeadline(ctx, later(t.Expiry, time.Now().Add(dialTime)))
	defer cancel()
	c, err := p.present(dialing, scope, t)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	case time.Now().Before(t.Expiry):
		return nil, err
	default:
		return nil, fmt.Errorf("%w (%w)", ErrExpired, err)
	}
	talk := inTunnel(c, scope)
	l, err := p.enter(ctx, scope.Identity(), talk, t.Library, cfg)
	return l, talk.finish(err)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// begin records that this device is pairing with a node, until leave is called.
// The context that it returns ends when the hook does, too.
func (p *Pairing) begin(ctx context.Context, node identity.RemoteIdentity, cfg JoinConfig, byTicket bool) (_ context.Context, leave func(), scope *p2p.Scope, err error) {
	if cfg.Confirm == nil {
		panic("pairing: JoinConfig.Confirm is required")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.scope == nil:
		return nil, nil, nil, ErrNotRunning
	case node.IsZero():
		return nil, nil, nil, ErrTicket
	case node == p.scope.Node().Identity():
		return nil, nil, nil, fmt.Errorf("%w: it is from this device", ErrTicket)
	case p.joining[node] != nil:
		return nil, nil, nil, ErrBusy
	}
	p.joining[node] = &joining{byTicket}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.run, func() { cancel(ErrNotRunning) })
	return ctx, func() {
		stop()
		cancel(nil)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.joining, node)
	}, p.scope, nil
}

// present shows the ticket to the node that made it, and returns the tunnel.
// While the node cannot be reached, it retries.
func (p *Pairing) present(ctx context.Context, scope *p2p.Scope, t Ticket) (*tunnel.Conn, error) {
	node := scope.Node()
	events := node.Subscribe()
	defer events.Close()
	credential := tunnel.NewCredentialFor(purpose, scope.Identity(), t.psk(purpose))
	for {
		c, err := open(ctx, node, t, credential)
		switch {
		case err == nil:
			return c, nil
		case errors.Is(err, tunnel.ErrHandshake) && !errors.Is(err, p2p.ErrConnectionLost) && !errors.Is(err, p2p.ErrBusy) && ctx.Err() == nil:
			return nil, fmt.Errorf("%w (%w)", ErrRefused, err)
		case errors.Is(err, p2p.ErrClosed), errors.Is(err, p2p.ErrRevoked):
			return nil, err
		}
		if !wait(ctx, events, t.Node) {
			return nil, fmt.Errorf("pairing: the device that made the ticket cannot be reached; is it on, on the same network or at a relay, and still showing it? %w", err)
		}
	}
}

func open(ctx context.Context, node *p2p.P2P, t Ticket, with *tunnel.Credential) (*tunnel.Conn, error) {
	peer, ok := node.Peer(t.Node)
	if !ok {
		return nil, p2p.ErrNoCandidate
	}
	s, err := peer.Open(ctx, Route)
	if err != nil {
		return nil, err
	}
	session, err := library.Session(node, s)
	if err != nil {
		s.Reset(p2p.ErrTunnelRefused)
		return nil, err
	}
	return tunnel.Open(ctx, session, with, tunnel.Member{Instance: t.Node, Node: t.Node})
}

// wait waits for an event about a peer, or for dialAgain, and reports whether
// ctx is not done.
func wait(ctx context.Context, events *p2p.Subscription, peer identity.RemoteIdentity) bool {
	again := time.NewTimer(dialAgain)
	defer again.Stop()
	heard := false
	hear := func(of *p2p.Peer) {
		if !heard && of.Identity() == peer {
			heard = true
			again.Reset(dialSoon)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-again.C:
			return true
		case e, ok := <-events.C:
			if !ok {
				return false
			}
			switch e := e.(type) {
			case p2p.PeerDiscoveredBy:
				hear(e.Peer)
			case p2p.PeerConnectedWith:
				hear(e.Peer)
			}
		}
	}
}

// enter holds the conversation by which this device becomes a member of a
// library, or of any library if of is zero.
func (p *Pairing) enter(ctx context.Context, node identity.Identity, t *talk, of uuid.UUID, cfg JoinConfig) (*library.Library, error) {
	if err := t.write(&hello{name: t.name}); err != nil {
		return nil, err
	}
	var r reply
	if err := t.read(ctx, r.DecodeFrom, stepTime); err != nil {
		return nil, err
	}
	if r.status != statusOK {
		return nil, told{r.status.err()}
	}
	t.device.Name = text.Plain(r.name)
	if err := t.agree(ctx, cfg.Confirm); err != nil {
		return nil, err
	}
	var w welcome
	if err := t.read(ctx, w.DecodeFrom, stepTime); err != nil {
		return nil, err
	}
	if of != uuid.Nil && w.ID != of {
		return nil, fmt.Errorf("%w: it is not the library that the ticket names", ErrProtocol)
	}
	if err := p.checkWelcome(&w, t.device.Node); err != nil {
		return nil, err
	}
	w.Name, w.Replaced = text.Plain(w.Name), time.Now()
	instance := identity.New()
	move, err := w.First(node, instance)
	if err != nil {
		return nil, err
	}
	if cfg.Keep != nil {
		if err := cfg.Keep(w.Record.Clone(), instance); err != nil {
			return nil, fmt.Errorf("pairing: the record of the library was not kept: %w", err)
		}
	}
	l, err := p.libraries.Add(w.Record, instance)
	if err != nil {
		return nil, err
	}
	if err := p.admitted(ctx, t, l, move, &w); err != nil {
		return nil, errors.Join(err, p.libraries.Remove(w.ID))
	}
	return l, nil
}

// checkWelcome checks the library that the other device sent: that the other
// device is an admin of it and knows its secret.
func (p *Pairing) checkWelcome(w *welcome, from identity.RemoteIdentity) error {
	if _, ok := p.libraries.Get(w.ID); ok {
		return library.ErrAdded
	}
	all := roster.New(w.ID, w.Founder)
	if _, err := all.Add(w.Statements...); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	view := all.View()
	if !slices.ContainsFunc(view.Members, func(m library.Member) bool { return m.Node == from && m.Role == library.RoleAdmin }) {
		return fmt.Errorf("%w: it is no admin of the library", ErrProtocol)
	}
	i := slices.IndexFunc(view.Secrets, func(s roster.Secret) bool { return s.Hash == roster.HashSecret(w.Secret.Bytes()) })
	if i < 0 {
		return fmt.Errorf("%w: its secret is not the library's", ErrProtocol)
	}
	w.Number = view.Secrets[i].Number
	return nil
}

// admitted sends the instance's first statement, and adds the statements that
// make it a member.
func (p *Pairing) admitted(ctx context.Context, t *talk, l *library.Library, move roster.Statement, w *welcome) error {
	if err := t.write(&first{move}); err != nil {
		return err
	}
	var a admission
	if err := t.read(ctx, a.DecodeFrom, stepTime); err != nil {
		return err
	}
	if err := l.Learn(append(a.Statements, move)); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if l.Role() == 0 {
		return fmt.Errorf("%w: its statements make this device no member", ErrProtocol)
	}
	return nil
}
