package quic

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	tpt "github.com/libp2p/go-libp2p/core/transport"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/carrier"
	"github.com/sdp2p/p2p/internal/junction"
)

// A veil belongs to an endpoint that reveals the node's identity only to its
// contacts. Connections from and to the local network have a mask: an ephemeral
// key and its certificate. The node's own certificate is used only in circuits
// and towards relays, where no host of the local network can read it.
//
// All masks share one listener. The certificate of a new mask replaces the
// previous one, which dials under way can still request by name.
type veil struct {
	contacts junction.Veil
	protocol string // of the check for contacts
	checks   checks

	mu    sync.Mutex
	masks []*mask   // the present one first, then previous ones
	until time.Time // until when the previous one is valid

	invitations []*invitation
}

const (
	maskTime = 60 * time.Second // validity of a mask after it was replaced
	maxMasks = 4                // masks kept for connections in progress
)

// A mask is an ephemeral key.
type mask struct {
	key  identity.RemoteIdentity
	name string // see serverName
	tls  *libp2ptls.Identity
	own  []tls.Certificate
}

// serverName returns the name with which a dialer requests a mask: the first
// half of a fingerprint of its key, which everybody on the network can read
// anyway.
func serverName(key identity.RemoteIdentity) string {
	b := key.Bytes()
	sum := sha256.Sum256(b[:])
	return hex.EncodeToString(sum[:8])
}

// newMask returns a mask with a new certificate for a key.
func newMask(key identity.Identity) (*mask, error) {
	private, err := crypto.UnmarshalEd25519PrivateKey(key.PrivateKey())
	if err != nil {
		return nil, err
	}
	template, err := certificateTemplate()
	if err != nil {
		return nil, err
	}
	id, err := libp2ptls.NewIdentity(private, libp2ptls.WithCertTemplate(template))
	if err != nil {
		return nil, err
	}
	conf, _ := id.ConfigForPeer("")
	return &mask{key: key.Remote(), name: serverName(key.Remote()), tls: id, own: conf.Certificates}, nil
}

// checkProtocol returns the protocol with which two nodes check whether they
// are contacts.
func checkProtocol(app string) string { return "/" + app + "/contact/1" }

// newVeil returns an endpoint's veil, whose first mask is that of its socket.
func newVeil(contacts junction.Veil, app string) (*veil, error) {
	v := &veil{contacts: contacts, protocol: checkProtocol(app)}
	return v, v.rotate(contacts.Mask(), false)
}

// rotate replaces the mask. If keep is true, the previous one stays valid for
// [maskTime].
func (v *veil) rotate(key identity.Identity, keep bool) error {
	m, err := newMask(key)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.masks = append([]*mask{m}, v.masks[:min(len(v.masks), maxMasks-1)]...)
	v.until = time.Time{}
	if keep {
		v.until = time.Now().Add(maskTime)
	}
	return nil
}

// now returns the present mask.
func (v *veil) now() *mask {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.masks[0]
}

// asked returns the mask for a handshake that requests a name.
func (v *veil) asked(name string) *mask {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.masks) > 1 && v.masks[1].name == name && time.Now().Before(v.until) {
		return v.masks[1]
	}
	if i := v.invitedLocked(name); i != nil {
		return i.mask
	}
	return v.masks[0]
}

// worn returns the mask under which a connection was made that requested a
// name.
func (v *veil) worn(name string) (*mask, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if i := v.invitedLocked(name); i != nil {
		return i.mask, true
	}
	i := slices.IndexFunc(v.masks, func(m *mask) bool { return m.name == name })
	if i < 0 {
		return nil, false
	}
	return v.masks[i], true
}

// listen returns a TLS configuration for listening that replaces own, which is
// used only for circuits.
func (v *veil) listen(own *tls.Config) *tls.Config {
	conf := own.Clone()
	conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if inCircuit(hello.Conn.RemoteAddr()) {
			return own.GetConfigForClient(hello)
		}
		conf, _ := v.asked(hello.ServerName).tls.ConfigForPeer("")
		return conf, nil
	}
	return conf
}

// A disguise is a part of a dial's context: the mask under which it is made,
// and the key that is requested.
type disguise struct {
	mask  *mask // nil towards a host that shows its identity
	key   identity.RemoteIdentity
	visit *visit // nil for a contact
}

type disguiseKey struct{}

// dial returns a TLS configuration for dialing that replaces own, which reveals
// this node's identity. v may be nil.
func (v *veil) dial(ctx context.Context, own *tls.Config) *tls.Config {
	d, ok := ctx.Value(disguiseKey{}).(disguise)
	if ok && d.mask == nil || !ok && v == nil {
		return own
	}
	conf := own.Clone()
	if !ok {
		d.mask = v.now() // never the node's own
	} else {
		conf.ServerName = serverName(d.key)
	}
	conf.Certificates = d.mask.own
	return conf
}

// A hiding holds the functions of the listener that need contacts. They are
// called through it, so that a program without contacts does not link them.
type hiding struct {
	veil        func(contacts junction.Veil, app string) (*veil, error)
	listen      func(v *veil, own *tls.Config) *tls.Config
	dial        func(v *veil, ctx context.Context, own *tls.Config) *tls.Config
	conceal     func(e *endpoint, ctx context.Context, addr netip.Addr, to identity.RemoteIdentity) (*disguise, error)
	present     func(e *endpoint, ctx context.Context, tc tpt.CapableConn, d *disguise, to identity.RemoteIdentity) (tpt.CapableConn, error)
	receive     func(e *endpoint, tc tpt.CapableConn)
	listens     func(e *endpoint)
	whereabouts func(e *endpoint, next time.Time) site
	endStranded func(e *endpoint)
}

// hides returns the hiding; nil if the program has no contacts.
func (l *Listener) hides() *hiding {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hiding
}

// Candid reports whether the peer may learn this node's addresses: if the node
// is visible only to its contacts, only they may.
func (c *conn) Candid() bool {
	v := c.endpoint.veil
	return v == nil || v.contacts.Has(c.id)
}

// listens tells package contact where the node listens.
func (e *endpoint) listens() {
	e.mu.Lock()
	at := junction.Socket{Port: e.port, IPv4: !e.disabled.ipv4, IPv6: !e.disabled.ipv6}
	e.mu.Unlock()
	e.veil.contacts.Listens(at)
}

// inCircuit reports whether an address leads into a circuit.
func inCircuit(addr net.Addr) bool {
	udp, ok := addr.(*net.UDPAddr)
	return ok && carrier.IsVirtual(udp.AddrPort().Addr())
}

// veiled reports whether the node hides its identity towards an address.
func (e *endpoint) veiled(ctx context.Context, addr netip.Addr) bool {
	return e.veil != nil && ctx.Value(relayKey{}) == nil && !carrier.IsVirtual(addr)
}

// conceal returns the disguise for dialing a peer; nil if the node shows its
// identity.
func (e *endpoint) conceal(ctx context.Context, addr netip.Addr, to identity.RemoteIdentity) (*disguise, error) {
	if v := e.visiting(to); v != nil && ctx.Value(relayKey{}) == nil && !carrier.IsVirtual(addr) {
		return &disguise{v.mask, v.key, v}, nil
	}
	if !e.veiled(ctx, addr) {
		return nil, nil
	}
	key, ok := e.veil.contacts.Key(to)
	if !ok {
		return nil, ErrVeiled
	}
	return &disguise{e.veil.now(), key, nil}, nil
}

// ErrVeiled says that this node is visible only to its contacts, and that the
// peer is not a contact that was found.
var ErrVeiled = errors.New("quic: this node is visible only to its contacts, and the peer is not one that was found here")

// A cover is the listener as seen by package contact.
type cover struct{ listener *Listener }

// Veiled is for package contact.
func (l *Listener) Veiled() junction.Veiled {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hiding = &hiding{
		veil: newVeil, listen: (*veil).listen, dial: (*veil).dial,
		conceal: (*endpoint).conceal, present: (*endpoint).present, receive: (*endpoint).receive, listens: (*endpoint).listens,
		whereabouts: (*endpoint).whereabouts, endStranded: (*endpoint).endStranded,
	}
	return cover{l}
}

// Veil implements [junction.Veiled].
func (c cover) Veil(v junction.Veil) {
	l := c.listener
	l.mu.Lock()
	l.veil = v
	run := l.run
	l.mu.Unlock()
	if run != nil {
		run.end()
	}
}

// Rotate implements [junction.Veiled].
func (c cover) Rotate(key identity.Identity, keep bool) {
	e := c.listener.running()
	if e == nil || e.veil == nil {
		return
	}
	if err := e.veil.rotate(key, keep); err != nil {
		e.log.Error("no certificate could be made", "cause", err)
	}
}

// Move implements [junction.Veiled].
func (c cover) Move(port uint16) {
	if e := c.listener.running(); e != nil && e.veil != nil && e.port == port {
		select {
		case e.told <- struct{}{}:
		default:
		}
	}
}

// Connect implements [junction.Veiled].
func (c cover) Connect(ctx context.Context, contact identity.RemoteIdentity, at []netip.AddrPort) error {
	return seam(c).Connect(ctx, contact, at)
}

// Cut implements [junction.Veiled].
func (c cover) Cut(id identity.RemoteIdentity) {
	for _, e := range c.listener.endpoints() {
		for _, conn := range e.all() {
			if e.veil != nil && conn.id == id {
				e.start(func() { conn.Close() })
			}
		}
	}
}

// nameOf returns the name that a dialer has requested.
func nameOf(q *quicgo.Conn) string { return q.ConnectionState().TLS.ServerName }
