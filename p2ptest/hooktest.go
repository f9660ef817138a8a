package p2ptest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A HookTest is a conformance test for hooks: it tests whether they keep the
// contracts of [p2p.Hook] and, if they are listeners, of [p2p.Listener]. Only
// New is required.
type HookTest struct {
	// New returns a new hook that is not running. The hooks that it returns
	// within one subtest must reach each other.
	New func(t *testing.T) p2p.Hook

	// Discovers says that the hooks are a discovery: two nodes that run them
	// find each other. The test then requires that, within 30 s each, the nodes
	// find each other, notice changes of the other's metadata, and notice that
	// the other has ended.
	Discovers bool

	// FindBy returns a discovery through which other nodes find a node with a
	// listener. If nil, that is the [Network.Discovery] of a separate network,
	// which reports the listener's addresses, or the loopback address if they
	// are unspecified.
	FindBy func(t *testing.T) p2p.Hook

	// Bubble runs each subtest in a bubble of [testing/synctest]. It is for
	// hooks that use no sockets.
	Bubble bool
}

// TestHook tests the hooks that newHook returns. It is the short form of
// [HookTest] for listeners on real sockets and for hooks other than
// discoveries.
func TestHook(t *testing.T, newHook func(t *testing.T) p2p.Hook) {
	HookTest{New: newHook}.Run(t)
}

// patience is how long the tests wait for something that has to happen, which
// never takes that long if it works.
const patience = 30 * time.Second

// Run runs the test, as subtests. Since it counts goroutines, it must not run
// in parallel with other tests.
func (h HookTest) Run(t *testing.T) {
	h.run(t, "Name", h.testName)
	h.run(t, "Lifecycle", h.testLifecycle)
	h.run(t, "Canceled", h.testCanceled)
	h.run(t, "Shutdown", h.testShutdown)
	h.run(t, "Burst", h.testBurst)
	if h.Discovers {
		h.run(t, "Discovery", h.testDiscovery)
	}
	if _, ok := h.New(t).(p2p.Listener); ok {
		h.runListener(t)
	}
}

func (h HookTest) run(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		if h.Bubble {
			synctest.Test(t, test)
		} else {
			test(t)
		}
	})
}

// soon returns a context that ends after patience.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// until waits until a node has reached a state.
func until(t *testing.T, node *p2p.P2P, what string, reached func() bool) {
	t.Helper()
	events := node.Subscribe()
	defer events.Close()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case _, ok := <-events.C: // at least a Resync
			if reached() {
				return
			}
			if !ok {
				t.Fatalf("%s: not when the node was shut down", what)
			}
		case <-timer.C:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// register registers a hook and checks that it serves.
func register(t *testing.T, node *p2p.P2P, hook p2p.Hook) {
	t.Helper()
	if err := node.Register(soon(t), hook); err != nil {
		t.Fatalf("register: %v", err)
	}
	serves(t, node, hook)
}

// serves checks that a hook is registered and ready.
func serves(t *testing.T, node *p2p.P2P, hook p2p.Hook) {
	t.Helper()
	i := slices.IndexFunc(node.Hooks(), func(info p2p.HookInfo) bool { return info.Name == hook.Name() })
	if i < 0 {
		t.Fatalf("hook %q is not registered", hook.Name())
	}
	if info := node.Hooks()[i]; !info.Ready || info.Stopped {
		t.Fatalf("the hook does not serve: %+v", info)
	}
}

// unregister unregisters the only hook of a node and checks that it leaves
// nothing behind.
func unregister(t *testing.T, node *p2p.P2P, hook p2p.Hook) {
	t.Helper()
	if err := node.Unregister(soon(t), hook); err != nil {
		t.Fatalf("unregister: %v", err)
	}
	empty(t, node, hook)
}

// empty checks that a node has neither the hook nor a peer any more.
func empty(t *testing.T, node *p2p.P2P, hook p2p.Hook) {
	t.Helper()
	for _, h := range node.Hooks() {
		if h.Name == hook.Name() {
			t.Errorf("the hook remains: %+v", h)
		}
	}
	if peers := node.Peers(); len(peers) > 0 {
		t.Errorf("peers remain: %v", peers)
	}
}

func (h HookTest) testName(t *testing.T) {
	hook, node := h.New(t), start(t, p2p.Config{})
	name := hook.Name()
	if name == "" {
		t.Error("the name is empty")
	}
	register(t, node, hook)
	if again := hook.Name(); again != name {
		t.Errorf("the name was %q and is %q now that the hook runs", name, again)
	}
	unregister(t, node, hook)
	if again := hook.Name(); again != name {
		t.Errorf("the name was %q and is %q now that the hook has ended", name, again)
	}
}

func (h HookTest) testLifecycle(t *testing.T) {
	node := start(t, p2p.Config{})
	var before goroutines
	hook := h.New(t)
	for _, run := range []string{"first", "second", "third"} {
		register(t, node, hook)
		unregister(t, node, hook)
		if run == "first" {
			before = running() // goroutines that a process starts once remain
			continue
		}
		noneSince(t, before)
		if t.Failed() {
			t.Fatalf("in the %s run", run)
		}
		hook = h.New(t) // the first two runs are one hook's, the third another one's
	}
}

func (h HookTest) testCanceled(t *testing.T) {
	node := start(t, p2p.Config{})
	hook := h.New(t)
	register(t, node, hook)
	unregister(t, node, hook)
	before := running()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 { // the hook may be stopped at any point of its start, or already be ready
		err := node.Register(canceled, hook)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("register with a canceled context: %v", err)
		}
		if err := node.Unregister(soon(t), hook); err != nil && !errors.Is(err, p2p.ErrNotRegistered) {
			t.Fatalf("unregister: %v", err)
		}
		empty(t, node, hook)
	}
	noneSince(t, before)
	register(t, node, hook)
}

func (h HookTest) testShutdown(t *testing.T) {
	warm, hook := start(t, p2p.Config{}), h.New(t)
	register(t, warm, hook)
	unregister(t, warm, hook)

	before := running()
	node := start(t, p2p.Config{})
	events := node.Subscribe()
	register(t, node, hook)
	if err := node.Shutdown(soon(t)); err != nil {
		t.Errorf("shut down: %v", err)
	}
	for e := range events.C {
		if e, ok := e.(p2p.HookStopped); ok {
			t.Errorf("the hook stopped before it was asked to: %v", e.Err)
		}
	}
	empty(t, node, hook)
	noneSince(t, before)
}

// A flood is a hook that discovers many peers.
type flood []identity.RemoteIdentity

// Name returns "flood".
func (f *flood) Name() string { return "flood" }

// Run discovers the peers and expires them, twice.
func (f *flood) Run(ctx context.Context, s *p2p.Scope) error {
	for range 2 {
		for i, id := range *f {
			if err := s.Discovered(id, map[string]string{"name": fmt.Sprint(i)}, nil); err != nil {
				return err
			}
		}
		for _, id := range *f {
			if err := s.Expired(id); err != nil {
				return err
			}
		}
	}
	s.Ready()
	<-ctx.Done()
	return nil
}

// testBurst overflows the subscription that the hook may have.
func (h HookTest) testBurst(t *testing.T) {
	node, hook := start(t, p2p.Config{}), h.New(t)
	register(t, node, hook)
	var many flood
	for range 200 {
		many = append(many, identity.New().Remote())
	}
	updated := make(chan error)
	go func() {
		var err error
		for i := range 400 {
			err = errors.Join(err, node.UpdateMetadata(func(m map[string]string) { m["name"] = fmt.Sprint(i) }))
		}
		updated <- err
	}()
	register(t, node, &many)
	if err := <-updated; err != nil {
		t.Errorf("update the metadata: %v", err)
	}
	serves(t, node, hook)
	if err := node.Unregister(soon(t), &many); err != nil {
		t.Errorf("unregister: %v", err)
	}
	if _, ok := node.Peer(node.Identity()); ok {
		t.Error("the node has discovered itself")
	}
	unregister(t, node, hook)
}

func (h HookTest) testDiscovery(t *testing.T) {
	a, b := start(t, p2p.Config{Name: "a"}), start(t, p2p.Config{Name: "b"})
	hookA, hookB := h.New(t), h.New(t)
	for _, node := range []*p2p.P2P{a, b} { // a node without an address need not be announced
		register(t, node, NewNetwork(Config{}).Listener(ListenerConfig{}))
	}
	register(t, a, hookA)
	register(t, b, hookB)
	sees := func(node, other *p2p.P2P, what string) {
		t.Helper()
		until(t, node, what, func() bool {
			peer, ok := node.Peer(other.Identity())
			return ok && maps.Equal(peer.Info().Metadata, other.Metadata())
		})
	}
	sees(a, b, "the first node discovers the second")
	sees(b, a, "the second node discovers the first")
	if err := b.UpdateMetadata(func(m map[string]string) { m["name"] = "another" }); err != nil {
		t.Fatal(err)
	}
	sees(a, b, "the first node sees that the second's metadata has changed")
	for _, node := range []*p2p.P2P{a, b} {
		if _, ok := node.Peer(node.Identity()); ok {
			t.Error("a node has discovered itself")
		}
	}
	unregister(t, b, hookB)
	until(t, a, "the first node sees that the second has gone", func() bool { // the host may have others
		_, ok := a.Peer(b.Identity())
		return !ok
	})
	register(t, b, hookB)
	sees(a, b, "the first node discovers the second again")
	unregister(t, a, hookA)
}
