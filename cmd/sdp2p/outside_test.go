package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/token"
)

// An operator runs relays, and issues tokens.
type operator struct {
	*testing.T
	issuer identity.Identity
}

// relay starts a relay on loopback, which trusts the operator and has revoked
// serial 13, and returns the relay's entry for the command line.
func (o operator) relay() (entry string, id identity.RemoteIdentity) {
	o.Helper()
	s, err := server.New(server.Config{
		Identity: identity.New(), Listen: []netip.AddrPort{netip.AddrPortFrom(localhost, 0)}, Ledger: server.NewMemoryLedger(server.Monthly),
		Trusted: func(id identity.RemoteIdentity) bool { return id == o.issuer.Remote() },
		Revoked: func(_ identity.RemoteIdentity, serial uint32) bool { return serial == 13 },
		Limits:  server.Limits{Leave: -1},
	})
	require.NoError(o, err)
	o.Cleanup(func() { s.Close() })
	return fmt.Sprintf("%v@%v", s.Identity(), s.Addrs()[0]), s.Identity()
}

// token returns a token for a node.
func (o operator) token(node identity.RemoteIdentity, alter func(*token.Token)) token.Token {
	o.Helper()
	t := token.Token{
		Node: node, Account: uuid.UUID{1}, Rights: token.Reserve | token.Connect,
		NotBefore: time.Now().Add(-time.Minute), Expiry: time.Now().Add(time.Hour),
	}
	if alter != nil {
		alter(&t)
	}
	made, err := t.Sign(o.issuer)
	require.NoError(o, err)
	return made
}

// file writes a text to a file, and returns the file's name.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(text+"\n"), 0o600))
	return name
}

// appKey makes a key file, and returns its name and the key's identity.
func appKey(t *testing.T) (name string, id identity.RemoteIdentity) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "key.pem")
	key, err := identity.Create(name)
	require.NoError(t, err)
	return name, key.Remote()
}

// outsideOf lets the doctor look at relays, and returns its report.
func outsideOf(t *testing.T, args ...string) *report {
	t.Helper()
	_, stdout, stderr := examined(t, append([]string{"--port", strconv.Itoa(int(freePort(t))), "--json"}, args...)...)
	require.NotEmpty(t, stdout, stderr)
	return decoded(t, stdout)
}

// With a good token, the doctor can be called through each of the given relays.
func TestDoctorRelays(t *testing.T) {
	o := operator{t, identity.New()}
	var entries []string
	for range 3 {
		entry, _ := o.relay()
		entries = append(entries, entry)
	}
	key, id := appKey(t)
	good := file(t, o.token(id, nil).Text())
	r := outsideOf(t, "--relay", entries[0]+" "+entries[1], "--relay", entries[2], "--key", key, "--token", good)
	require.Len(t, r.about("relay"), 3)
	for i, c := range r.about("relay") {
		require.Equal(t, fine, c.Verdict, c)
		require.Regexp(t, `^this node can be called through it: reserved, round trip .*; it sees this host at 127\.0\.0\.1:[0-9]+`, c.Value)
		require.True(t, strings.HasSuffix(entries[i], "@"+c.Subject))
		require.True(t, r.Outside.Relays[i].Reserved)
		require.True(t, strings.HasPrefix(entries[i], r.Outside.Relays[i].Identity.String()+"@"))
		require.Equal(t, localhost, r.Outside.Relays[i].Observed.Addr())
	}
	require.Equal(t, noNAT, r.Outside.NAT)
	require.Empty(t, r.Outside.Path)
	require.Equal(t, "none: relays see this host's own address, 127.0.0.1", r.about("nat")[0].Value)
	c := r.about("token")[0]
	require.Equal(t, fine, c.Verdict, c)
	require.Regexp(t, `^valid until 20.*Z \([0-9hms]+ more\), for this node, which may be called and call, at each relay of the issuer `+regexp.QuoteMeta(o.issuer.Remote().String())+`$`, c.Value)

	r = outsideOf(t, "--relay", entries[0], "--token", good)
	require.Equal(t, codeTokenWanted, r.about("relay")[0].Code)
	require.Equal(t, warn, r.about("relay")[0].Verdict)
	require.Contains(t, r.about("token")[0].Value, "for the node "+id.String())
	require.Nil(t, outsideOf(t).Outside)
}

// Each fault of a token or a relay has a code and advice of its own.
func TestDoctorRelayFaults(t *testing.T) {
	o := operator{t, identity.New()}
	entry, relayID := o.relay()
	_, addr, _ := strings.Cut(entry, "@")
	key, id := appKey(t)
	text := func(alter func(*token.Token)) string { return o.token(id, alter).Text() }
	closed := netip.AddrPortFrom(localhost, freePort(t)).String()
	other := operator{t, identity.New()}
	good := text(nil)
	altered := good[:len(good)-10] + strings.Repeat("A", 10)
	for name, c := range map[string]struct {
		entry, token      string
		ofToken, ofRelay  code
		saysOf, saysRelay string
	}{
		"no token":       {entry, "", "", codeTokenWanted, "", id.String()},
		"not a token":    {entry, "sdp2pr1:abc", codeNoToken, codeTokenWanted, "characters", ""},
		"another node's": {entry, o.token(relayID, nil).Text(), codeTokenNode, codeTokenNode, relayID.String(), "another node's"},
		"another relay":  {entry, text(func(t *token.Token) { t.Relay = id }), codeTokenRelay, codeTokenRelay, id.String(), "another relay"},
		"expired": {entry, text(func(t *token.Token) {
			t.NotBefore, t.Expiry = t.NotBefore.Add(-9*time.Hour), t.NotBefore.Add(-8*time.Hour)
		}),
			codeTokenTime, codeTokenTime, "it was valid from ", "expired"},
		"too early": {entry, text(func(t *token.Token) { t.NotBefore, t.Expiry = t.Expiry, t.Expiry.Add(time.Hour) }),
			codeTokenTime, codeTokenTime, "it is valid from ", "not yet"},
		"altered":        {entry, altered, codeTokenAltered, codeTokenAltered, "signed", ""},
		"unknown issuer": {entry, other.token(id, nil).Text(), codeOK, codeTokenIssuer, "valid until", "issuer"},
		"revoked":        {entry, text(func(t *token.Token) { t.Serial = 13 }), codeOK, codeTokenRevoked, "valid until", "revoked"},
		"only to call":   {entry, text(func(t *token.Token) { t.Rights = token.Connect }), codeOK, codeTokenRights, "may call but not be called", "does not have that right"},
		"nobody there":   {relayID.String() + "@" + closed, good, codeOK, codeRelaySilent, "", "no answer"},
		"another key":    {id.String() + "@" + addr, good, codeOK, codeRelayFails, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--relay", c.entry, "--key", key}
			if c.token != "" {
				args = append(args, "--token", file(t, c.token))
			}
			r := outsideOf(t, args...)
			relay := r.about("relay")[0]
			require.Equal(t, c.ofRelay, relay.Code, relay)
			require.NotEqual(t, fine, relay.Verdict)
			require.NotEmpty(t, relay.Advice)
			require.Contains(t, relay.Value+relay.Advice, c.saysRelay)
			if c.token == "" {
				require.Empty(t, r.about("token"))
				return
			}
			tok := r.about("token")[0]
			require.Equal(t, c.ofToken, tok.Code, tok)
			require.Contains(t, tok.Value, c.saysOf)
			if tok.Code != codeOK {
				require.Equal(t, fail, tok.Verdict)
				require.NotEmpty(t, tok.Advice)
			}
		})
	}
}

// A tracker is a hook that tracks a node.
type tracker struct{ id identity.RemoteIdentity }

func (tracker) Name() string { return "tracker" }

func (t tracker) Run(ctx context.Context, s *p2p.Scope) error {
	s.Track(t.id)
	s.Ready()
	<-ctx.Done()
	return nil
}

// The doctor calls a peer through a relay, and says why the connection stays
// relayed, or else why it could not call the peer.
func TestDoctorPath(t *testing.T) {
	o := operator{t, identity.New()}
	entry, relayID := o.relay()
	_, addr, _ := strings.Cut(entry, "@")
	key, id := appKey(t)
	peer := identity.New()
	listener := quic.New(quic.Config{})
	client := relay.New(relay.Config{
		Listener: listener, Only: true, Tokens: []token.Token{o.token(peer.Remote(), nil)},
		Servers: []relay.Server{{Identity: relayID, Addrs: []netip.AddrPort{netip.MustParseAddrPort(addr)}}},
	})
	node, err := p2p.Start(t.Context(), p2p.Config{App: "test", Identity: peer, Hooks: []p2p.Hook{listener, client, tracker{id}}})
	require.NoError(t, err)
	defer node.Shutdown(context.Background())
	require.NoError(t, client.Wait(t.Context()))

	good := []string{"--relay", entry, "--key", key, "--token", file(t, o.token(id, nil).Text())}
	r := outsideOf(t, append(good, peer.Remote().String())...)
	c := r.about("path")[0]
	require.Equal(t, []any{warn, codeRelayed}, []any{c.Verdict, c.Code}, c)
	require.Regexp(t, `^reached through a relay in .*, `+addr+`, but not directly: the peer has not begun`, c.Value)
	require.Equal(t, "relay", r.Outside.Path)
	require.Contains(t, r.about("peer")[0].Value, "it is reached through a relay")
	require.NotEqual(t, fail, r.Verdict)

	_, absent := appKey(t)
	c = outsideOf(t, append(good, absent.String())...).about("path")[0]
	require.Equal(t, []any{fail, codeUncalled}, []any{c.Verdict, c.Code}, c)
	require.Contains(t, c.Value, "no reservation at the relays")
	callee := file(t, o.token(id, func(t *token.Token) { t.Rights = token.Reserve }).Text())
	c = outsideOf(t, "--relay", entry, "--key", key, "--token", callee, peer.Remote().String()).about("path")[0]
	require.Equal(t, []any{fail, codeTokenRights}, []any{c.Verdict, c.Code}, c)
}

// seenAt returns the facts of a host that relays have observed at these
// addresses. The relays have different IP addresses if apart is set, and
// otherwise the same.
func seenAt(apart bool, observed ...string) *facts {
	f := healthy()
	f.outside = &outsideFacts{known: true}
	for i, o := range observed {
		ip := netip.AddrFrom4([4]byte{192, 0, 2, 1})
		if apart {
			ip = netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)})
		}
		s := relay.Status{State: relay.Ready, BytesLeft: -1, Server: relay.Server{Addrs: []netip.AddrPort{netip.AddrPortFrom(ip, 7374)}}}
		if o != "" {
			s.Observed = netip.MustParseAddrPort(o)
		}
		f.outside.relays = append(f.outside.relays, s)
	}
	return f
}

// Two relays tell what kind of NAT there is.
func TestDoctorNAT(t *testing.T) {
	for _, c := range []struct {
		f    *facts
		want mapping
		says string
	}{
		{seenAt(true, "10.0.0.7:5", "10.0.0.7:5"), noNAT, "none"},
		{seenAt(true, "10.0.0.7:5"), noNAT, "none"},
		{seenAt(true, "198.51.100.1:5", "198.51.100.1:5"), coneNAT, "cone"},
		{seenAt(true, "", "198.51.100.1:5", "198.51.100.1:5"), coneNAT, "cone"},
		{seenAt(true, "198.51.100.1:5", "10.0.0.7:5", "198.51.100.1:5"), coneNAT, "a relay in this network"},
		{seenAt(true, "198.51.100.1:5", "198.51.100.1:6"), symmetricNAT, "symmetric"},
		{seenAt(false, "198.51.100.1:5", "198.51.100.1:6"), symmetricNAT, "symmetric"},
		{seenAt(true, "198.51.100.1:5", "198.51.100.2:5"), symmetricNAT, "symmetric"},
		{seenAt(true, "198.51.100.1:5"), unknownNAT, "a second one"},
		{seenAt(false, "198.51.100.1:5", "198.51.100.1:5"), unknownNAT, "at another ip address"},
		{seenAt(true, "198.51.100.1:5", "[2001:db8::1]:5"), unknownNAT, "a second one"},
		{seenAt(true, "", ""), unknownNAT, "no relay says"},
	} {
		kind, _ := c.f.nat()
		require.Equal(t, c.want, kind, c.says)
		check := c.f.natCheck()
		require.Equal(t, kind == symmetricNAT, check.Verdict == warn)
		if !strings.HasPrefix(c.says, "a relay") {
			require.Contains(t, strings.ToLower(check.Value+" "+check.Advice), c.says)
		}
	}
}

// The doctor says in words why a connection stayed relayed.
func TestDoctorRelayedReasons(t *testing.T) {
	at := []netip.AddrPort{netip.MustParseAddrPort("198.51.100.9:7373")}
	for says, c := range map[string]struct {
		f *facts
		u relay.Upgrade
	}{
		"does not know the doctor's":   {&facts{outside: &outsideFacts{}}, relay.Upgrade{Err: relay.ErrNotBegun}},
		"has not begun":                {seenAt(true, ""), relay.Upgrade{Err: relay.ErrNotBegun}},
		"addresses to itself":          {seenAt(true, ""), relay.Upgrade{Err: relay.ErrOneSided}},
		"named no address":             {seenAt(true, ""), relay.Upgrade{Err: relay.ErrNoDirectPath}},
		"its 1 address answers":        {seenAt(true, ""), relay.Upgrade{Err: relay.ErrNoDirectPath, Tried: at}},
		"see the line about it":        {seenAt(true, "198.51.100.1:5", "198.51.100.1:6"), relay.Upgrade{Err: relay.ErrNoDirectPath, Tried: at}},
		"did not move there":           {seenAt(true, ""), relay.Upgrade{Err: relay.ErrNoDirectPath, Tried: at, Answered: at}},
		"an attempt has not ended yet": {seenAt(true, ""), relay.Upgrade{}},
		"what nobody expects":          {seenAt(true, ""), relay.Upgrade{Err: errors.New("what nobody expects")}},
	} {
		c.f.outside.far = &farFacts{path: p2p.Path{Kind: p2p.Relay}, upgrade: c.u}
		check := c.f.pathCheck(c.f.outside.far)
		require.Equal(t, codeRelayed, check.Code)
		require.Contains(t, check.Value+" "+check.Advice, says)
		require.NotEmpty(t, check.Advice)
	}
	f := seenAt(true, "")
	f.outside.far = &farFacts{path: p2p.Path{Kind: p2p.Direct, Remote: at[0]}, took: time.Second}
	require.Equal(t, "reached through a relay in 1s, then directly, at 198.51.100.9:7373", f.pathCheck(f.outside.far).Value)
	f.outside.relays[0].State, f.outside.relays[0].Err = relay.Refused, circuit.ResourceLimit
	require.Equal(t, codeRelayRefuses, f.relayCheck(&f.outside.relays[0]).Code)
	require.Contains(t, f.relayCheck(&relay.Status{Err: token.QuotaExhausted, Server: f.outside.relays[0].Server}).Value, "quota")
	f.outside.far = &farFacts{err: circuit.Hop{Type: circuit.HopStatus, Status: circuit.ResourceLimit, Reason: circuit.QuotaUsedUp}.Err()}
	require.Equal(t, codeQuota, f.pathCheck(f.outside.far).Code)
}

func TestDoctorRelayUsage(t *testing.T) {
	id := identity.New().Remote().String()
	many := make([]string, 9)
	for i := range many {
		many[i] = fmt.Sprintf("%v@192.0.2.1:%d", identity.New().Remote(), i+1)
	}
	for says, args := range map[string][]string{
		"not KEY@IP:PORT":        {"--relay", "x@192.0.2.1:1"},
		"not an ip:port":         {"--relay", id + "@192.0.2.1"},
		"not a host's":           {"--relay", id + "@0.0.0.0:1"},
		"requires --relay":       {"--token", "x"},
		"9 relays, of at most 8": {"--relay", strings.Join(many, " ")},
		"5 tokens, of at most 4": {"--relay", many[0], "--token=1", "--token=2", "--token=3", "--token=4", "--token=5"},
	} {
		status, stdout, stderr := examined(t, args...)
		require.Equal(t, exitUsage, status, args)
		require.Empty(t, stdout)
		require.Contains(t, stderr, says)
	}
	status, _, stderr := examined(t, "--relay", many[0], "--key", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, exitFailed, status)
	require.Contains(t, stderr, "sdp2p id --create")
}
