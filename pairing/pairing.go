package pairing

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

const (
	// Route is the node's route for devices with a ticket.
	Route = "sdp2p/pair"
	// CodeRoute is the node's route for devices without a ticket, whose users
	// compare digits.
	CodeRoute = "sdp2p/pair-code"

	// DefaultTime is how long an invitation stands.
	DefaultTime = 10 * time.Minute
	// ConfirmTime is how long a user has to say yes.
	ConfirmTime = 2 * time.Minute
	// MaxInvitations is the number of invitations that may stand on one node.
	MaxInvitations = 16

	stepTime = 10 * time.Second // for each step that waits for a program, not for people
)

var (
	purpose  = [16]byte([]byte("sdp2p-pairing-v1"))
	inviting = [16]byte([]byte("sdp2p-invited-v1")) // the purpose of a guest's check, see package contact
)

// Errors of invitations and of joining.
var (
	// ErrExpired says that no device came in time, or that the ticket is too
	// old by this device's clock.
	ErrExpired = errors.New("pairing: the invitation has expired; make a new one")
	// ErrUsed says that another device has used the ticket. If that device is
	// not the user's, somebody has seen the ticket.
	ErrUsed = errors.New("pairing: the ticket was used by another device; decline there, and make a new one")
	// ErrRefused says that the other device does not know the ticket, or no
	// longer does. It gives no reason.
	ErrRefused = errors.New("pairing: the other device refused the ticket: it was withdrawn, has expired, or is not from there; make a new one")
	// ErrCanceled says that the invitation was canceled.
	ErrCanceled = errors.New("pairing: the invitation was canceled")
	// ErrDeclined says that the user of this device said no.
	ErrDeclined = errors.New("pairing: declined")
	// ErrPeerDeclined says that the user of the other device said no.
	ErrPeerDeclined = errors.New("pairing: declined on the other device")
	// ErrNoAnswer says that one of the users did not answer within
	// [ConfirmTime].
	ErrNoAnswer = errors.New("pairing: one of the devices got no answer from its user within 2 minutes; begin again")
	// ErrPeerFailed says that the other device could not complete the pairing.
	// The error there says why.
	ErrPeerFailed = errors.New("pairing: failed on the other device, which says why")
	// ErrUnfinished says that the connection was lost before both devices were
	// done. Neither may rely on the other: begin again.
	ErrUnfinished = errors.New("pairing: the connection was lost before both devices were done; begin again")
	// ErrProtocol says that the other device violated the protocol, or speaks a
	// version that this package does not know.
	ErrProtocol = errors.New("pairing: the other device does not speak this version of pairing")
	// ErrLocked says that pairing by code has failed three times, and is
	// refused for 10 minutes.
	ErrLocked = errors.New("pairing: three attempts by code have failed; wait 10 minutes, or use a ticket")
	// ErrTooMany says that no further invitation may stand.
	ErrTooMany = fmt.Errorf("pairing: more than %d invitations", MaxInvitations)
	// ErrBusy says that this device is already pairing with the other one.
	ErrBusy = errors.New("pairing: this device is already pairing with the other one")
	// ErrNotServed says that the node does not serve the route that joining
	// devices use.
	ErrNotServed = errors.New("pairing: the node's handler does not serve pairing; register it")
	// ErrOtherApp says that the ticket is from another app.
	ErrOtherApp = errors.New("pairing: the ticket is from another app")
	// ErrNotRunning says that the hook is not registered with a node.
	ErrNotRunning = errors.New("pairing: the hook is not running")
)

// A Config describes the hook.
type Config struct {
	// Libraries are the libraries of the same node. Required.
	Libraries *library.Libraries

	// Contacts are the contacts of the same node, from package contact. They
	// are needed to pair while this node or the other one is visible to
	// contacts only.
	Contacts Contacts
}

// Contacts is what [New] of package contact returns: *[contact.Contacts].
//
// [New]: https://pkg.go.dev/github.com/sdp2p/p2p/contact#New
// [contact.Contacts]: https://pkg.go.dev/github.com/sdp2p/p2p/contact#Contacts
type Contacts interface{ junction.Guests }

// A Device is the other one, for its user to recognize.
type Device struct {
	Node identity.RemoteIdentity
	Name string // chosen by the device; it proves nothing
	Code string // six digits, the same on both devices if nobody stands in between
}

// A ConfirmFunc asks the user whether the device is the right one, which shows
// the same digits. It is called in a goroutine of its own. ctx is done when the
// answer no longer matters: the other device's user has declined, the
// connection is lost, or [ConfirmTime] is over. A panic counts as a refusal.
type ConfirmFunc func(ctx context.Context, d Device) bool

// Pairing is a [p2p.Hook] with which a node invites others to its libraries and
// joins theirs, and the [p2p.Handler] of [Route] and [CodeRoute]. Its methods
// may be called concurrently.
type Pairing struct {
	libraries *library.Libraries
	contacts  Contacts // nil: the node is visible to all
	responder *tunnel.Responder

	mu          sync.Mutex      // guards what follows
	scope       *p2p.Scope      // nil while it does not run
	run         context.Context // of the hook, while it runs
	invitations map[*Invitation]struct{}
	arriving    map[[32]byte]*arrival // nodes that may be about to prove themselves, by the key they would use
	joining     map[identity.RemoteIdentity]*joining
	failures    attempts
}

// A joining is a call of Join or JoinByCode that is under way.
type joining struct{ byTicket bool }

var (
	_ p2p.Voucher = (*Pairing)(nil)
	_ p2p.Handler = (*Pairing)(nil)
)

// New makes a hook to be registered with the node of cfg.Libraries. It panics
// if there are none.
func New(cfg Config) *Pairing {
	if cfg.Libraries == nil {
		panic("pairing: Config.Libraries is required")
	}
	p := &Pairing{
		libraries: cfg.Libraries, contacts: cfg.Contacts, invitations: map[*Invitation]struct{}{},
		arriving: map[[32]byte]*arrival{}, joining: map[identity.RemoteIdentity]*joining{},
	}
	p.responder = tunnel.NewResponder((*directory)(p), tunnel.Limits{SayBusy: true})
	return p
}

// Name returns "pairing".
func (p *Pairing) Name() string { return "pairing" }

// Run lets the node invite and join until ctx is done. Then it ends invitations
// and conversations.
func (p *Pairing) Run(ctx context.Context, s *p2p.Scope) error {
	p.mu.Lock()
	if p.scope != nil {
		p.mu.Unlock()
		return errors.New("pairing: the hook runs already")
	}
	p.scope, p.run = s, ctx
	p.mu.Unlock()
	s.Ready()
	<-ctx.Done()
	p.mu.Lock()
	p.scope = nil
	p.mu.Unlock()
	for _, i := range p.standing() {
		i.forget()
		i.end(library.Member{}, ErrNotRunning)
	}
	return nil
}

// Speaks returns 2 for a node whose ticket this one is using, since only nodes
// that speak version 2 make tickets; otherwise 0.
func (p *Pairing) Speaks(id identity.RemoteIdentity) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if j := p.joining[id]; j != nil && j.byTicket {
		return 2
	}
	return 0
}

// running returns the scope of the hook, or nil while it does not run.
func (p *Pairing) running() *p2p.Scope {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.scope
}

// standing returns the invitations.
func (p *Pairing) standing() (all []*Invitation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.invitations {
		all = append(all, i)
	}
	return all
}

// ServeStream serves a stream of [Route] or [CodeRoute].
func (p *Pairing) ServeStream(ctx context.Context, s *p2p.Stream) error {
	scope := p.running()
	if scope == nil {
		return fmt.Errorf("%w: %w", p2p.ErrShuttingDown, ErrNotRunning)
	}
	if s.Route() == CodeRoute {
		return p.serveCode(ctx, scope, s)
	}
	return p.serveTicket(ctx, scope, s)
}

// served ends the conversation of a stream that is served. An error that the
// other side was told must not be followed by a reset, which may overtake it.
func (t *talk) served(scope *p2p.Scope, err error) error {
	if err = t.finish(err); err != nil {
		scope.Logger().Info("no pairing", "peer", t.device.Node, "cause", err)
	}
	if t.closed {
		return nil
	}
	return err
}

// serveTicket waits for a tunnel from a node that has a ticket.
func (p *Pairing) serveTicket(ctx context.Context, scope *p2p.Scope, s *p2p.Stream) error {
	session, err := library.Session(scope.Node(), s)
	if err != nil {
		return fmt.Errorf("%w: %w", p2p.ErrTunnelRefused, err)
	}
	defer p.arrive(session.Remote)()
	c, err := p.responder.Accept(ctx, session)
	if err != nil {
		return fmt.Errorf("%w: %w", p2p.ErrTunnelRefused, err)
	}
	t := inTunnel(c, scope)
	t.due = true
	return t.served(scope, p.admit(ctx, c.Credential(), t))
}

// inTunnel returns the conversation in a tunnel.
func inTunnel(c *tunnel.Conn, scope *p2p.Scope) *talk {
	hash := c.HandshakeHash()
	end := func() error {
		err := c.Close()
		<-c.Done()
		return err
	}
	return &talk{
		conn: c, close: end, abort: c.Abort, name: nameOf(scope), log: scope.Logger(),
		device: Device{Node: c.Node(), Code: digits(hash[:], nil, pairingCode)},
	}
}

// An arrival is a node that may be about to prove itself.
type arrival struct {
	node    identity.RemoteIdentity
	streams int
}

// arrive lets a node prove itself with its own key until leave is called. Of
// two nodes with the same key in a tunnel, A and −A, the second is refused
// while the first is there.
func (p *Pairing) arrive(node identity.RemoteIdentity) (leave func()) {
	u, err := node.X25519()
	if err != nil {
		return func() {}
	}
	key := [32]byte(u.Bytes())
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.arriving[key]
	if a == nil {
		a = &arrival{node: node}
		p.arriving[key] = a
	}
	a.streams++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if a.streams--; a.streams == 0 {
			delete(p.arriving, key)
		}
	}
}

// admit lets in a device that has proved to know a ticket, if it is the first.
func (p *Pairing) admit(ctx context.Context, with *tunnel.Credential, t *talk) error {
	for _, i := range p.standing() {
		if i.credential == with {
			if i.use() {
				m, err := i.serve(ctx, func(ctx context.Context) (library.Member, error) { return i.converse(ctx, t) })
				i.end(m, err)
				return err
			}
			return i.again(ctx, t)
		}
	}
	return ErrExpired // the ticket was forgotten since the first message
}

// directory tells the responder whom to accept.
type directory Pairing

// Credentials returns the credentials of all tickets that are not forgotten,
// including used ones.
func (d *directory) Credentials() (all []*tunnel.Credential) {
	for _, i := range (*Pairing)(d).standing() {
		if i.credential != nil {
			all = append(all, i.credential)
		}
	}
	return all
}

// Member returns the node itself: any node that knows the ticket is welcome,
// under its own key.
func (d *directory) Member(_ *tunnel.Credential, key [32]byte) (tunnel.Member, bool) {
	p := (*Pairing)(d)
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.arriving[key]
	if a == nil {
		return tunnel.Member{}, false
	}
	return tunnel.Member{Instance: a.node, Node: a.node}, true
}

// Knows returns false: they are all strangers.
func (d *directory) Knows(identity.RemoteIdentity) bool { return false }

// Allow returns true: the app was asked when the stream arrived.
func (d *directory) Allow(context.Context, uuid.UUID, tunnel.Member) bool { return true }

func nameOf(scope *p2p.Scope) string {
	return proto.CutString(scope.Node().Metadata()["name"], maxName)
}
