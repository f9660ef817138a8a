package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/exampletest"
	"github.com/sdp2p/p2p/internal/text"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

// patience bounds how long a test waits; nothing takes that long.
const patience = time.Minute

var localhost = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// startNode starts a node and returns it with its port.
func startNode(t *testing.T, app, name string, hooks ...p2p.Hook) (*p2p.P2P, uint16) {
	t.Helper()
	listener := quic.New(quic.Config{TellStrangers: quic.Everything})
	n, err := p2p.Start(t.Context(), p2p.Config{App: app, Name: name, Hooks: append([]p2p.Hook{listener}, hooks...)})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, n.Shutdown(ctx))
	})
	port, _ := listener.Port()
	return n, port
}

// freePort returns a UDP port that nobody listens on.
func freePort(t *testing.T) uint16 {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{})
	require.NoError(t, err)
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// silent returns the address of a socket that never answers.
func silent(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(localhost, 0)))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestTargets(t *testing.T) {
	id := identity.New().Remote()
	for text, want := range map[string]target{
		id.String():        {peer: id},
		"laptop":           {host: "laptop", port: 7373},
		"laptop.local:9":   {host: "laptop.local", port: 9},
		"10.0.0.1":         {addr: netip.MustParseAddr("10.0.0.1"), port: 7373},
		"10.0.0.1:80":      {addr: netip.MustParseAddr("10.0.0.1"), port: 80},
		"::1":              {addr: netip.IPv6Loopback(), port: 7373},
		"[::1]":            {addr: netip.IPv6Loopback(), port: 7373},
		"[2001:db8::1]:80": {addr: netip.MustParseAddr("2001:db8::1"), port: 80},
		"fe80::1":          {addr: netip.MustParseAddr("fe80::1"), port: 7373},
		"[fe80::1%eth0]:9": {addr: netip.MustParseAddr("fe80::1%eth0"), port: 9},
	} {
		got, err := parseTarget(text)
		require.NoError(t, err, text)
		want.text = text
		require.Equal(t, want, *got)
	}
	for _, bad := range []string{"", "a b", "host:", "host:0", "host:70000", "[fe80::1]:0", "0.0.0.0", "224.0.0.251", "http://laptop", id.String()[:42] + "!", id.String() + "A="} {
		_, err := parseTarget(bad)
		require.Error(t, err, bad)
	}
	_, err := parseTarget("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	require.ErrorIs(t, err, identity.ErrInvalid)
}

// try tries to reach an address, and returns the line about it.
func (d *doctor) try(t *testing.T, addr netip.AddrPort, want identity.RemoteIdentity) (check, candidate) {
	w := d.reach(t.Context(), addr, want)
	f := &facts{system: system, links: []linkFacts{{Interface: wifi}}, clock: healthy().clock,
		peer: &peerFacts{target: target{peer: want, addr: addr.Addr()}, ways: []wayFacts{w}}}
	all := f.peerChecks()
	return all[len(all)-1], w.candidate()
}

// asked returns the lines about a target.
func (d *doctor) asked(t *testing.T, target *target) ([]check, *peerReport) {
	f := &facts{system: system, wait: d.wait, links: []linkFacts{{Interface: wifi}}, clock: healthy().clock, peer: d.lookFor(t.Context(), target)}
	return f.peerChecks(), f.report().Peer
}

// A line for each address says that it leads to the peer, or else why not and
// what to do.
func TestCandidates(t *testing.T) {
	node, port := startNode(t, "test", hostile)
	other := identity.New().Remote()
	fast := time.Second / 4
	refused := netip.AddrPortFrom(localhost, freePort(t))
	for name, c := range map[string]struct {
		addr netip.AddrPort
		want identity.RemoteIdentity
		wait time.Duration
		says []string
	}{
		"reached":           {addr: netip.AddrPortFrom(localhost, port), wait: patience},
		"reached and known": {addr: netip.AddrPortFrom(localhost, port), want: node.Identity(), wait: patience},
		"IPv6":              {addr: netip.AddrPortFrom(netip.IPv6Loopback(), port), wait: patience},
		"wrong identity":    {addr: netip.AddrPortFrom(localhost, port), want: other, wait: patience, says: []string{"another peer is there", node.Identity().String()}},
		"refused": {addr: refused, wait: patience, // the doctor does not wait that long
			says: []string{"refused", "nothing on it listens", "sdp2p scan"}},
		"silent":     {addr: silent(t), wait: fast, says: []string{"no answer in ", "firewall", "Wi-Fi"}},
		"link-local": {addr: netip.MustParseAddrPort("[fe80::1]:7373"), wait: fast, says: []string{"link-local", "another address"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := &doctor{app: "test", wait: c.wait}
			line, result := d.try(t, c.addr, c.want)
			require.Equal(t, c.addr.String(), line.Subject)
			require.Equal(t, c.addr, result.Address)
			if c.says == nil {
				require.Equal(t, fine, line.Verdict, line)
				require.Empty(t, line.Advice)
				require.Regexp(t, `^reached in [0-9.]+[mµ]?s( \(round trip [0-9.]+[mµ]?s\))?: .+`+`, `, line.Value)
				require.Contains(t, line.Value, node.Identity().String())
				requirePlain(t, line.Value)
				require.Positive(t, result.Milliseconds)
				result.Milliseconds = 0
				require.Equal(t, candidate{c.addr, true, 0, node.Identity(), node.Identity().Fingerprint(), hostile}, result)
				return
			}
			require.Equal(t, fail, line.Verdict)
			require.NotEmpty(t, line.Advice)
			require.False(t, result.Reached)
			for _, word := range c.says {
				require.Contains(t, line.Value+line.Advice, word)
			}
			require.Equal(t, c.want == other, result.Identity == node.Identity())
		})
	}
}

// A node that lets nobody in is still recognized as a node, and the line says
// so.
func TestClosedNode(t *testing.T) {
	listener := quic.New(quic.Config{TellStrangers: quic.Everything})
	n, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{listener}, Allow: func(context.Context, p2p.Request) error {
		return errors.New("strangers are not welcome")
	}})
	require.NoError(t, err)
	defer func() { require.NoError(t, n.Shutdown(context.Background())) }()
	port, _ := listener.Port()
	d := &doctor{app: "test", wait: patience}
	line, result := d.try(t, netip.AddrPortFrom(localhost, port), identity.RemoteIdentity{})
	require.Equal(t, fail, line.Verdict)
	require.False(t, result.Reached)
	require.Equal(t, "a node is there, but closes the connection", line.Value)
	require.Contains(t, line.Advice, "The path works")
}

// A QUIC server of another program is told apart from a node, and from a silent
// port.
func TestAnotherProgram(t *testing.T) {
	cert := selfSigned(t)
	server, err := quicgo.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h3"}}, nil)
	require.NoError(t, err)
	defer server.Close()
	d := &doctor{app: "test", wait: patience}
	line, _ := d.try(t, server.Addr().(*net.UDPAddr).AddrPort(), identity.RemoteIdentity{})
	require.Equal(t, fail, line.Verdict)
	require.Contains(t, line.Advice, "not as a node does")
}

func TestNames(t *testing.T) {
	_, port := startNode(t, "test", "node")
	lookups := func(addrs []netip.Addr, err error) func(context.Context, string) ([]netip.Addr, error) {
		return func(_ context.Context, host string) ([]netip.Addr, error) {
			require.Equal(t, "laptop.example", host)
			return addrs, err
		}
	}
	tgt := &target{text: "laptop.example", host: "laptop.example", port: port}
	d := &doctor{app: "test", wait: patience, lookup: lookups([]netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1"), localhost, netip.MustParseAddr("fe80::1")}, nil)}
	checks, r := d.asked(t, tgt)
	require.True(t, r.Reached)
	require.Equal(t, []verdict{fine, fine, warn}, []verdict{checks[0].Verdict, checks[1].Verdict, checks[2].Verdict}, "one address that works is enough")
	require.Equal(t, "2 addresses", checks[0].Value)
	require.Len(t, r.Candidates, 2)

	for says, err := range map[string]error{
		"there is no such name": &net.DNSError{Err: "no such host", Name: tgt.host, IsNotFound: true},
		"no name server":        &net.DNSError{Err: "timeout", Name: tgt.host, IsTimeout: true},
		"odd":                   errors.New("odd"),
		"leads nowhere":         nil,
	} {
		d.lookup = lookups(nil, err)
		checks, r := d.asked(t, tgt)
		require.Len(t, checks, 1)
		require.Equal(t, fail, checks[0].Verdict)
		require.Contains(t, checks[0].Value, says)
		require.NotEmpty(t, checks[0].Advice)
		require.Equal(t, &peerReport{Asked: tgt.text, Candidates: []candidate{}}, r)
	}
	d.wait, d.lookup = time.Millisecond, func(ctx context.Context, _ string) ([]netip.Addr, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	checks, _ = d.asked(t, tgt)
	require.Contains(t, checks[0].Value, "no name server")
}

// The doctor looks for a peer as nodes do, and tries every address that the
// peer announces. It is not seen on the network itself.
func TestDiscover(t *testing.T) {
	app := fmt.Sprintf("d%x", rand.N(1<<40)) // keeps other nodes on this host out
	on := mdns.Config{Interfaces: []string{exampletest.Loopback(t)}}
	node, port := startNode(t, app, "node", mdns.New(on))
	seen := make(chan *p2p.Peer, 100)
	watcher, _ := startNode(t, app, "watcher", mdns.New(on))
	go func() {
		defer close(seen)
		for peer := range watcher.Available(t.Context()) {
			seen <- peer
		}
	}()
	require.Equal(t, node.Identity(), (<-seen).Identity())

	d := &doctor{app: app, on: exampletest.Loopback(t), wait: time.Second}
	var checks []check
	var r *peerReport
	for began := time.Now(); (r == nil || !r.Reached) && time.Since(began) < patience; {
		checks, r = d.asked(t, &target{text: "asked", peer: node.Identity()})
	}
	require.True(t, r.Reached, checks)
	require.Equal(t, node.Identity().String(), checks[0].Subject)
	require.Equal(t, "discovered, with "+text.Count(len(r.Candidates), "address", "addresses"), checks[0].Value)
	require.Len(t, checks, 1+len(r.Candidates))
	i := slices.IndexFunc(r.Candidates, func(c candidate) bool { return c.Address == netip.AddrPortFrom(localhost, port) })
	require.GreaterOrEqual(t, i, 0, r.Candidates)
	require.Equal(t, "node", r.Candidates[i].Name)
	select {
	case peer := <-seen:
		t.Fatal("the doctor is seen as ", peer)
	default:
	}

	checks, r = d.asked(t, &target{text: "asked", peer: identity.New().Remote()})
	require.False(t, r.Reached)
	require.Len(t, checks, 1)
	require.Equal(t, fail, checks[0].Verdict)
	require.Contains(t, checks[0].Value, "nobody announced it in 1s")
}
