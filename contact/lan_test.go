package contact_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
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
