package token_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/token"
)

// seeded returns the identity whose seed is 32 times b.
func seeded(t testing.TB, b byte) identity.Identity {
	id, err := identity.FromSeed(bytes.Repeat([]byte{b}, identity.SeedSize))
	require.NoError(t, err)
	return id
}

func fromSeed(t testing.TB, seed string) identity.Identity {
	if seed == "" {
		return identity.Identity{}
	}
	b, err := hex.DecodeString(seed)
	require.NoError(t, err)
	id, err := identity.FromSeed(b)
	require.NoError(t, err)
	return id
}

func unix(minutes int64) time.Time { return time.Unix(minutes*60, 0) }

type vector struct {
	Name       string `json:"name"`
	NodeSeed   string `json:"node_seed"`
	Account    string `json:"account"`
	RelaySeed  string `json:"relay_seed"`
	Rights     uint8  `json:"rights"`
	NotBefore  int64  `json:"not_before_minutes"`
	Expiry     int64  `json:"expiry_minutes"`
	Rate       string `json:"rate"`
	Quota      string `json:"quota"`
	Serial     uint32 `json:"serial"`
	IssuerSeed string `json:"issuer_seed"`
	Token      string `json:"token"`
	Text       string `json:"text"`
}

func vectors(t testing.TB) (all []vector) {
	b, err := os.ReadFile("../../testdata/relay_token.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &all))
	require.NotEmpty(t, all)
	return all
}

func (v vector) token(t testing.TB) token.Token {
	account, err := uuid.Parse(v.Account)
	require.NoError(t, err)
	rate, err := strconv.ParseUint(v.Rate, 10, 64)
	require.NoError(t, err)
	quota, err := strconv.ParseUint(v.Quota, 10, 64)
	require.NoError(t, err)
	return token.Token{
		Node: fromSeed(t, v.NodeSeed).Remote(), Account: account, Relay: fromSeed(t, v.RelaySeed).Remote(),
		Rights: token.Rights(v.Rights), NotBefore: unix(v.NotBefore), Expiry: unix(v.Expiry),
		Rate: rate, Quota: quota, Serial: v.Serial,
	}
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			issuer := fromSeed(t, v.IssuerSeed)
			signed, err := v.token(t).Sign(issuer)
			require.NoError(t, err)
			b, err := signed.AppendBinary([]byte("before"))
			require.NoError(t, err)
			require.Equal(t, v.Token, hex.EncodeToString(b[len("before"):]))
			require.Equal(t, v.Text, signed.Text())

			got, err := token.FromBytes(b[len("before"):])
			require.NoError(t, err)
			require.True(t, signed == got)
			got, err = token.Parse(" \n" + v.Text + "\n")
			require.NoError(t, err)
			require.True(t, signed == got)
			rules := token.Rules{
				Relay:   fromSeed(t, v.RelaySeed).Remote(),
				Trusted: func(id identity.RemoteIdentity) bool { return id == issuer.Remote() },
			}
			require.Equal(t, token.OK, rules.Verify(got, signed.Node, signed.NotBefore))
		})
	}
}

// Each altered bit is detected, by the parser or by the signature, and leads
// only to these refusals.
func TestEachBit(t *testing.T) {
	v := vectors(t)[1]
	issuer, b := fromSeed(t, v.IssuerSeed).Remote(), unhex(t, v.Token)
	asked := 0
	rules := token.Rules{
		Relay:   fromSeed(t, v.RelaySeed).Remote(),
		Trusted: func(id identity.RemoteIdentity) bool { return id == issuer },
		Revoked: func(identity.RemoteIdentity, uint32) bool { asked++; return false },
	}
	verify := func() token.Status {
		got, err := token.FromBytes(b)
		if err != nil {
			require.ErrorIs(t, err, token.ErrInvalid)
			require.Zero(t, got)
			return token.Malformed
		}
		return rules.Verify(got, v.token(t).Node, unix(v.NotBefore))
	}
	require.Equal(t, token.OK, verify())
	require.Equal(t, 1, asked)
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			want := []token.Status{token.Malformed, token.BadSignature}
			if i >= 110 && i < 142 {
				want = []token.Status{token.Malformed, token.UnknownIssuer}
			}
			require.Contains(t, want, verify(), "byte %d, bit %d", i, bit)
			b[i] ^= 1 << bit
		}
	}
	require.Equal(t, 1, asked)
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestMalformed(t *testing.T) {
	b := unhex(t, vectors(t)[1].Token)
	for n := range b {
		_, err := token.FromBytes(b[:n])
		require.ErrorIs(t, err, token.ErrInvalid)
	}
	for name, alter := range map[string]func(b []byte) []byte{
		"longer":           func(b []byte) []byte { return append(b, 0) },
		"version 0":        func(b []byte) []byte { b[0] = 0; return b },
		"version 2":        func(b []byte) []byte { b[0] = 2; return b },
		"no node":          func(b []byte) []byte { clear(b[1:33]); return b },
		"node is no key":   func(b []byte) []byte { clear(b[1:33]); b[1] = 1; return b },
		"relay is no key":  func(b []byte) []byte { clear(b[49:81]); b[49] = 1; return b },
		"no rights":        func(b []byte) []byte { b[81] = 0; return b },
		"unknown rights":   func(b []byte) []byte { b[81] = 4; return b },
		"no life":          func(b []byte) []byte { copy(b[86:90], b[82:86]); return b },
		"ends before":      func(b []byte) []byte { clear(b[86:90]); return b },
		"no issuer":        func(b []byte) []byte { clear(b[110:142]); return b },
		"issuer is no key": func(b []byte) []byte { clear(b[110:142]); b[110] = 1; return b },
		"no signature":     func(b []byte) []byte { clear(b[142:]); return b },
	} {
		got, err := token.FromBytes(alter(bytes.Clone(b)))
		require.ErrorIs(t, err, token.ErrInvalid, name)
		require.Zero(t, got, name)
	}
}

func TestText(t *testing.T) {
	text := vectors(t)[0].Text
	for name, bad := range map[string]string{
		"empty": "", "prefix only": "sdp2pr1:", "no prefix": strings.TrimPrefix(text, "sdp2pr1:"), "another prefix": "sdp2pr2:" + text[8:],
		"upper case prefix": strings.ToUpper(text[:8]) + text[8:], "shorter": text[:len(text)-1], "longer": text + "A", "padded": text + "=",
		"a line break in place of a character": text[:20] + "\n" + text[21:], "a line break": text[:20] + "\n" + text[20:], "standard base64": text[:20] + "+" + text[21:],
	} {
		_, err := token.Parse(bad)
		require.ErrorIs(t, err, token.ErrInvalid, name)
	}
	// The unused bits of the last character must be zero.
	last, count := text[:len(text)-1], 0
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		if _, err := token.Parse(last + string(c)); err == nil {
			count++
		}
	}
	require.Equal(t, 16, count) // 206 bytes are 274⅔ characters
}

// signed returns a token that the relay with the seed 2 accepts, if alter
// changes nothing.
func signed(t testing.TB, alter func(*token.Token)) token.Token {
	made := token.Token{
		Node: seeded(t, 1).Remote(), Account: uuid.UUID{1}, Relay: seeded(t, 2).Remote(),
		Rights: token.Reserve | token.Connect, NotBefore: unix(1e6), Expiry: unix(1e6 + 60), Serial: 7,
	}
	alter(&made)
	made, err := made.Sign(seeded(t, 3))
	require.NoError(t, err)
	return made
}

func TestVerify(t *testing.T) {
	nothing := func(*token.Token) {}
	rules := token.Rules{
		Relay:   seeded(t, 2).Remote(),
		Trusted: func(id identity.RemoteIdentity) bool { return id == seeded(t, 3).Remote() },
		Revoked: func(id identity.RemoteIdentity, serial uint32) bool {
			return id == seeded(t, 3).Remote() && serial == 8
		},
	}
	stranger := rules
	stranger.Trusted = func(identity.RemoteIdentity) bool { return false }
	start, end := unix(1e6), unix(1e6+60)
	for _, c := range []struct {
		name  string
		rules token.Rules
		alter func(*token.Token)
		node  byte
		now   time.Time
		want  token.Status
	}{
		{"good", rules, nothing, 1, start, token.OK},
		{"for every relay", rules, func(t *token.Token) { t.Relay = identity.RemoteIdentity{} }, 1, start, token.OK},
		{"a day", rules, func(t *token.Token) { t.Expiry = t.NotBefore.Add(24 * time.Hour) }, 1, start, token.OK},
		{"unknown issuer", stranger, nothing, 1, start, token.UnknownIssuer},
		{"no issuers", token.Rules{Relay: rules.Relay}, nothing, 1, start, token.UnknownIssuer},
		{"another node's", rules, nothing, 4, start, token.AnotherNode},
		{"another relay's", rules, func(x *token.Token) { x.Relay = seeded(t, 5).Remote() }, 1, start, token.AnotherRelay},
		{"revoked", rules, func(t *token.Token) { t.Serial = 8 }, 1, start, token.Revoked},
		{"the relay's clock is 4 min late", rules, nothing, 1, start.Add(-4 * time.Minute), token.OK},
		{"5 min", rules, nothing, 1, start.Add(-5 * time.Minute), token.OK},
		{"6 min", rules, nothing, 1, start.Add(-6 * time.Minute), token.Expired},
		{"a day late", rules, nothing, 1, start.Add(-24 * time.Hour), token.Expired},
		{"the relay's clock is 4 min early", rules, nothing, 1, end.Add(4 * time.Minute), token.OK},
		{"5 min less", rules, nothing, 1, end.Add(5*time.Minute - 1), token.OK},
		{"5 min early", rules, nothing, 1, end.Add(5 * time.Minute), token.Expired},
		{"6 min early", rules, nothing, 1, end.Add(6 * time.Minute), token.Expired},
		{"a day early", rules, nothing, 1, end.Add(24 * time.Hour), token.Expired},
	} {
		require.Equal(t, c.want, c.rules.Verify(signed(t, c.alter), seeded(t, c.node).Remote(), c.now), c.name)
	}
}

// The signature covers the fields: a token that was altered after signing is
// not valid.
func TestAltered(t *testing.T) {
	rules := token.Rules{Relay: seeded(t, 2).Remote(), Trusted: func(identity.RemoteIdentity) bool { return true }}
	good := signed(t, func(*token.Token) {})
	require.Equal(t, token.OK, rules.Verify(good, good.Node, good.NotBefore))
	for name, alter := range map[string]func(*token.Token){
		"node": func(x *token.Token) { x.Node = seeded(t, 9).Remote() }, "account": func(x *token.Token) { x.Account[15]++ },
		"relay": func(x *token.Token) { x.Relay = identity.RemoteIdentity{} }, "rights": func(x *token.Token) { x.Rights = token.Reserve },
		"not before": func(x *token.Token) { x.NotBefore = x.NotBefore.Add(time.Minute) }, "expiry": func(x *token.Token) { x.Expiry = x.Expiry.Add(time.Minute) },
		"rate": func(x *token.Token) { x.Rate++ }, "quota": func(x *token.Token) { x.Quota++ },
		"serial": func(x *token.Token) { x.Serial++ }, "issuer": func(x *token.Token) { x.Issuer = seeded(t, 9).Remote() },
	} {
		bad := good
		alter(&bad)
		require.Equal(t, token.BadSignature, rules.Verify(bad, bad.Node, good.NotBefore), name)
	}
	bad := good
	bad.Expiry = bad.NotBefore.Add(25 * time.Hour)
	require.Equal(t, token.Malformed, rules.Verify(bad, bad.Node, good.NotBefore))
	require.NotEqual(t, token.OK, rules.Verify(token.Token{}, identity.RemoteIdentity{}, good.NotBefore))
}

func TestSignRefuses(t *testing.T) {
	good := signed(t, func(*token.Token) {})
	for name, alter := range map[string]func(*token.Token){
		"no node":              func(x *token.Token) { x.Node = identity.RemoteIdentity{} },
		"no rights":            func(x *token.Token) { x.Rights = 0 },
		"unknown rights":       func(x *token.Token) { x.Rights = 8 },
		"no life":              func(x *token.Token) { x.Expiry = x.NotBefore },
		"ends first":           func(x *token.Token) { x.Expiry = x.NotBefore.Add(-time.Minute) },
		"a day and a minute":   func(x *token.Token) { x.Expiry = x.NotBefore.Add(token.MaxLife + time.Minute) },
		"beyond all time":      func(x *token.Token) { x.NotBefore, x.Expiry = unix(1<<32), unix(1<<32+60) },
		"before all time":      func(x *token.Token) { x.NotBefore, x.Expiry = unix(-60), unix(-1) },
		"less than one minute": func(x *token.Token) { x.Expiry = x.NotBefore.Add(59 * time.Second) },
	} {
		bad := good
		alter(&bad)
		_, err := bad.Sign(seeded(t, 3))
		require.ErrorIs(t, err, token.ErrInvalid, name)
	}
	_, err := good.Sign(identity.Identity{})
	require.ErrorIs(t, err, token.ErrInvalid)
	unsigned := token.Token{Node: good.Node}
	_, err = unsigned.AppendBinary(nil)
	require.ErrorIs(t, err, token.ErrInvalid)
	require.Empty(t, unsigned.Text())
}

func TestPrints(t *testing.T) {
	good := signed(t, func(*token.Token) {})
	require.Equal(t, "a relay token of "+good.Node.String(), fmt.Sprint(good))
	_, err := json.Marshal(good)
	require.ErrorIs(t, err, identity.ErrSecret)
	require.Equal(t, "reserve, connect", good.Rights.String())
	require.Equal(t, "connect, 0x8", token.Rights(10).String())
	require.Equal(t, good.Issuer.Fingerprint()+"/01000000-0000-0000-0000-000000000000", good.Payer().String())
	for r := token.Reserve; r <= token.Reserve|token.Connect; r++ {
		got, err := token.ParseRights(r.String())
		require.NoError(t, err)
		require.Equal(t, r, got)
	}
	for _, bad := range []string{"", "reserve,", "Reserve", "all"} {
		_, err := token.ParseRights(bad)
		require.ErrorIs(t, err, token.ErrInvalid, bad)
	}
	require.NoError(t, token.OK.Err())
	for s := token.Malformed; s <= token.QuotaExhausted; s++ {
		require.ErrorIs(t, fmt.Errorf("x: %w", s.Err()), s)
		require.NotContains(t, s.Error(), "status")
	}
	require.Equal(t, "relay token: status 9", token.Status(9).Error())
}

func FuzzFromBytes(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(unhex(f, v.Token))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := token.FromBytes(b)
		if err != nil {
			require.ErrorIs(t, err, token.ErrInvalid)
			return
		}
		back, err := got.AppendBinary(nil)
		require.NoError(t, err)
		require.Equal(t, b, back)
		again, err := token.Parse(got.Text())
		require.NoError(t, err)
		require.True(t, again == got)
	})
}
