package call_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/call"
	"github.com/sdp2p/p2p/identity"
)

// try makes a call with v, and returns the routes that were tried, and the
// error.
func try(t *testing.T, p pair, v *call.Versioned) (tried []string, err error) {
	err = v.Try(p.peer, func(route string) error {
		tried = append(tried, route)
		_, err := call.Do[text](t.Context(), p.peer, route, text{})
		return err
	})
	return tried, err
}

func serveText(p pair, routes ...string) {
	for _, route := range routes {
		call.Handle(p.mux, route, p2p.Anyone, func(context.Context, text) (text, error) { return text{}, nil })
	}
}

// A fallback costs a round trip once; after an hour, the newer route is tried
// again.
func TestVersionsRemembered(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		v := call.Versions("search/3", "search/2", "search/1")
		serveText(p, "search/2")
		for i, want := range [][]string{{"search/3", "search/2"}, {"search/2"}, {"search/2"}} {
			tried, err := try(t, p, v)
			require.NoError(t, err)
			require.Equal(t, want, tried, i)
		}
		time.Sleep(time.Hour / 2)
		tried, err := try(t, p, v)
		require.NoError(t, err)
		require.Equal(t, []string{"search/2"}, tried)
		// The hour counts from the fallback, however often the route was used.
		time.Sleep(time.Hour / 2)
		tried, err = try(t, p, v)
		require.NoError(t, err)
		require.Equal(t, []string{"search/3", "search/2"}, tried)
		serveText(p, "search/3")
		time.Sleep(time.Hour)
		for range 2 {
			tried, err = try(t, p, v)
			require.NoError(t, err)
			require.Equal(t, []string{"search/3"}, tried)
		}
	})
}

// When a peer starts to speak another version, this is noticed at once.
func TestVersionsChanged(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		v := call.Versions("search/2", "search/1")
		spoken := map[string]bool{"search/1": true}
		do := func(route string) error {
			if spoken[route] {
				return nil
			}
			return p2p.ErrNoRoute
		}
		require.NoError(t, v.Try(p.peer, do))
		spoken = map[string]bool{"search/2": true}
		require.NoError(t, v.Try(p.peer, do))
		spoken = nil
		require.ErrorIs(t, v.Try(p.peer, do), p2p.ErrNoRoute)
	})
}

// Versions that a peer tells in its metadata cost no round trip, and count at
// once.
func TestVersionsTold(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		v := call.Versions("search/3", "search/2", "search/1")
		require.Equal(t, map[string]string{"call/search": "3 2 1"}, v.Metadata())
		tell := func(value string) {
			require.NoError(t, p.b.UpdateMetadata(func(entries map[string]string) { entries["call/search"] = value }))
			time.Sleep(time.Second)
		}
		serveText(p, "search/1", "search/2", "search/3")
		tell("1")
		_, err := try(t, p, v) // connects
		require.NoError(t, err)
		_, err = p.peer.WaitMetadata(t.Context())
		require.NoError(t, err)
		for told, want := range map[string]string{"1": "search/1", "7 2 1": "search/2", "30 3": "search/3", "": "search/3"} {
			tell(told)
			tried, err := try(t, p, v)
			require.NoError(t, err)
			require.Equal(t, []string{want}, tried, told)
		}
		tell("4 33")
		tried, err := try(t, p, v)
		require.ErrorIs(t, err, p2p.ErrNoRoute)
		require.Empty(t, tried)
	})
}

// What others claim about a peer does not make this node speak an old version.
func TestVersionsClaimed(t *testing.T) {
	v := call.Versions("search/2", "search/1")
	var tried []string
	for _, verified := range []bool{false, true} {
		require.NoError(t, v.Try(claim(verified), func(route string) error { tried = append(tried, route); return nil }))
	}
	require.Equal(t, []string{"search/2", "search/1"}, tried)
}

// A claim is a peer with an entry in its metadata, which is verified or not.
type claim bool

func (c claim) Identity() identity.RemoteIdentity { return identity.RemoteIdentity{} }

func (c claim) Entry(key string) (string, bool) { return "1", bool(c) }

// Only the answer that there is no such route makes v try an older one, and
// only an answer is remembered.
func TestVersionsErrors(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		v := call.Versions("search/2", "search/1")
		for _, err := range []error{p2p.ErrRefused, p2p.ErrBusy, p2p.ErrHandlerFailed, context.Canceled, errors.New("other"), &call.Error{Code: errEmpty}} {
			var tried []string
			require.Equal(t, err, v.Try(p.peer, func(route string) error { tried = append(tried, route); return err }))
			require.Equal(t, []string{"search/2"}, tried)
		}
		busy := func(route string) error {
			if route == "search/2" {
				return p2p.ErrNoRoute
			}
			return p2p.ErrBusy
		}
		require.Equal(t, p2p.ErrBusy, v.Try(p.peer, busy))
		require.Equal(t, 1, v.Known())
		require.NoError(t, v.Try(p.peer, func(route string) error {
			require.Equal(t, "search/2", route)
			return nil
		}))
	})
}

func TestVersionsMany(t *testing.T) {
	v := call.Versions("search/2", "search/1")
	for range 1100 {
		require.NoError(t, v.Try(&stranger{identity.New().Remote()}, func(route string) error {
			if route == "search/2" {
				return p2p.ErrNoRoute
			}
			return nil
		}))
	}
	require.Equal(t, 1024, v.Known())
}

type stranger struct{ id identity.RemoteIdentity }

func (s *stranger) Identity() identity.RemoteIdentity { return s.id }

func TestVersionsPanics(t *testing.T) {
	for _, routes := range [][]string{
		{}, {"search"}, {"/1"}, {"search/"}, {"search/x"}, {"search/01"}, {"search/-1"}, {"search/70000"}, {"a/1", "b/1"}, {"a\n/1"}, {"a=b/1"}, {"é/1"},
	} {
		require.Panics(t, func() { call.Versions(routes...) }, routes)
	}
	call.Versions("a/b/1", "a/b/0")
}
