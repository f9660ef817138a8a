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

	// Role is that of the new member. If zero, [library.RoleMember]. If it is to
	// be an admin, the founder has to sign: this device's instance, or Key.
	// Otherwise it becomes a member, and the other admins are asked; see
	// [library.ErrAsked].
	Role library.Role
	// Key is the library's recovery key, if the user has it at hand.
	Key library.RecoveryKey

	// Refused, if not nil, is called for each device that shows a ticket that was
	// used already, at the side where it was: the user should know that two
	// devices have seen it. It must not block.
	Refused func(d Device)

	// Time is how long the invitation stands, by a clock that nobody sets. If
	// zero, [DefaultTime].
	Time time.Duration

	// Addrs are the addresses in the ticket, at most [MaxAddrs], such as a port
	// that a router or a container's host forwards. If nil, those of this host: of
	// the default route first, and of bridges and VPNs last. Loopback and
	// link-local addresses are not among them.
	Addrs []netip.AddrPort
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

	forgotten *time.Timer // when nobody is told any more that it was used

	mu     sync.Mutex // guards what follows
	used   bool
	late   bool                    // its time is over
	cancel context.CancelCauseFunc // of the conversation; nil: there is none
	done   chan struct{}           // closed at the end, when what follows is set
	member library.Member
	err    error
}

// Invite makes a ticket that lets one device join a library. It fails with
// [ErrNotRunning], [ErrTooMany]; with [ErrNotServed] if the node's [p2p.Mux]
// does not serve [Route]; with [library.ErrRemoved] if the library is not one
// of the node's, and with [library.ErrNotAdmin] if this device is no admin of
// it.
func (p *Pairing) Invite(l *library.Library, cfg InviteConfig) (*Invitation, error) {
	return p.invite(l, cfg, false)
}

// InviteByCode lets one device join a library whose user finds this one in the
// list of peers, and compares digits. Only one such invitation may stand; the
// node must not be reached through a relay. It fails as Invite does, and with
// [ErrLocked].
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
		addrs := cfg.Addrs
		if addrs == nil {
			addrs = ownAddrs(scope.Node())
		}
		i.ticket = newTicket(i.node, addrs, time.Now().Add(cfg.Time))
		i.ticket.App, i.ticket.Library = scope.Node().App(), l.ID()
		if i.ticket.Text() == "" {
			return nil, errors.New("pairing: an address of the ticket is not valid")
		}
		i.credential = tunnel.NewCredentialFor(purpose, scope.Identity(), i.ticket.psk())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.invitations) >= MaxInvitations {
		p.tidy()
	}
	switch {
	case p.scope != scope:
		return nil, ErrNotRunning
	case len(p.invitations) >= MaxInvitations || byCode && p.byCode() != nil:
		return nil, ErrTooMany
	case byCode && p.failures.locked():
		return nil, ErrLocked
	}
	p.invitations[i] = struct{}{}
	i.forgotten = time.AfterFunc(cfg.Time, i.expire)
	return i, nil
}

// tidy forgets invitations that are over: nobody is told any more that those
// were used. The caller holds mu.
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

// byCode returns the invitation by code that stands. The caller holds mu.
func (p *Pairing) byCode() *Invitation {
	for i := range p.invitations {
		if i.credential == nil {
			return i
		}
	}
	return nil
}

// Ticket returns the ticket; of an invitation by code, the zero one.
func (i *Invitation) Ticket() Ticket { return i.ticket }

// Wait waits until a device has joined, and returns it as the member that it is
// now. It fails with the reason why none did and none will, or with ctx's
// error.
func (i *Invitation) Wait(ctx context.Context) (library.Member, error) {
	select {
	case <-i.done:
		return i.member, i.err
	case <-ctx.Done():
		return library.Member{}, context.Cause(ctx)
	}
}

// Cancel ends the invitation, also while a device uses it. What is done already
// stays.
func (i *Invitation) Cancel() {
	i.forget() // first: who comes now has not come too late for another one
	i.end(library.Member{}, ErrCancelled)
}

// expire ends the invitation, unless a device uses it: then only the ticket is
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

// end says how it ended, the first time that it is called.
func (i *Invitation) end(m library.Member, err error) {
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

// forget has nobody find the invitation any more.
func (i *Invitation) forget() {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	i.forgotten.Stop()
	delete(i.p.invitations, i)
}

// use uses the invitation up, for the first who comes.
func (i *Invitation) use() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	first := !i.used
	i.used = true
	return first
}

// again tells a device that it was not the first one, and our user that there
// were two.
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

// serve has a device join, in a conversation that ends with the invitation.
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

// free has the next device try, after an attempt by code that failed, unless
// there have been too many.
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

// welcome makes the device a member, once it has kept the record.
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
	if err != nil && !errors.Is(err, library.ErrAsked) { // a member until a second admin agrees
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

// fits says why nobody can become a member, before anybody is asked.
func (i *Invitation) fits() error {
	switch {
	case !i.has():
		return library.ErrRemoved
	case i.library.Role() != library.RoleAdmin:
		return library.ErrNotAdmin
	}
	return nil
}

// ownAddrs returns where the node may be reached, the likeliest first: at most
// MaxAddrs, of both families if there are.
func ownAddrs(node *p2p.P2P) []netip.AddrPort {
	var listening []netip.AddrPort
	for _, l := range node.Listeners() {
		listening = append(listening, l.Addrs...)
	}
	return reach.Look().Addrs(listening, MaxAddrs)
}
