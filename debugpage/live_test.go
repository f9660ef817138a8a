package debugpage

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/p2ptest"
)

// A copied is the state that a browser builds from the messages.
type copied struct {
	hooks  []p2p.HookState
	peers  map[identity.RemoteIdentity]p2p.PeerState
	events []numbered
}

func (c *copied) take(t require.TestingT, m message) {
	var got change
	require.NoError(t, json.Unmarshal(m.data, &got))
	if m.event == "state" {
		*c = copied{peers: map[identity.RemoteIdentity]p2p.PeerState{}}
	}
	if got.Hooks != nil {
		c.hooks = nil
		require.NoError(t, json.Unmarshal(got.Hooks, &c.hooks))
	}
	require.LessOrEqual(t, len(got.Peers), maxPeers)
	for _, data := range got.Peers {
		var p p2p.PeerState
		require.NoError(t, json.Unmarshal(data, &p))
		c.peers[p.Identity] = p
	}
	for _, id := range got.Gone {
		delete(c.peers, id)
	}
	c.events = slices.DeleteFunc(c.events, func(e numbered) bool { return slices.Contains(got.Dropped, e.Number) })
	c.events = append(c.events, got.Events...)
}

// Whatever happens between two looks, the messages to a browser add up to the
// state, and nothing is sent twice.
func TestDifference(t *testing.T) {
	var ids []identity.RemoteIdentity
	for range 6 {
		ids = append(ids, identity.New().Remote())
	}
	rapid.Check(t, func(t *rapid.T) {
		s, browser := newSent(), copied{}
		now := p2p.State{Hooks: []p2p.HookState{}}
		clock := time.Unix(0, 0).UTC()
		for range rapid.IntRange(1, 20).Draw(t, "looks") {
			clock = clock.Add(time.Second)
			now.Time = clock
			now.Peers = nil
			for i, id := range ids {
				if state := rapid.IntRange(0, 3).Draw(t, "peer"); state > 0 {
					now.Peers = append(now.Peers, p2p.PeerState{Identity: id, Name: fmt.Sprint(i, state)})
				}
			}
			// Anywhere in the list, since each kind has a ring of its own.
			for range rapid.IntRange(0, 3).Draw(t, "forgotten") {
				if len(now.Events) > 0 {
					i := rapid.IntRange(0, len(now.Events)-1).Draw(t, "which")
					now.Events = slices.Delete(slices.Clone(now.Events), i, i+1)
				}
			}
			for range rapid.IntRange(0, 3).Draw(t, "happened") {
				now.Events = append(now.Events, p2p.Note{Time: clock, Times: 1, What: p2p.NoteFound, Hook: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "hook")})
			}
			messages, err := s.difference(now)
			require.NoError(t, err)
			for _, m := range messages {
				browser.take(t, m)
			}
			want := map[identity.RemoteIdentity]p2p.PeerState{}
			for _, p := range now.Peers {
				want[p.Identity] = p
			}
			require.Equal(t, want, browser.peers)
			require.Len(t, browser.events, len(now.Events))
			for i, e := range browser.events {
				data, err := json.Marshal(now.Events[i])
				require.NoError(t, err)
				require.JSONEq(t, string(data), string(e.Note))
			}
			again, err := s.difference(now)
			require.NoError(t, err)
			require.Len(t, again, 1)
			require.JSONEq(t, fmt.Sprintf(`{"time":%q}`, clock.Format(time.RFC3339)), string(again[0].data))
		}
	})
}

// Many peers come in messages of a bounded size. Only the first message says
// that the state before is void.
func TestSplit(t *testing.T) {
	var now p2p.State
	for i := range 1000 {
		now.Peers = append(now.Peers, p2p.PeerState{Identity: identity.New().Remote(), Name: fmt.Sprint(i)})
	}
	messages, err := newSent().difference(now)
	require.NoError(t, err)
	require.Len(t, messages, 4)
	var browser copied
	for i, m := range messages {
		require.Equal(t, i == 0, m.event == "state")
		browser.take(t, m)
	}
	require.Len(t, browser.peers, 1000)
}

// A node that has shut down has no hooks, and the browser gets an empty list.
func TestNone(t *testing.T) {
	messages, err := newSent().difference(p2p.State{})
	require.NoError(t, err)
	require.Contains(t, string(messages[0].data), `"hooks":[],"streams":[]`)
}

// A connection that has only become older is not sent again.
func TestAges(t *testing.T) {
	now := func(at time.Time) p2p.State {
		conn := p2p.ConnState{Listener: "wire", Opened: time.Unix(1, 0), Age: at.Sub(time.Unix(1, 0))}
		return p2p.State{Peers: []p2p.PeerState{{LastSeen: at, Connections: []p2p.ConnState{conn}}}}
	}
	s := newSent()
	_, err := s.difference(now(time.Unix(2, 0)))
	require.NoError(t, err)
	messages, err := s.difference(now(time.Unix(3, 0)))
	require.NoError(t, err)
	require.NotContains(t, string(messages[0].data), "peers")
}

// A browser is the writer to which the handler's events go.
type browser struct {
	header http.Header
	writes chan string
}

func (b *browser) Header() http.Header { return b.header }
func (b *browser) WriteHeader(int)     {}
func (b *browser) Flush()              {}
func (b *browser) Write(p []byte) (int, error) {
	b.writes <- string(p)
	return len(p), nil
}

// The handler looks at the state at most five times a second if much happens,
// and once a second if nothing does. It returns when the request ends.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		node := network.Start(t, p2p.Config{App: "test"})
		b := &browser{header: http.Header{}, writes: make(chan string, 1000)}
		ctx, leave := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", "http://localhost/events", nil)
		require.NoError(t, err)
		left := make(chan struct{})
		go func() {
			defer close(left)
			Handler(node).(*handler).events(b, r)
		}()
		time.Sleep(10*time.Second + restTime/2)
		synctest.Wait()
		require.InDelta(t, 11, len(b.writes), 1, "while nothing happens")
		before := len(b.writes)
		for i := range 1000 {
			require.NoError(t, node.UpdateMetadata(func(entries map[string]string) { entries["at"] = fmt.Sprint(i) }))
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		require.InDelta(t, 50, len(b.writes)-before, 2, "while much happens")
		all := drain(b.writes)
		require.Contains(t, all[len(all)-1]+all[len(all)-2], `"at":"9`)
		leave()
		synctest.Wait()
		<-left
	})
}

func drain(from chan string) (all []string) {
	for len(from) > 0 {
		all = append(all, <-from)
	}
	return all
}

// A browser that takes nothing delays nobody: while a message is written to it,
// news is collected into the next one.
func TestSlowBrowser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		node := network.Start(t, p2p.Config{App: "test"})
		b := &browser{header: http.Header{}, writes: make(chan string)}
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		r, err := http.NewRequestWithContext(ctx, "GET", "http://localhost/events", nil)
		require.NoError(t, err)
		go Handler(node).(*handler).events(b, r)
		for i := range 1000 {
			require.NoError(t, node.UpdateMetadata(func(entries map[string]string) { entries["at"] = fmt.Sprint(i) }))
			time.Sleep(10 * time.Millisecond)
		}
		<-b.writes
		require.Contains(t, <-b.writes, `"at":"999"`)
	})
}

// Each asset is embedded, and each embedded file is an asset, the page itself,
// or a license.
func TestAssets(t *testing.T) {
	files, err := embedded.ReadDir("assets")
	require.NoError(t, err)
	var names []string
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".LICENSE") && f.Name() != "index.html" {
			names = append(names, f.Name())
		}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(assets)), append(names, ""))
	for _, f := range files {
		data, err := embedded.ReadFile("assets/" + f.Name())
		require.NoError(t, err)
		if !strings.HasPrefix(f.Name(), "uplot") {
			require.NotRegexp(t, `(src|href|import|url|fetch)\W{0,3}(https?:)?//`, string(data), f.Name())
			require.NotRegexp(t, `innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(`, string(data), "%s: what peers say would be markup", f.Name())
		}
	}
}
