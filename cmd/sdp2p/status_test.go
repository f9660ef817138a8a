package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/debugpage"
	"github.com/sdp2p/p2p/p2ptest"
)

// A running node tells its status, as lines and as JSON, at each form of its
// page's address.
func TestStatus(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	node := network.Start(t, p2p.Config{App: "test", Name: "Laptop" + hostile})
	page := httptest.NewServer(debugpage.Handler(node))
	t.Cleanup(page.Close)
	for _, address := range []string{page.URL, page.URL + "/", strings.TrimPrefix(page.URL, "http://"), strings.TrimPrefix(page.URL, "http://127.0.0.1")} {
		exit, stdout, stderr := sdp2p(t.Context(), "status", address)
		require.Equal(t, exitDone, exit, stderr)
		require.Contains(t, stdout, "Laptop")
		require.Contains(t, stdout, node.Identity().String())
		require.Contains(t, stdout, "serves")
		require.NotRegexp(t, "[\x1b\u009b\u202e]", stdout)
	}
	exit, stdout, stderr := sdp2p(t.Context(), "status", "--json", page.URL)
	require.Equal(t, exitDone, exit, stderr)
	var s p2p.State
	require.NoError(t, json.Unmarshal([]byte(stdout), &s))
	require.Equal(t, node.Identity(), s.Identity)
	require.NotRegexp(t, "[\x1b\u009b\u202e]", stdout)
}

// If a server does not answer as a node does, the program says so, without
// characters that a terminal would act on.
func TestStatusOfNone(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused/state" {
			http.Error(w, "no\x1b[2J", http.StatusForbidden)
			return
		}
		if r.URL.Path == "/moved/state" {
			http.Redirect(w, r, "/state", http.StatusFound)
			return
		}
		w.Write([]byte("hello"))
	})
	page := httptest.NewServer(answer)
	for path, want := range map[string]string{"/refused": "403", "/moved": "302", "/": "not with the state of a node"} {
		exit, _, stderr := sdp2p(t.Context(), "status", page.URL+path)
		require.Equal(t, exitFailed, exit)
		require.Contains(t, stderr, want)
		require.NotContains(t, stderr, "\x1b")
	}
	page.Close()
	exit, _, stderr := sdp2p(t.Context(), "status", page.URL)
	require.Equal(t, exitFailed, exit)
	require.Contains(t, stderr, "debugpage")
	for _, args := range [][]string{{}, {""}, {"ftp://127.0.0.1"}, {"http://"}, {":1", ":2"}} {
		exit, _, _ := sdp2p(t.Context(), append([]string{"status"}, args...)...)
		require.Equal(t, exitUsage, exit, args)
	}
}

// A server that answers as a node may be an attacker: whatever it says, the
// output has no characters that a terminal would act on.
func TestStatusOfAnother(t *testing.T) {
	at := netip.AddrPortFrom(netip.MustParseAddr("fe80::1").WithZone(hostile), 1)
	state := p2p.State{
		App: hostile, Metadata: map[string]string{"name": hostile},
		Hooks: []p2p.HookState{{Name: hostile, Ready: true, Addrs: []netip.AddrPort{at}}, {Stopped: true, Cause: hostile}},
		Peers: []p2p.PeerState{
			{Name: hostile, Unreachable: hostile},
			{Connections: []p2p.ConnState{{Path: p2p.Path{Kind: p2p.Direct, Remote: at}}}},
		},
		Events: []p2p.Note{{What: hostile, Hook: hostile, Error: hostile}, {Cause: hostile}},
	}
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(state) }))
	t.Cleanup(page.Close)
	exit, stdout, stderr := sdp2p(t.Context(), "status", page.URL)
	require.Equal(t, exitDone, exit, stderr)
	require.Contains(t, stdout, "fe80::1")
	require.NotRegexp(t, "[\x1b\u009b\u202e]", stdout)
}
