package contact_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/tags"
	"github.com/sdp2p/p2p/quic"
)

// patience bounds how long a test waits; nothing takes that long, not even on a
// busy machine.
const patience = time.Minute

var loopback = netip.MustParseAddr("127.0.0.1")

// A lan lets nodes see what others show, as a discovery does.
type lan struct {
	news  sync.Mutex // held while nodes do not see changes; locked before mu
	mu    sync.Mutex
	nodes []*node
	shown []junction.Shown // everything that was ever shown
}

// A node has contacts, and is on a lan.
type node struct {
	*p2p.P2P
	listener *quic.Listener
	contacts *contact.Contacts
	now      junction.Shown // under lan.mu; zero if it shows nothing
}

// instance returns the instance that others see when a node shows s.
func instance(s junction.Shown) junction.Instance {
	return junction.Instance{
		Label: s.Label, Key: s.Key, Tags: s.Tags, From: loopback,
		Addrs: []netip.AddrPort{netip.AddrPortFrom(loopback, s.At.Port)},
	}
}

// start starts a node in the mode, which the other nodes of the lan see.
func (l *lan) start(t testing.TB, cfg p2p.Config, contacts ...identity.RemoteIdentity) *node {
	t.Helper()
	return l.startWith(t, cfg, quic.Config{DialTimeout: patience}, nil, contacts...)
}

func (l *lan) startWith(t testing.TB, cfg p2p.Config, qc quic.Config, also func() []identity.RemoteIdentity, contacts ...identity.RemoteIdentity) *node {
	t.Helper()
	n := &node{listener: quic.New(qc)}
	n.contacts = contact.New(contact.Config{Listener: n.listener, Also: also})
	require.NoError(t, n.contacts.Set(contacts))
	n.contacts.Veil(true)
	cfg.App = "test"
	cfg.Hooks = append(cfg.Hooks, n.listener, n.contacts)
	var err error
	n.P2P, err = p2p.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, n.Shutdown(ctx))
	})
	l.join(t, n)
	return n
}

// join lets the other nodes see what n shows, and lets n see what they show.
func (l *lan) join(t testing.TB, n *node) {
	l.mu.Lock()
	for _, o := range l.nodes {
		if o.now.Label != "" {
			n.contacts.Seen(instance(o.now))
		}
	}
	l.nodes = append(l.nodes, n)
	l.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			shown, ok, changed := n.contacts.Show()
			l.show(n, shown, ok)
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func (l *lan) show(n *node, shown junction.Shown, ok bool) {
	l.news.Lock()
	defer l.news.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	before := n.now
	n.now = junction.Shown{}
	if ok {
		n.now = shown
		l.shown = append(l.shown, shown)
	}
	if before.Label == n.now.Label {
		return
	}
	for _, o := range l.nodes {
		if before.Label == "" && o.now.Label != "" { // the discovery of n begins
			n.contacts.Seen(instance(o.now))
		}
		if before.Label != "" && o != n {
			o.contacts.Gone(before.Label)
		}
		if ok { // the node sees its own instance, too
			o.contacts.Seen(instance(shown))
		}
	}
}

// unheard calls do while no node sees changes.
func (l *lan) unheard(do func()) {
	l.news.Lock()
	defer l.news.Unlock()
	do()
}

// shows waits until a node shows something.
func shows(t testing.TB, n *node) junction.Shown {
	t.Helper()
	ctx := within(t)
	for {
		shown, ok, changed := n.contacts.Show()
		if ok {
			return shown
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("nothing is shown")
		}
	}
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// until waits until is returns true.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, patience, time.Millisecond, what)
}

// finds waits until n has discovered o and is connected to it.
func (n *node) finds(t testing.TB, o *node) *p2p.Peer {
	t.Helper()
	until(t, "found", func() bool {
		peer, ok := n.Peer(o.Identity())
		return ok && peer.Connected() && len(peer.Info().DiscoveredBy) > 0
	})
	peer, _ := n.Peer(o.Identity())
	return peer
}

// pair starts two nodes that are contacts of each other.
func pair(t testing.TB, l *lan, a, b p2p.Config) (*node, *node) {
	t.Helper()
	a.Identity, b.Identity = identity.New(), identity.New()
	return l.start(t, a, b.Identity.Remote()), l.start(t, b, a.Identity.Remote())
}

// echo answers with the bytes that it reads.
func echo(_ context.Context, s *p2p.Stream) error {
	_, err := io.Copy(s, s)
	return err
}

// says opens a stream to a peer, sends text, and returns the answer.
func says(t testing.TB, peer *p2p.Peer, text string) string {
	t.Helper()
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	defer s.Close()
	_, err = io.WriteString(s, text)
	require.NoError(t, err)
	require.NoError(t, s.CloseWrite())
	b, err := io.ReadAll(s)
	require.NoError(t, err)
	return string(b)
}

// A deaf listener has no network: it only records its calls.
type deaf struct {
	mu       sync.Mutex
	kept     []bool // for each change of the key, whether the former key is kept
	dialed   []netip.AddrPort
	when     []time.Time
	answers  map[netip.AddrPort]bool
	slow     chan struct{} // attempts end when it is closed; if nil, at once
	cut      []identity.RemoteIdentity
	moves    []uint16
	contacts *contact.Contacts
	scope    *p2p.Scope
}

func (d *deaf) Name() string { return "deaf" }

func (d *deaf) Run(ctx context.Context, s *p2p.Scope) error {
	d.mu.Lock()
	d.scope = s
	d.mu.Unlock()
	s.Ready()
	<-ctx.Done()
	return nil
}

func (d *deaf) Dial(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
	return nil, errors.New("deaf")
}

func (d *deaf) Veiled() junction.Veiled { return d }

func (d *deaf) Veil(v junction.Veil) {
	if v != nil {
		v.Mask()
		v.Listens(junction.Socket{Port: 4711, IPv4: true, IPv6: true})
	}
}

func (d *deaf) Move(port uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.moves = append(d.moves, port)
}

func (d *deaf) Rotate(_ identity.Identity, keep bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = append(d.kept, keep)
}

func (d *deaf) Invite(identity.Identity, func(context.Context, junction.Meeting) (identity.RemoteIdentity, error)) (port uint16, over func(), ok bool) {
	return 0, nil, false
}

func (d *deaf) Visit(_, _ identity.RemoteIdentity, _ func(context.Context, junction.Meeting) error) (over func()) {
	return func() {}
}

func (d *deaf) Cut(id identity.RemoteIdentity) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = append(d.cut, id)
}

func (d *deaf) Connect(_ context.Context, _ identity.RemoteIdentity, at []netip.AddrPort) error {
	if d.slow != nil {
		<-d.slow
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dialed, d.when = append(d.dialed, at...), append(d.when, time.Now())
	if !d.answers[at[0]] {
		return errors.New("deaf")
	}
	return nil
}

func (d *deaf) dials() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.dialed)
}

// alone starts a node with a deaf listener in a bubble.
func alone(t *testing.T, id identity.Identity, contacts ...identity.RemoteIdentity) (*p2p.P2P, *deaf) {
	t.Helper()
	d := &deaf{answers: map[netip.AddrPort]bool{}}
	d.contacts = contact.New(contact.Config{Listener: d})
	require.NoError(t, d.contacts.Set(contacts))
	d.contacts.Veil(true)
	n, err := p2p.Start(t.Context(), p2p.Config{App: "test", Identity: id, Hooks: []p2p.Hook{d, d.contacts}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Shutdown(context.Background())) })
	return n, d
}

// announced returns what a contact announces now.
func announced(t *testing.T, by identity.Identity, to identity.RemoteIdentity, label, at string) junction.Instance {
	t.Helper()
	return announcedAhead(t, 0, by, to, label, at)
}

// announcedAhead returns what a contact announces whose clock is ahead.
func announcedAhead(t *testing.T, ahead time.Duration, by identity.Identity, to identity.RemoteIdentity, label, at string) junction.Instance {
	t.Helper()
	set, err := tags.NewSet(by, []identity.RemoteIdentity{to}, nil)
	require.NoError(t, err)
	key := identity.New().Remote()
	addr := netip.MustParseAddrPort(at)
	return junction.Instance{Label: label, Key: key, Tags: set.Tags(tags.Epoch(time.Now().Add(ahead)), key), Addrs: []netip.AddrPort{addr}, From: addr.Addr()}
}

func (n *node) addr(t testing.TB) netip.AddrPort {
	port, ok := n.listener.Port()
	require.True(t, ok)
	return netip.AddrPortFrom(loopback, port)
}

func connected(n *p2p.P2P, to identity.RemoteIdentity) bool {
	peer, ok := n.Peer(to)
	return ok && peer.Connected()
}
