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
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

// An InviteConfig describes an invitation. Only Confirm is required.
type InviteConfig struct {
	// Confirm asks the user of this device.
	Confirm ConfirmFunc

	// Refused, if not nil, is called for each device that shows a ticket that was used already, at the side where it was:
	// the user should know that two devices have seen it. It must not block.
	Refused func(d Device)

	// Time is how long the invitation stands, by a clock that nobody sets. If zero, [DefaultTime].
	Time time.Duration

	// Addrs are the addresses in the ticket, at most [MaxAddrs], such as a port that a router or a container's host forwards.
	// If nil, those of this host: of the default route first, and of bridges and VPNs last. Loopback and link-local addresses
	// are not among them.
	Addrs []netip.AddrPort
}

// An Invitation stands until a device has used it, or it expires or is cancelled. Its methods may be called concurrently.
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

// Invite makes a ticket that lets one device join a library. It fails with [ErrNotRunning], [ErrTooMany], or
// [library.ErrRemoved] where the library is not one of the node's.
func (p *Pairing) Invite(l *library.Library, cfg InviteConfig) (*Invitation, error) {
	return p.invite(l, cfg, false)
}

// InviteByCode lets one device join a library whose user finds this one in the list of peers, and compares digits. Only one such
// invitation may stand; the node must not be reached through a relay. It fails as Invite does, and with [ErrLocked].
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
	scope := p.running()
	if scope == nil {
		return nil, ErrNotRunning
	}
	i := &Invitation{p: p, library: l, cfg: cfg, node: scope.Node().Identity(), done: make(chan struct{})}
	if !i.has() {
		return nil, library.ErrRemoved
	}
	if !byCode {
		addrs := cfg.Addrs
		if addrs == nil {
			addrs = ownAddrs(scope.Node())
		}
		i.ticket = newTicket(i.node, addrs, time.Now().Add(cfg.Time))
		if i.ticket.String() == "" {
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

// tidy forgets invitations that are over: nobody is told any more that those were used. The caller holds mu.
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

// Wait waits until a device has joined, and returns it as the member that it is now. It fails with the reason why none did
// and none will, or with ctx's error.
func (i *Invitation) Wait(ctx context.Context) (library.Member, error) {
	select {
	case <-i.done:
		return i.member, i.err
	case <-ctx.Done():
		return library.Member{}, context.Cause(ctx)
	}
}

// Cancel ends the invitation, also while a device uses it. What is done already stays.
func (i *Invitation) Cancel() {
	i.forget() // first: who comes now has not come too late for another one
	i.end(library.Member{}, ErrCancelled)
}

// expire ends the invitation, unless a device uses it: then only the ticket is forgotten.
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

// again tells a device that it was not the first one, and our user that there were two.
func (i *Invitation) again(ctx context.Context, t *talk) error {
	var m hello
	if err := t.read(ctx, m.DecodeFrom, stepTime); err != nil {
		return err
	}
	t.device.Name = plain(m.name)
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

// free has the next device try, after an attempt by code that failed, unless there have been too many.
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
	t.device.Name = plain(m.name)
	member := library.Member{Instance: m.instance, Node: t.device.Node, Name: t.device.Name}
	if err := i.fits(member); err != nil {
		return library.Member{}, err
	}
	if err := t.tell(statusOK); err != nil {
		return library.Member{}, err
	}
	if err := t.agree(ctx, i.cfg.Confirm); err != nil {
		return library.Member{}, err
	}
	member.Since = time.Now().Unix()
	record := i.library.RecordFor(member)
	record.Name = proto.CutString(record.Name, maxName)
	w := welcome(record)
	if err := t.write(&w); err != nil {
		return library.Member{}, err
	}
	if err := t.hear(ctx, 2*stepTime); err != nil { // or else it has kept the record
		return library.Member{}, err
	}
	if i.library.Record().Secret != record.Secret {
		return library.Member{}, errors.New("pairing: the library has got a new secret meanwhile; begin again")
	}
	if err := i.library.AddMember(member); err != nil {
		return library.Member{}, err
	}
	return member, t.tell(statusOK)
}

// fits says why a device cannot become a member, before anybody is asked. It says itself what its instance is; so it must not
// take the place of another device's.
func (i *Invitation) fits(m library.Member) error {
	if !i.has() {
		return library.ErrRemoved
	}
	r := i.library.Record()
	if o, ok := r.Member(m.Instance); ok && o.Node != m.Node {
		return fmt.Errorf("pairing: the device says that it has the instance of member %q, which lives on another node; remove that one first", o.Name)
	}
	others := r.Members[:0]
	for _, o := range r.Members {
		if o.Node != m.Node {
			others = append(others, o)
		}
	}
	r.Members = append(others, m)
	return r.Validate(i.library.Instance(), i.node)
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
