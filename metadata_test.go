package p2p_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

func TestNodeMetadata(t *testing.T) {
	for name, test := range map[string]struct {
		fields p2p.NodeMetadata
		want   map[string]string
	}{
		"empty": {p2p.NodeMetadata{}, map[string]string{}},
		"all": {
			p2p.NodeMetadata{Name: "Oscars Laptop", OperatingSystem: "macos", DeviceModel: "MacBook Pro", Version: "0.1"},
			map[string]string{
				"name": "Oscars Laptop", "operating_system": "macos", "os": "MacOS", "device_model": "MacBook Pro", "version": "0.1",
			},
		},
		"linux":   {p2p.NodeMetadata{OperatingSystem: "linux"}, map[string]string{"operating_system": "linux", "os": "Linux"}},
		"windows": {p2p.NodeMetadata{OperatingSystem: "windows"}, map[string]string{"operating_system": "windows", "os": "Windows"}},
		"ios":     {p2p.NodeMetadata{OperatingSystem: "ios"}, map[string]string{"operating_system": "ios", "os": "IOS"}},
		"android": {p2p.NodeMetadata{OperatingSystem: "android"}, map[string]string{"operating_system": "android", "os": "Android"}},
		"freebsd": {p2p.NodeMetadata{OperatingSystem: "freebsd"}, map[string]string{"operating_system": "freebsd"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, test.fields.Map())
			require.Equal(t, test.fields, p2p.ParseNodeMetadata(test.want))
			if test.want["os"] != "" { // the metadata of the ancestor's node is understood
				delete(test.want, "operating_system")
				require.Equal(t, test.fields, p2p.ParseNodeMetadata(test.want))
			}
		})
	}
	require.Equal(t, "linux", p2p.ParseNodeMetadata(map[string]string{"operating_system": "linux", "os": "MacOS"}).OperatingSystem)
	require.Equal(t, "Plan9", p2p.ParseNodeMetadata(map[string]string{"os": "Plan9"}).OperatingSystem)
	require.Equal(t, p2p.NodeMetadata{}, p2p.ParseNodeMetadata(nil))
}

// libraries returns the metadata of n libraries.
func libraries(n int) map[string]string {
	entries := map[string]string{}
	for i := range n {
		entries[fmt.Sprintf("00000000-0000-4000-A000-%012x", i)] = strings.Repeat("x", 43)
	}
	return entries
}

func TestValidateMetadata(t *testing.T) {
	one := func(key, value string) map[string]string { return map[string]string{key: value} }
	many := map[string]string{}
	large := map[string]string{}
	for i := range 129 {
		many[fmt.Sprint(i)] = ""
		large[fmt.Sprint(i)] = strings.Repeat("x", 200)
	}
	delete(large, "128")
	for name, test := range map[string]struct {
		entries map[string]string
		text    string // of the error; empty if there is none
	}{
		"nil":             {nil, ""},
		"64 libraries":    {libraries(64), ""},
		"65 libraries":    {libraries(65), "more than 64 libraries"},
		"longest key":     {one(strings.Repeat("k", 64), "v"), ""},
		"long key":        {one(strings.Repeat("k", 65), "v"), "key"},
		"empty key":       {one("", "v"), "key"},
		"key with =":      {one("a=b", "v"), `"a=b"`},
		"key not ASCII":   {one("ä", "v"), "key"},
		"key not shown":   {one("a\n", "v"), "key"},
		"empty value":     {one("k", ""), ""},
		"longest value":   {one("k", strings.Repeat("v", 253)), ""},
		"long value":      {one("k", strings.Repeat("v", 254)), `"k"`},
		"value not UTF-8": {one("k", "\xff"), `"k"`},
		"many entries":    {many, "128"},
		"large":           {large, "8192"},
	} {
		t.Run(name, func(t *testing.T) {
			err := p2p.ValidateMetadata(test.entries)
			if test.text == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.text)
			}
		})
	}
	require.ErrorIs(t, p2p.ValidateMetadata(libraries(65)), p2p.ErrTooManyLibraries)
	almost := libraries(64) // keys that merely resemble a library's do not count
	for _, key := range []string{"00000000-0000-4000-A000-00000000004", "00000000x0000-4000-A000-000000000040", "g0000000-0000-4000-A000-000000000040"} {
		almost[key] = ""
	}
	require.NoError(t, p2p.ValidateMetadata(almost))
}

func TestConfig(t *testing.T) {
	for app, ok := range map[string]bool{
		"sd": true, "a": true, "Abc-123": true, "a-b-c": true, "1a": true, "abcdefghijkl": true,
		"": false, "abcdefghijklm": false, "123": false, "-a": false, "a-": false, "a--b": false, "a_b": false, "a.b": false,
		"ä": false, "-": false, "a b": false,
	} {
		node, err := p2p.New(p2p.Config{App: app})
		if ok {
			require.NoError(t, err, app)
			require.Equal(t, app, node.App())
		} else {
			require.ErrorContains(t, err, fmt.Sprintf("p2p: app name %q", app))
			require.Equal(t, p2p.ValidateApp(app), err)
		}
	}
	_, err := p2p.Start(t.Context(), p2p.Config{})
	require.Error(t, err)
	_, err = p2p.New(p2p.Config{App: "sd", Name: strings.Repeat("x", 300)})
	require.ErrorContains(t, err, `"name"`)
	_, err = p2p.New(p2p.Config{App: "sd", Metadata: libraries(65)})
	require.ErrorIs(t, err, p2p.ErrTooManyLibraries)

	key := identity.New()
	own := map[string]string{"color": "red", "version": "3"}
	node, err := p2p.New(p2p.Config{
		App: "sd", Identity: key, Name: "anna", DeviceModel: "toaster", Version: "2", Metadata: own,
	})
	require.NoError(t, err)
	require.Equal(t, key.Remote(), node.Identity())
	own["color"] = "blue" // the node keeps a copy
	metadata := node.Metadata()
	require.Equal(t, "red", metadata["color"])
	require.Equal(t, "3", metadata["version"])
	fields := p2p.ParseNodeMetadata(metadata)
	require.Equal(t, "anna", fields.Name)
	require.Equal(t, "toaster", fields.DeviceModel)
	if runtime.GOOS == "linux" {
		require.Equal(t, "Linux", metadata["os"])
		require.Equal(t, "linux", fields.OperatingSystem)
	}
	other, err := p2p.New(p2p.Config{App: "sd"})
	require.NoError(t, err)
	require.False(t, other.Identity().IsZero())
	require.NotEqual(t, key.Remote(), other.Identity())
}

func TestUpdateMetadata(t *testing.T) {
	node := start(t, p2p.Config{Name: "anna"})
	sub := node.Subscribe()
	defer sub.Close()
	drain(sub)
	before := node.Metadata()

	require.NoError(t, node.UpdateMetadata(func(map[string]string) {}))
	require.NoError(t, node.UpdateMetadata(func(entries map[string]string) { entries["name"] = "anna" }))
	require.ErrorIs(t, node.UpdateMetadata(func(entries map[string]string) {
		entries["name"] = "bert"
		maps.Copy(entries, libraries(65))
	}), p2p.ErrTooManyLibraries)
	require.PanicsWithValue(t, errTest, func() {
		node.UpdateMetadata(func(entries map[string]string) {
			clear(entries)
			panic(errTest)
		})
	})
	require.Equal(t, before, node.Metadata())
	require.Empty(t, drain(sub))

	require.NoError(t, node.UpdateMetadata(func(entries map[string]string) {
		entries["name"] = "bert"
		require.Equal(t, before, node.Metadata(), "the function may read the node, which has not changed yet")
	}))
	require.Equal(t, []p2p.Event{p2p.MetadataModified{}}, drain(sub))
	require.Equal(t, "bert", node.Metadata()["name"])
	node.Metadata()["name"] = "carl" // a copy
	require.Equal(t, "bert", node.Metadata()["name"])
}

// TestUpdateMetadataAtOnce counts in the metadata: no update is lost.
func TestUpdateMetadataAtOnce(t *testing.T) {
	node := start(t, p2p.Config{})
	done := make(chan error)
	for range 8 {
		go func() {
			var errs error
			for range 50 {
				errs = errors.Join(errs, node.UpdateMetadata(func(entries map[string]string) {
					before := entries["n"]
					runtime.Gosched() // lets other goroutines run in between
					entries["n"] = before + "x"
				}))
				if len(node.Metadata()["n"]) > 200 {
					errs = errors.Join(errs, node.UpdateMetadata(func(entries map[string]string) {
						if len(entries["n"]) > 200 {
							entries["m"], entries["n"] = entries["m"]+"y", entries["n"][200:]
						}
					}))
				}
			}
			done <- errs
		}()
	}
	for range 8 {
		require.NoError(t, <-done)
	}
	entries := node.Metadata()
	require.Equal(t, 8*50, len(entries["n"])+200*len(entries["m"]))
}

func TestWaitMetadata(t *testing.T) {
	said := map[string]string{"name": "anna"}
	type result struct {
		entries map[string]string
		err     error
	}
	for name, test := range map[string]struct {
		happens func(l *fakeListener, peer *p2p.Peer, conn *fakeConn)
		want    result
	}{
		"stated": {func(l *fakeListener, peer *p2p.Peer, _ *fakeConn) { l.scope.Stated(peer.Identity(), said) }, result{said, nil}},
		"stated empty": {func(l *fakeListener, peer *p2p.Peer, _ *fakeConn) {
			l.scope.Stated(peer.Identity(), nil)
		}, result{nil, nil}},
		"unavailable": {func(l *fakeListener, peer *p2p.Peer, conn *fakeConn) {
			l.scope.Disconnected(peer.Identity(), conn)
		}, result{nil, p2p.ErrUnavailable}},
		"listener ends": {func(l *fakeListener, _ *p2p.Peer, _ *fakeConn) {
			l.scope.Node().Unregister(context.Background(), l)
		}, result{nil, p2p.ErrUnavailable}},
		"only discovered": {func(l *fakeListener, peer *p2p.Peer, conn *fakeConn) {
			l.scope.Discovered(peer.Identity(), said, nil)
			l.scope.Disconnected(peer.Identity(), conn)
		}, result{nil, context.DeadlineExceeded}},
		"nothing": {func(*fakeListener, *p2p.Peer, *fakeConn) {}, result{nil, context.DeadlineExceeded}},
		"comes back": {func(l *fakeListener, peer *p2p.Peer, conn *fakeConn) {
			l.scope.Discovered(peer.Identity(), nil, nil)
			l.scope.Disconnected(peer.Identity(), conn)
			synctest.Wait()
			l.scope.Connected(peer.Identity(), conn)
			l.scope.Stated(peer.Identity(), said)
		}, result{said, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
				node := start(t, p2p.Config{}, l)
				id := newID()
				conn := l.connect(t, id)
				peer, _ := node.Peer(id)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				results := make(chan result, 2)
				for range 2 {
					go func() {
						entries, err := peer.WaitMetadata(ctx)
						results <- result{entries, err}
					}()
				}
				synctest.Wait()
				require.Empty(t, results)
				test.happens(l, peer, conn)
				for range 2 {
					got := <-results
					require.ErrorIs(t, got.err, test.want.err)
					require.Equal(t, test.want.entries, got.entries)
				}
			})
		})
	}
	t.Run("a claim", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, l, peer := pair(t, p2p.Config{})
			require.NoError(t, l.scope.Discovered(peer.Identity(), said, nil))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := peer.WaitMetadata(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	})
	t.Run("already there", func(t *testing.T) {
		_, l, peer := pair(t, p2p.Config{})
		require.NoError(t, l.scope.Stated(peer.Identity(), said))
		entries, err := peer.WaitMetadata(t.Context())
		require.NoError(t, err)
		require.Equal(t, said, entries)
		entries["name"] = "bert" // a copy
		require.Equal(t, "anna", peer.Name())
	})
}

func ExampleP2P_UpdateMetadata() {
	node, err := p2p.New(p2p.Config{App: "sd", Name: "Oscars Laptop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = node.UpdateMetadata(func(entries map[string]string) { entries["color"] = "red" })
	fmt.Println(node.Metadata()["color"], err)
	err = node.UpdateMetadata(func(entries map[string]string) { entries["a=b"] = "refused" })
	fmt.Println(len(node.Metadata()["a=b"]), err != nil)
	// Output:
	// red <nil>
	// 0 true
}
