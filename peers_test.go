package p2p_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// crowd holds the identities that the model test uses: some of them fill a
// small table.
var (
	crowd = func() (ids []identity.RemoteIdentity) {
		for range 7 {
			ids = append(ids, newID())
		}
		return ids
	}()
	self   = identity.New()
	relays = []identity.RemoteIdentity{newID()}

	sayings = []map[string]string{
		nil,
		{},
		{"name": "anna"},
		{"name": "bert", "version": "1"},
		{"version": "2"},
		{"name": "anna", "version": "2"},
	}
	ways = [][]p2p.Candidate{
		nil,
		{direct("192.0.2.1:1")},
		{direct("192.0.2.1:1"), direct("192.0.2.2:2")},
		{direct("192.0.2.2:2"), direct("192.0.2.1:1")},
		{direct("192.0.2.1:1"), direct("192.0.2.1:1")},
		{{Kind: p2p.Manual, Addr: addr("192.0.2.1:1"), Sources: []string{"nobody"}}},
		{{Kind: p2p.Relay, Relay: relays[0], Version: 2}, direct("192.0.2.2:2")},
		{{Kind: p2p.Relay, Relay: relays[0], Version: 1}},
		slices.Repeat([]p2p.Candidate{direct("192.0.2.1:1"), direct("192.0.2.2:2"), direct("192.0.2.3:3")}, 6),
	}
)

// TestPeers checks the invariants that the package's documentation lists, by
// random operations against a model.
func TestPeers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			m := newModel(t)
			defer func() {
				for _, f := range m.followers {
					f.stop()
				}
				m.node.Shutdown(context.Background()) // after a failure, too, to end all goroutines
			}()
			for range rapid.IntRange(50, 90).Draw(t, "operations") {
				name := rapid.SampledFrom(operationNames).Draw(t, "operation")
				operations[name](m)
				m.check()
			}
			m.end()
		})
	})
}

func newModel(t *rapid.T) *model {
	m := &model{T: t, peers: map[identity.RemoteIdentity]*modelPeer{}}
	m.maxPeers = rapid.SampledFrom([]int{-1, 4, 3, 2, 5}).Draw(t, "MaxPeers")
	node, err := p2p.New(p2p.Config{
		App: "test", Identity: self, Name: "me", MaxPeers: m.maxPeers, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.node, m.metadata = node, node.Metadata()
	m.quick = newReader(node)
	m.quick.read(1)
	for i := range 5 {
		fake := fakeHook{name: fmt.Sprintf("hook%d", i), end: make(chan func() error)}
		h := &modelHook{listener: i >= 3}
		if h.listener {
			l := &fakeListener{fakeHook: fake}
			h.hook, h.fake = l, &l.fakeHook
		} else {
			f := &fake
			h.hook, h.fake = f, f
		}
		m.hooks = append(m.hooks, h)
		if i%2 == 0 {
			register(m, h)
			m.check()
		}
	}
	return m
}

// operations may happen in any order, as often as operationNames lists them.
// The first one does nothing, so that rapid can leave operations out when it
// looks for the shortest way to a failure.
var operations = map[string]func(*model){
	"nothing":    func(*model) {},
	"register":   func(m *model) { register(m, m.anyHook()) },
	"refuse":     opRefuse,
	"unregister": opUnregister,
	"stop":       opStop,
	"discover":   opDiscover,
	"repeat":     opRepeat,
	"expire":     opExpire,
	"connect":    opConnect,
	"disconnect": opDisconnect,
	"state":      opState,
	"metadata":   opMetadata,
	"address":    opAddress,
	"burst":      opBurst,
	"subscribe":  opSubscribe,
	"read":       opRead,
	"watch":      opWatch,
	"hold":       opHold,
	"settle":     (*model).settle,
}

var operationNames = slices.Concat(
	[]string{"nothing", "refuse", "unregister", "stop", "metadata", "address", "burst", "settle"},
	slices.Repeat([]string{"register", "repeat", "state", "read", "subscribe", "watch", "hold"}, 2),
	slices.Repeat([]string{"expire", "connect", "disconnect"}, 4),
	slices.Repeat([]string{"discover"}, 8),
)

// anyOf draws one of several things, so that its number is logged.
func anyOf[T any](m *model, label string, of []T) T {
	return of[rapid.IntRange(0, len(of)-1).Draw(m.T, label)]
}

func (m *model) anyHook() *modelHook { return anyOf(m, "hook", m.hooks) }

// anyScope returns a hook that runs or has run.
func (m *model) anyScope(listener bool) *modelHook {
	return anyOf(m, "hook", slices.DeleteFunc(slices.Clone(m.hooks), func(h *modelHook) bool {
		return !h.ran || listener && !h.listener
	}))
}

func (m *model) anyID() identity.RemoteIdentity { return anyOf(m, "peer", crowd) }

func (m *model) expect(err, want error) {
	if !errors.Is(err, want) {
		m.Fatalf("error %v instead of %v", err, want)
	}
}

func register(m *model, h *modelHook) {
	err := m.node.Register(context.Background(), h.hook)
	if h.number > 0 {
		m.expect(err, p2p.ErrRegistered)
		return
	}
	m.expect(err, nil)
	m.register(h)
}

// opRefuse registers a hook that fails before it is ready.
func opRefuse(m *model) {
	h := m.anyHook()
	if h.number > 0 {
		return
	}
	h.fake.run = func(_ context.Context, s *p2p.Scope) error {
		s.Discovered(crowd[0], sayings[2], ways[1])
		return errTest
	}
	m.expect(m.node.Register(context.Background(), h.hook), errTest)
	h.fake.run = nil
	m.register(h)
	m.discover(h, crowd[0], finding{sayings[2], ways[1]})
	m.fail(h, errTest)
}

func opUnregister(m *model) {
	h := m.anyHook()
	err := m.node.Unregister(context.Background(), h.hook)
	if h.number == 0 {
		m.expect(err, p2p.ErrNotRegistered)
		return
	}
	m.expect(err, nil)
	m.leave(h)
}

// opStop makes a hook end by itself.
func opStop(m *model) {
	h := m.anyHook()
	if h.number == 0 {
		return
	}
	how := rapid.IntRange(0, 2).Draw(m.T, "how")
	h.fake.end <- func() error {
		switch how {
		case 0:
			return nil
		case 1:
			return errTest
		}
		panic(errTest)
	}
	synctest.Wait()
	m.fail(h, []error{nil, errTest, errTest}[how])
	if how < 2 {
		return
	}
	hooks := m.node.Hooks()
	var panicked *p2p.PanicError
	if !errors.As(hooks[len(hooks)-1].Err, &panicked) || panicked.Value != errTest || len(panicked.Stack) == 0 {
		m.Fatalf("the hook stopped with %v", hooks[len(hooks)-1].Err)
	}
	h.err = panicked
	m.want[len(m.want)-1].err = panicked
}

func opDiscover(m *model) {
	h := m.anyScope(false)
	id := anyOf(m, "peer", append(slices.Repeat(crowd, 3), self.Remote()))
	f := finding{anyOf(m, "metadata", sayings), anyOf(m, "candidates", ways)}
	err := h.fake.scope.Discovered(id, f.metadata, f.candidates)
	switch {
	case id == self.Remote():
		m.expect(err, p2p.ErrSelf)
	case h.number == 0:
		m.expect(err, p2p.ErrStopped)
	case m.discover(h, id, f):
		m.expect(err, nil)
	default:
		m.expect(err, p2p.ErrTableFull)
	}
}

// opRepeat reports discoveries once more, with copies of the metadata and
// candidates: no event is published.
func opRepeat(m *model) {
	h := m.anyScope(false)
	for id, p := range m.peers {
		if f, ok := p.found[h]; ok {
			m.expect(h.fake.scope.Discovered(id, maps.Clone(f.metadata), slices.Clone(f.candidates)), nil)
		}
	}
}

func opExpire(m *model) {
	h, id := m.anyScope(false), m.anyID()
	err := h.fake.scope.Expired(id)
	if h.number == 0 {
		m.expect(err, p2p.ErrStopped)
		return
	}
	m.expect(err, nil)
	if p := m.peers[id]; p != nil {
		m.expire(h, p)
	}
}

func opConnect(m *model) {
	h, id, conn := m.anyScope(false), m.anyID(), &fakeConn{}
	m.expect(h.fake.scope.Connected(self.Remote(), conn), p2p.ErrSelf)
	err := h.fake.scope.Connected(id, conn)
	if h.number == 0 {
		m.expect(err, p2p.ErrStopped)
		return
	}
	m.expect(err, nil)
	m.connect(h, id, conn)
}

func opDisconnect(m *model) {
	p := m.peers[m.anyID()]
	if p == nil || len(p.conns) == 0 {
		return
	}
	c := anyOf(m, "connection", p.conns)
	for _, h := range m.hooks { // a connection that another hook has reported
		if h != c.by && h.number > 0 {
			m.expect(h.fake.scope.Disconnected(p.id, c.conn), nil)
		}
	}
	// This connection was never reported.
	m.expect(c.by.fake.scope.Disconnected(p.id, &fakeConn{}), nil)
	m.expect(c.by.fake.scope.Disconnected(p.id, c.conn), nil)
	m.disconnect(p, c)
}

func opState(m *model) {
	h, id, metadata := m.anyScope(false), m.anyID(), anyOf(m, "metadata", sayings)
	err := h.fake.scope.Stated(id, metadata)
	p := m.peers[id]
	switch {
	case h.number == 0:
		m.expect(err, p2p.ErrStopped)
	case p == nil || !p.connectedBy(h):
		m.expect(err, p2p.ErrUnavailable)
	default:
		m.expect(err, nil)
		m.state(h, p, metadata)
	}
}

func opMetadata(m *model) {
	before := maps.Clone(m.metadata)
	m.expect(m.node.UpdateMetadata(func(entries map[string]string) {
		entries["version"] = rapid.SampledFrom([]string{"1", "2", "3"}).Draw(m.T, "version")
		m.metadata = maps.Clone(entries)
	}), nil)
	if !maps.Equal(before, m.metadata) {
		m.tell(change{kind: "metadata"})
	}
}

func opAddress(m *model) {
	h := m.anyScope(true)
	if h.number == 0 {
		m.expect(h.fake.scope.AddAddr(addr("192.0.2.1:1")), p2p.ErrStopped)
		return
	}
	a := addr(rapid.SampledFrom([]string{"192.0.2.1:1", "192.0.2.2:2"}).Draw(m.T, "address"))
	if rapid.Bool().Draw(m.T, "remove") {
		m.expect(h.fake.scope.RemoveAddr(a), nil)
		if i := slices.Index(h.addrs, a); i >= 0 {
			h.addrs = slices.Delete(h.addrs, i, i+1)
			m.tell(change{kind: "removed", by: h.fake.name, addr: a})
		}
		return
	}
	m.expect(h.fake.scope.AddAddr(a), nil)
	if !slices.Contains(h.addrs, a) {
		h.addrs = append(h.addrs, a)
		m.tell(change{kind: "added", by: h.fake.name, addr: a})
	}
}

// opBurst publishes more events than any queue holds.
func opBurst(m *model) {
	h := m.anyScope(true)
	for range rapid.IntRange(0, 150).Draw(m.T, "events") * 2 {
		if h.number == 0 {
			return
		}
		a := addr("192.0.2.3:3")
		h.fake.scope.AddAddr(a)
		h.fake.scope.RemoveAddr(a)
		m.quick.read(2)
	}
}

func opSubscribe(m *model) {
	if len(m.readers) < 3 {
		m.readers = append(m.readers, newReader(m.node))
		return
	}
	m.readers[0].sub.Close()
	m.readers = m.readers[1:]
}

func opRead(m *model) {
	if len(m.readers) > 0 {
		anyOf(m, "subscriber", m.readers).read(rapid.IntRange(1, 300).Draw(m.T, "limit"))
	}
}

func opWatch(m *model) {
	if len(m.followers) < 3 {
		m.followers = append(m.followers, follow(m.node, len(m.followers) == 2))
		return
	}
	m.followers[0].stop()
	m.followers = m.followers[1:]
}

func opHold(m *model) {
	if len(m.followers) > 0 {
		f := anyOf(m, "watcher", m.followers)
		f.hold(!f.stuck)
	}
}
