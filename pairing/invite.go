package pairing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/reach"
	"github.com/sdp2p/p2p/internal/text"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

// An InviteConfig describes an invitation. Only Confirm is required.
type InviteConfig struct {
	// Confirm asks the user of this device.
	Confirm ConfirmFunc

	// Role is the role of the new member. If zero, [library.RoleMember]. For an
	// admin, the founder has to sign: this device's instance, or Key. Otherwise
	// the device becomes a member, and the other admins are asked; see
	// [library.ErrAsked].
	Role library.Role
	// Key is the library's recovery key, if the user has it at hand.
	Key library.RecoveryKey

	// Refused, if not nil, is called on the inviting side for each device that
	// presents a used ticket: the user should know that two devices have seen
	// it. It must not block.
	Refused func(d Device)

	// Time is how long the invitation stands, on the monotonic clock. If zero,
	// [DefaultTime].
	Time time.Duration

	// Addrs are the addresses in the ticket, at most [MaxAddrs], such as a port
	// that a router or a container's host forwards. If nil, they are those of
	// this host without loopback and link-local ones: that of the default route
	// first, those of bridges and VPNs last.
	Addrs []netip.AddrPort
	// Relays are the relays in the ticket, at most [MaxRelays]. If nil, they
	// are those at which this node can be called now, if it has a relay client
	// among its hooks. While the invitation stands, these relays let nodes of
	// all accounts call.
	Relays []TicketRelay
}

// An Invitation stands until a device has used it, or it expires or is
// canceled. Its methods may be called concurrently.
type Invitation struct {
	p          *Pairing
	library    *library.Library
	cfg        InviteConfig
	node       identity.RemoteIdentity
	ticket     Ticket
	credential *tunnel.Credential // nil: by code

	forgotten *time.Timer // after it, nobody is told any longer that the ticket was used
	over      func()      // stops others from calling through relays; nil if none may
	shut      func()      // ends the ticket's key; nil if it has none

	mu     sync.Mutex // guards what follows
	used   bool
	late   bool                    // its time is over
	cancel context.CancelCauseFunc // of the conversation; nil: there is none
	done   chan struct{}           // closed at the end, when what follows is set
	member library.Member
	err    error
}

// Invite makes a ticket that lets one device join a library. It fails with
// [ErrNotRunning] or [ErrTooMany]; with [ErrNotServed] if the node's [p2p.Mux]
// does not serve [Route]; with [library.ErrRemoved] if the library is not one
// of the node's; and with [library.ErrNotAdmin] if this device is not an admin
// of it.
func (p *Pairing) Invite(l *library.Library, cfg InviteConfig) (*Invitation, error) {
	return p.invite(l, cfg, false)
}

// InviteByCode lets one device join a library without a ticket: its user picks
// this device from the list of peers, and both users compare digits. Only one
// such invitation may stand, and the devices must not be connected through a
// relay. It fails as Invite does, and with [ErrLocked].
func (p *Pairing) InviteByCode(l *library.Library, cfg InviteConfig) (*Invitation, error) {
	return p.invite(l, cfg, true)
}

func (p *Pairing) invite(l *library.Library, cfg InviteConfig, byCode bool) (*Invitation, error) {
	if cfg.Confirm == nil {
		panic("pairing: InviteConfig.Confirm is required")
	}
	if cfg.Time <= 0 {
		cfg.Time = DefaultTime
	}
	if cfg.Role == 0 {
		cfg.Role = library.RoleMember
	}
	scope := p.running()
	if scope == nil {
		return nil, ErrNotRunning
	}
	i := &Invitation{p: p, library: l, cfg: cfg, node: scope.Node().Identity(), done: make(chan struct{})}
	if err := i.fits(); err != nil {
		return nil, err
	}
	route := Route
	if byCode {
		route = CodeRoute
	}
	if !scope.Node().Serves(route) {
		return nil, fmt.Errorf("%w: mux.Handle(%q, p2p.Anyone, pairing)", ErrNotServed, route)
	}
	if !byCode {
		if err := i.write(scope); err != nil {
			i.expectNobody()
			return nil, err
		}
	}
	if err := i.stand(scope); err != nil {
		i.expectNobody()
		return nil, err
	}
	return i, nil
}

// write makes the ticket.
func (i *Invitation) write(scope *p2p.Scope) error {
	relays := i.cfg.Relays
	at, over := scope.Expect()
	i.over = over
	if relays == nil {
		for _, c := range at {
			relays = append(relays, TicketRelay{c.Relay, c.Addr})
		}
		relays = relays[:min(len(relays), MaxRelays)]
	}
	i.ticket = newTicket(i.node, i.cfg.Addrs, time.Now().Add(i.cfg.Time))
	listening := i.hide()
	if i.cfg.Addrs == nil {
		i.ticket.Addrs = ownAddrs(scope.Node(), listening)
	}
	i.ticket.App, i.ticket.Library, i.ticket.Relays = scope.Node().App(), i.library.ID(), relays
	if i.ticket.Ephemeral.IsZero() { // otherwise lanes would show which node this is
		i.ticket.Lane = p2p.LanePort(scope.Node().Metadata())
	}
	if i.ticket.Text() == "" {
		return errors.New("pairing: an address of the ticket is not valid")
	}
	i.credential = tunnel.NewCredentialFor(purpose, scope.Identity(), i.ticket.psk(purpose))
	return nil
}

// hide replaces the node's key in the ticket by another if the node is visible
// to contacts only, and returns the addresses at which the node listens for
// that.
func (i *Invitation) hide() (listening []netip.AddrPort) {
	if i.p.contacts == nil {
		return nil
	}
	key, port, shut, ok := i.p.contacts.Invite(i.ticket.psk(inviting))
	if !ok {
		return nil
	}
	i.ticket.Ephemeral, i.shut = key, shut
	for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		listening = append(listening, netip.AddrPortFrom(any, port))
	}
	return listening
}

// expectNobody makes relays turn away callers again that only a ticket lets in.
// Once the invitation is neither found nor in use, the node drops the ticket's
// key.
func (i *Invitation) expectNobody() {
	if i.over != nil {
		i.over()
	}
	if i.shut != nil && i.finished() {
		i.shut()
	}
}

// finished reports whether the invitation is neither found nor in use any
// longer, or never stood.
func (i *Invitation) finished() bool {
	i.p.mu.Lock()
	_, stands := i.p.invitations[i]
	i.p.mu.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.done:
		return !stands
	default:
		return !stands && !i.used
	}
}

// stand makes the invitation available until it is forgotten.
func (i *Invitation) stand(scope *p2p.Scope) error {
	p, byCode := i.p, i.credential == nil
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.invitations) >= MaxInvitations {
		p.tidy()
	}
	switch {
	case p.scope != scope:
		return ErrNotRunning
	case len(p.invitations) >= MaxInvitations || byCode && p.byCode() != nil:
		return ErrTooMany
	case byCode && p.failures.locked():
		return ErrLocked
	}
	p.invitations[i] = struct{}{}
	i.forgotten = time.AfterFunc(i.cfg.Time, i.expire)
	return nil
}

// tidy forgets invitations that are over, so that nobody is told any longer
// that they were used. The caller holds mu.
func (p *Pairing) tidy() {
	for i := range p.invitations {
		select {
		case <-i.done:
			i.forgotten.Stop()
			delete(p.invitations, i)
		default:
		}
	}
}

// has reports whether the library is one of the node's.
func (i *Invitation) has() bool {
	l, ok := i.p.libraries.Get(i.library.ID())
	return ok && l == i.library
}

// byCode returns the standing invitation by code. The caller holds mu.
func (p *Pairing) byCode() *Invitation {
	for i := range p.invitations {
		if i.credential == nil {
			return i
		}
	}
	return nil
}

// Ticket returns the ticket, or the zero Ticket for an invitation by code.
func (i *Invitation) Ticket() Ticket { return i.ticket }

// Wait waits until a device has joined, and returns it as a member. If the
// invitation ends before that, it fails with the reason; if ctx ends, with its
// error.
func (i *Invitation) Wait(ctx context.Context) (library.Member, error) {
	select {
	case <-i.done:
		return i.member, i.err
	case <-ctx.Done():
		return library.Member{}, context.Cause(ctx)
	}
}

// Cancel ends the invitation, even while a device uses it. A device that has
// joined remains a member.
func (i *Invitation) Cancel() {
	i.forget() // first, so that a device that comes now is not told that the ticket was used
	i.end(library.Member{}, ErrCanceled)
}

// expire ends the invitation. If a device is using it, only the ticket is
// forgotten.
func (i *Invitation) expire() {
	i.forget()
	i.mu.Lock()
	i.late = true
	busy := i.used
	i.mu.Unlock()
	if !busy {
		i.end(library.Member{}, ErrExpired)
	}
}

// end records how the invitation ended, the first time that it is called.
func (i *Invitation) end(m library.Member, err error) {
	defer i.expectNobody()
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.done:
		return
	default:
	}
	i.member, i.err = m, err
	if i.cancel != nil {
		i.cancel(err)
	}
	close(i.done)
}

// forget makes the invitation unavailable.
func (i *Invitation) forget() {
	defer i.expectNobody()
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	i.forgotten.Stop()
	delete(i.p.invitations, i)
}

// use reports whether its caller is the first to use the invitation, which is
// used up then.
func (i *Invitation) use() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	first := !i.used
	i.used = true
	return first
}

// again tells a device that it was not the first, and our user that there were
// two.
func (i *Invitation) again(ctx context.Context, t *talk) error {
	var m hello
	if err := t.read(ctx, m.DecodeFrom, stepTime); err != nil {
		return err
	}
	t.device.Name = text.Plain(m.name)
	if i.cfg.Refused != nil {
		i.cfg.Refused(t.device)
	}
	if err := t.tell(statusUsed); err != nil {
		return err
	}
	return told{ErrUsed}
}

// serve lets a device join, in a conversation that ends with the invitation.
func (i *Invitation) serve(ctx context.Context, talk func(context.Context) (library.Member, error)) (library.Member, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	i.mu.Lock()
	i.cancel = cancel
	over := i.err
	i.mu.Unlock()
	if over != nil {
		cancel(over) // before there was something to cancel
	}
	return talk(ctx)
}

// free lets the next device try after a failed attempt by code, unless there
// have been too many.
func (i *Invitation) free(err error) {
	if i.p.locked() {
		i.forget()
		i.end(library.Member{}, fmt.Errorf("%w (%w)", ErrLocked, err))
		return
	}
	i.mu.Lock()
	late := i.late
	if !late {
		i.used, i.cancel = false, nil
	}
	i.mu.Unlock()
	if late {
		i.end(library.Member{}, err)
	}
}

func (i *Invitation) converse(ctx context.Context, t *talk) (library.Member, error) {
	var m hello
	if err := t.read(ctx, m.DecodeFrom, stepTime); err != nil {
		return library.Member{}, err
	}
	t.device.Name = text.Plain(m.name)
	if err := i.fits(); err != nil {
		return library.Member{}, err
	}
	if err := t.tell(statusOK); err != nil {
		return library.Member{}, err
	}
	if err := t.agree(ctx, i.cfg.Confirm); err != nil {
		return library.Member{}, err
	}
	return i.welcome(ctx, t)
}

// welcome makes the device a member once it has stored the record.
func (i *Invitation) welcome(ctx context.Context, t *talk) (library.Member, error) {
	w := welcome{Record: i.library.Record(), role: i.cfg.Role}
	known := map[roster.Hash]bool{} // or soon to be
	for _, s := range w.Statements {
		known[s.Hash()] = true
	}
	w.Statements = i.library.FirstStatements()
	w.Name = proto.CutString(w.Name, maxName)
	if err := t.write(&w); err != nil {
		return library.Member{}, err
	}
	var f first
	if err := t.read(ctx, f.DecodeFrom, 2*stepTime); err != nil {
		return library.Member{}, err
	}
	if i.library.Record().Secret != w.Secret {
		return library.Member{}, errors.New("pairing: the library has got a new secret meanwhile; begin again")
	}
	if move, ok := f.Parse(w.Founder).(roster.Move); !ok || move.Node != t.device.Node {
		return library.Member{}, fmt.Errorf("%w: its instance lives on another node", ErrProtocol)
	}
	member, err := i.library.Admit(f.Statement, i.cfg.Role, t.device.Name, i.cfg.Key)
	if err != nil && !errors.Is(err, library.ErrAsked) { // it is a member until a second admin agrees
		return library.Member{}, err
	}
	var news admission
	for _, s := range i.library.Record().Statements {
		if !known[s.Hash()] {
			news.Statements = append(news.Statements, s)
		}
	}
	return member, t.write(&news)
}

// fits returns the reason why nobody can become a member, if there is one,
// before users are asked.
func (i *Invitation) fits() error {
	switch {
	case !i.has():
		return library.ErrRemoved
	case i.library.Role() != library.RoleAdmin:
		return library.ErrNotAdmin
	}
	return nil
}

// ownAddrs returns addresses at which the node may be reached, the likeliest
// first: at most MaxAddrs, of both families if possible. The node listens at
// its addresses, and at others that it does not tell.
func ownAddrs(node *p2p.P2P, listening []netip.AddrPort) []netip.AddrPort {
	for _, l := range node.Listeners() {
		listening = append(listening, l.Addrs...)
	}
	return reach.Look().Addrs(listening, MaxAddrs)
}
