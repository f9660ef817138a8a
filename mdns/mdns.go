package mdns

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/junction"
)

// A Mode says who can find this node on the local network.
type Mode uint8

const (
	Enabled  Mode = iota // everybody sees the node and its metadata
	Disabled             // announcements are withdrawn, and then nothing is sent or received

	// ContactsOnly makes the node visible only to contacts that also have it as
	// a contact. Everybody sees that somebody uses the app. See
	// [Config.Contacts].
	ContactsOnly
)

// String returns the mode's name.
func (m Mode) String() string {
	switch m {
	case Enabled:
		return "enabled"
	case Disabled:
		return "disabled"
	case ContactsOnly:
		return "contacts only"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// A Config tunes a [Discovery]. The zero value announces and browses on every
// interface that is up and supports multicast.
type Config struct {
	// Mode is the mode to start in.
	Mode Mode

	// Contacts are the node's contacts, from package contact. They are required
	// in the mode [ContactsOnly]: without them, the discovery ends with
	// [ErrNoContacts].
	Contacts Contacts

	// Interfaces are the names of the network interfaces to use, which may come
	// and go; those that do not exist at the start are logged. If empty, all
	// that are up and support multicast are used, except loopback and
	// point-to-point interfaces and ports of bridges, which must be named.
	Interfaces []string

	// Conflict, if not nil, is called with the address of another node that
	// announces this node's identity and has its key, and with an invalid
	// address when that is over. See [Discovery.Conflict]. It must not block.
	Conflict func(other netip.Addr)

	network dnssd.Network // for tests; nil: real sockets
}

// A Discovery is a [p2p.Hook] that discovers peers by Multicast DNS. Its
// methods may be called concurrently, whether it runs or not.
type Discovery struct {
	cfg      Config
	counters dnssd.Counters
	missing  dnssd.Silence // of the engine that runs

	mu      sync.Mutex
	mode    Mode
	changed chan struct{} // closed when mode is set
	engine  *dnssd.Engine // nil while none runs
	silent  bool          // it was logged that there is nothing to announce
}

var _ p2p.Reconfirmer = (*Discovery)(nil)

// New returns a discovery, to be registered with one node. In the mode
// [ContactsOnly], the listeners of the contacts hide the node's identity from
// now on.
func New(cfg Config) *Discovery {
	d := &Discovery{cfg: cfg, mode: cfg.Mode, changed: make(chan struct{})}
	d.veil(cfg.Mode)
	return d
}

// Name returns "mdns".
func (d *Discovery) Name() string { return "mdns" }

// Mode returns the mode that was set last.
func (d *Discovery) Mode() Mode {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mode
}

// SetMode switches the mode. It returns at once; goodbyes and announcements
// follow, and listeners begin to hide or show the node's identity between the
// two.
func (d *Discovery) SetMode(m Mode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m == d.mode {
		return
	}
	d.mode = m
	close(d.changed)
	d.changed = make(chan struct{})
}

// Conflict reports whether another node on the local network announces this
// node's identity, and returns its address: the same key is in use twice, most
// often because it was copied to another device. Peers then see only one of the
// two. A host that announces the identity without having the key is not a
// conflict and does no harm: it would have to prove the key to one of the
// node's listeners (see [p2p.Prober]; if there is none, it is believed).
func (d *Discovery) Conflict() (netip.Addr, bool) {
	if e := d.running(); e != nil {
		return e.Conflict()
	}
	return netip.Addr{}, false
}

// Reconfirm checks whether a peer that could not be reached is still there; if
// not, the peer expires after 10 s (RFC 6762 §10.4). The node calls it when a
// connection to a peer failed.
func (d *Discovery) Reconfirm(id identity.RemoteIdentity) {
	if e := d.running(); e != nil {
		e.Reconfirm(id.String())
	}
}

func (d *Discovery) running() *dnssd.Engine {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.engine
}

// Run discovers and announces until ctx is done.
func (d *Discovery) Run(ctx context.Context, s *p2p.Scope) error {
	for ctx.Err() == nil {
		d.mu.Lock()
		mode, changed := d.mode, d.changed
		d.mu.Unlock()
		d.veil(mode)
		switch mode {
		case Enabled:
			if err := d.enabled(ctx, s, changed); err != nil {
				return err
			}
		case ContactsOnly:
			if err := d.contactsOnly(ctx, s, changed); err != nil {
				return err
			}
		default:
			s.Ready()
			select {
			case <-ctx.Done():
			case <-changed:
			}
		}
	}
	return nil
}

// enabled runs an engine until ctx is done or changed is closed.
func (d *Discovery) enabled(ctx context.Context, s *p2p.Scope, changed <-chan struct{}) error {
	s.Announces(true)
	defer s.Announces(false)
	node := s.Node()
	seen := newSightings(s)
	defer seen.end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	proofs := &proofs{scope: s, ctx: ctx}
	engine, err := dnssd.New(d.config(s, seen, proofs))
	if err != nil {
		return fmt.Errorf("mdns: %w", err)
	}
	d.setEngine(engine)
	defer d.setEngine(nil)

	defer d.heedSilence(ctx, node, s.Logger())()
	var announcing sync.WaitGroup
	announcing.Go(func() {
		defer cancel()
		announce(ctx, node, engine, seen, changed, s.Logger())
	})
	err = engine.Run(ctx)
	cancel()
	announcing.Wait()
	proofs.tasks.Wait()
	if err != nil {
		return fmt.Errorf("mdns: %w", err)
	}
	return nil
}

// config returns the configuration of an engine that reports what it finds to
// seen.
func (d *Discovery) config(s *p2p.Scope, seen *sightings, proofs *proofs) dnssd.Config {
	cfg := d.engineConfig(s)
	cfg.Host = func(_, iface string) string { return s.Identity().HostName(iface) }
	cfg.Found, cfg.Lost, cfg.Keep = seen.found, seen.lost, seen.wanted
	cfg.Conflict = func(_ string, other netip.Addr) {
		if d.cfg.Conflict != nil {
			d.cfg.Conflict(other)
		}
	}
	cfg.Probe, cfg.Connected = proofs.probe, proofs.connected
	cfg.Admit = func(label string) bool { return !junction.IsLabel(label) }
	return cfg
}

func (d *Discovery) setEngine(e *dnssd.Engine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.engine = e
}

// announce keeps the published services, and the set of found peers that can be
// dialed, in step with the node, until ctx is done or changed is closed.
func announce(ctx context.Context, node *p2p.P2P, engine *dnssd.Engine, seen *sightings, changed <-chan struct{}, log *slog.Logger) {
	events := node.Subscribe()
	defer events.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			return
		case event, ok := <-events.C:
			if !ok {
				return
			}
			switch event := event.(type) {
			case p2p.PeerConnectedWith:
				if at := metAt(event.Peer); at.IsValid() {
					engine.Met(event.Peer.String(), at)
				}
			case p2p.PeerDisconnectedWith:
				engine.Met(event.Peer.String(), netip.AddrPort{})
			case p2p.Resync, p2p.MetadataModified, p2p.ListenerAddrAdded, p2p.ListenerAddrRemoved:
				seen.review()
				services, err := services(node)
				if err == nil {
					err = engine.Publish(services...)
				}
				if err != nil {
					log.Error("the node is not announced", "cause", err)
					engine.Withdraw()
				}
			}
		}
	}
}
