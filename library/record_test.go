package library_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/edwards25519"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// negated returns −A: another Ed25519 key, with the same Montgomery form.
func negated(t testing.TB, a identity.RemoteIdentity) identity.RemoteIdentity {
	b := a.Bytes()
	p, err := new(edwards25519.Point).SetBytes(b[:])
	require.NoError(t, err)
	minus, err := identity.FromBytes(p.Negate(p).Bytes())
	require.NoError(t, err, "the negated key is valid")
	require.NotEqual(t, a, minus)
	return minus
}

// TestInvalid: whichever function gets an invalid record, its error tells what
// is wrong, and nothing changes.
func TestInvalid(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		d, o := newDevice(), newDevice()
		d.start(t, network, p2p.Config{})
		good := d.add(t, o)
		before := d.lib.Record()
		other := newCharter(t, o)
		for want, change := range map[string]func(r *library.Record){
			"UUID is zero":      func(r *library.Record) { r.ID = uuid.Nil },
			"no founder":        func(r *library.Record) { r.Founder = identity.RemoteIdentity{} },
			"17 former secrets": func(r *library.Record) { r.Former = make([]library.Former, library.MaxFormer+1) },
			"4097 blocked":      func(r *library.Record) { r.Blocked = make([]identity.RemoteIdentity, library.MaxBlocked+1) },
			"signature is not":  func(r *library.Record) { r.Founder = o.instance.Remote() },
			"not a valid":       func(r *library.Record) { r.Statements[1].Signature[5]++ },
			"without the one be": func(r *library.Record) {
				r.Statements = slices.DeleteFunc(r.Statements, func(s roster.Statement) bool { return s.Signer == d.own() && s.Counter == 1 })
			},
			"of another library": func(r *library.Record) { r.Statements = append(r.Statements, other.record().Statements...) },
		} {
			r := before.Clone()
			change(&r)
			if r.ID == before.ID && want != "of another library" {
				require.ErrorIs(t, r.Validate(), library.ErrInvalid, want)
				require.ErrorContains(t, r.Validate(), want)
			}
			_, err := d.libraries.Add(r, newDevice().instance)
			require.ErrorIs(t, err, library.ErrInvalid, want)
			require.ErrorContains(t, err, want)
			require.Equal(t, before, d.lib.Record())
			require.Len(t, d.libraries.All(), 1)
			require.Len(t, p2p.Libraries(d.Metadata()), 1)
		}
		require.NoError(t, before.Validate())
		require.Equal(t, good.record(), before)
	})
}

// TestNegated: −A can prove itself with the private key of A. Only the instance
// on record counts, in the very form that is on record.
func TestNegated(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		minus := negated(t, b.own())
		_, err := a.lib.Open(t.Context(), minus, "echo")
		require.ErrorIs(t, err, library.ErrNoMember)
		require.ErrorIs(t, a.lib.Remove(minus, library.RemoveOptions{}), library.ErrNoMember)
		require.NoError(t, a.lib.Block(minus))
		require.NoError(t, b.echo(t, a), "the blocked instance is another one")
		require.NoError(t, a.remove(b))
		require.ErrorIs(t, b.echo(t, a), tunnel.ErrHandshake)
	})
}

// TestClone: a record and its copies share nothing.
func TestClone(t *testing.T) {
	d, o := newDevice(), newDevice()
	d.hook()
	c := newCharter(t, d)
	c.join(o, library.RoleMember)
	c.rest.Former = []library.Former{{Secret: library.NewSecret(), Until: time.Now().Add(time.Hour)}}
	c.rest.Blocked = ids(newDevice(), newDevice())
	r := c.record()
	draft, err := c.roster.Draft(d.own(), roster.Remove{Instance: o.own()}, time.Now())
	require.NoError(t, err)
	r.Asking = &draft
	want := r.Clone()
	spoil := func(r library.Record) {
		r.Statements[0] = roster.Statement{}
		r.Former[0].Secret = library.Secret{}
		r.Blocked[0] = identity.RemoteIdentity{}
		r.Asking.Counter++
	}
	d.load(t, r)
	spoil(r)
	require.Equal(t, want, d.lib.Record())
	spoil(d.lib.Record())
	require.Equal(t, want, d.lib.Record())
	spoil(want.Clone())
	require.Equal(t, want, d.lib.Record())
	d.cfg.Changed = func(r library.Record) error {
		spoil(r)
		return nil
	}
	require.NoError(t, d.lib.Block(o.own()))
	want.Blocked = append(want.Blocked, o.own())
	require.Equal(t, want, d.lib.Record())
}

// TestJSON: an app gets back the record that it has stored.
func TestJSON(t *testing.T) {
	d := newDevice()
	c := newCharter(t, d)
	c.join(newDevice(), library.RoleAdmin)
	full := c.record()
	draft, err := c.roster.Draft(d.own(), roster.Remove{Instance: d.own()}, time.Now())
	require.NoError(t, err)
	full.Name, full.Number, full.Lost, full.Rotate, full.KeepSecret = "Photos", 1<<63, true, true, true
	full.Blocked = ids(newDevice())
	full.Asking = &draft
	full.Replaced, full.Again = time.Now().UTC().Truncate(0), time.Now().UTC().Truncate(0)
	full.Former = []library.Former{
		{Secret: library.NewSecret(), Until: time.Now().UTC().Truncate(0)},
		{Until: time.Now().UTC().Truncate(0)}, // there was no former secret
	}
	for _, r := range []library.Record{newCharterOf(t, d, uuid.New(), library.Secret{}).record(), newCharter(t, d).record(), full} {
		b, err := r.Encode()
		require.NoError(t, err)
		got, err := library.DecodeRecord(b)
		require.NoError(t, err)
		require.Equal(t, r, got)
		again, err := got.Encode()
		require.NoError(t, err)
		require.Equal(t, string(b), string(again))
	}
	_, err = json.Marshal(full)
	require.ErrorIs(t, err, identity.ErrSecret, "a secret is encoded only by Encode")
	b, err := library.Record{ID: uuid.New(), Founder: d.own()}.Encode()
	require.NoError(t, err)
	for _, absent := range []string{"secret", "former", "asking", "blocked", "replaced"} {
		require.NotContains(t, string(b), absent)
	}

	for _, bad := range []string{
		`{"secret":"AAAA"}`, `{"secret":""}`, `{"secret":"` + strings.Repeat("A", 44) + `"}`, `{"secret":"` + strings.Repeat("A", 42) + `B"}`,
		`{"secret":"` + strings.Repeat("A", 43) + `="}`, `{"secret":1}`, `{"id":"x"}`, `{"founder":"x"}`, `{"statements":["x"]}`, `{"statements":["AAAA"]}`,
		`{"number":-1}`, `{"number":18446744073709551616}`, `{"former":[{"until":"x"}]}`, `{"blocked":["x"]}`, `{"asking":"x"}`,
	} {
		_, err := library.DecodeRecord([]byte(bad))
		require.ErrorIs(t, err, library.ErrInvalid, bad)
	}
	leak := strings.Repeat("S", 42)
	_, err = library.DecodeRecord([]byte(`{"secret":"` + leak + `"}`))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "SSS", "an error shows no secret")
}

// TestSecretPrints: a secret prints as a placeholder, whatever value contains
// it.
func TestSecretPrints(t *testing.T) {
	s := library.NewSecret()
	require.NotEqual(t, s, library.NewSecret())
	require.False(t, s.IsZero())
	require.True(t, library.Secret{}.IsZero())
	b := s.Bytes()
	require.Equal(t, s, library.SecretOf(b))
	text := base64.RawStdEncoding.EncodeToString(b[:])
	r := library.Record{ID: uuid.New(), Founder: newDevice().own(), Secret: s, Former: []library.Former{{Secret: s}}}
	former := library.Former{Secret: s}
	var log strings.Builder
	for _, logger := range []*slog.Logger{slog.New(slog.NewTextHandler(&log, nil)), slog.New(slog.NewJSONHandler(&log, nil))} {
		logger.Info("x", "secret", s)
	}
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "record", r, "former", former)
	printed := []string{log.String(), s.String(), library.Secret{}.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%20v"} {
		printed = append(printed, fmt.Sprintf(verb, r), fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s), fmt.Sprintf(verb, former))
	}
	for _, p := range printed {
		require.NotContains(t, p, text)
		require.NotContains(t, strings.ToLower(p), fmt.Sprintf("%x", b[:4]))
		require.NotContains(t, p, strings.Trim(fmt.Sprint(b[:4]), "[]"))
	}
	require.Equal(t, "no secret", fmt.Sprint(library.Secret{}))
	require.Equal(t, "a secret", fmt.Sprint(s))
}

// TestTidy: former secrets are kept until they expire; if there are too many,
// the newest are kept.
func TestTidy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.hook()
		soon := time.Now().Add(time.Hour)
		for _, f := range []library.Former{{}, {Secret: library.NewSecret(), Until: time.Now()}} {
			c := newCharter(t, d)
			if f.Until.IsZero() {
				f = library.Former{Secret: c.rest.Secret, Until: soon} // the present secret
			}
			c.rest.Former = []library.Former{f}
			d.load(t, c.record())
			require.Nil(t, d.lib.Record().Former)
		}
		c := newCharter(t, d)
		for range library.MaxFormer {
			c.rest.Former = append(c.rest.Former, library.Former{Secret: library.NewSecret(), Until: soon})
		}
		d.load(t, c.record())
		require.NoError(t, d.lib.Rotate())
		former := d.lib.Record().Former
		require.Len(t, former, library.MaxFormer)
		require.Equal(t, c.rest.Former[1:], former[:library.MaxFormer-1])
		require.True(t, c.rest.Secret == former[library.MaxFormer-1].Secret)
		require.Equal(t, time.Now().Add(library.FormerTime), former[library.MaxFormer-1].Until)
	})
}
