package library_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"filippo.io/edwards25519"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// negated returns −A: another Ed25519 key, with the same Montgomery form.
func negated(t testing.TB, a identity.RemoteIdentity) identity.RemoteIdentity {
	b := a.Bytes()
	p, err := new(edwards25519.Point).SetBytes(b[:])
	require.NoError(t, err)
	minus, err := identity.FromBytes(p.Negate(p).Bytes())
	require.NoError(t, err, "it is a key like any other")
	require.NotEqual(t, a, minus)
	return minus
}

// What is wrong with a record is said, whatever it is given to, and nothing changes.
func TestInvalid(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		d, o, p := newDevice(), newDevice(), newDevice()
		d.start(t, network, p2p.Config{})
		d.add(t, library.Record{ID: uuid.New(), Secret: library.NewSecret()}, o)
		before := d.lib.Record()
		member := func(instance, node identity.RemoteIdentity) library.Member {
			return library.Member{Instance: instance, Node: node, Name: "Bob's"}
		}
		own, node := d.instance.Remote(), d.id.Remote()
		many := make([]library.Member, library.MaxMembers+1)
		for i := range many {
			many[i] = member(identity.New().Remote(), identity.New().Remote())
		}
		for want, change := range map[string]func(r *library.Record){
			"UUID is zero":     func(r *library.Record) { r.ID = uuid.Nil },
			"1025 members":     func(r *library.Record) { r.Members = many },
			"4 former secrets": func(r *library.Record) { r.Former = make([]library.Former, 4) },
			"is the own":       func(r *library.Record) { r.Members = []library.Member{member(own, p.id.Remote())} },
			"own instance; it": func(r *library.Record) { r.Members = []library.Member{member(negated(t, own), p.id.Remote())} },
			"lives on this":    func(r *library.Record) { r.Members = []library.Member{member(p.instance.Remote(), node)} },
			"has no node":      func(r *library.Record) { r.Members = []library.Member{{Instance: p.instance.Remote()}} },
			`member "Bob's"`:   func(r *library.Record) { r.Members = []library.Member{{Node: p.id.Remote(), Name: "Bob's"}} },
			"same to the":      func(r *library.Record) { r.Members = append(r.Members, o.member()) },
			"are the same":     func(r *library.Record) { r.Members = append(r.Members, member(o.instance.Remote(), p.id.Remote())) },
			"same to the tunne": func(r *library.Record) {
				r.Members = append(r.Members, member(negated(t, o.instance.Remote()), p.id.Remote()))
			},
			"live on one node": func(r *library.Record) { r.Members = append(r.Members, member(p.instance.Remote(), o.id.Remote())) },
		} {
			r := before.Clone()
			change(&r)
			for name, err := range map[string]error{
				"Validate": r.Validate(own, node), "Update": d.lib.Update(r),
			} {
				require.ErrorIs(t, err, library.ErrInvalid, name)
				if r.ID != uuid.Nil || name == "Validate" {
					require.ErrorContains(t, err, want, name)
				}
			}
			if r.ID != uuid.Nil {
				r.ID = uuid.New()
			}
			_, err := d.libraries.Add(r, d.instance)
			require.ErrorIs(t, err, library.ErrInvalid)
			require.ErrorContains(t, err, want)
			require.Equal(t, before, d.lib.Record())
			require.Len(t, d.libraries.All(), 1)
			require.Len(t, p2p.Libraries(d.Metadata()), 1)
		}
		require.NoError(t, before.Validate(own, node))
		require.ErrorIs(t, d.lib.AddMember(d.member()), library.ErrInvalid)
		require.ErrorIs(t, d.lib.AddMember(library.Member{}), library.ErrInvalid)
		other := before.Clone()
		other.ID = uuid.New()
		require.ErrorIs(t, d.lib.Update(other), library.ErrInvalid)
		require.Equal(t, before, d.lib.Record())
		require.NoError(t, d.lib.Update(library.Record{ID: before.ID, Members: many[1:]}))
		require.ErrorIs(t, d.lib.AddMember(many[0]), library.ErrInvalid)
	})
}

// −A proves itself with the key of A: only who is on record counts, as it is there.
func TestNegated(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		r := library.Record{ID: uuid.New()}
		a.start(t, network, p2p.Config{})
		b.start(t, network, p2p.Config{})
		minus := library.Member{Instance: negated(t, b.instance.Remote()), Node: b.id.Remote()}
		r.Members = []library.Member{minus}
		a.load(t, r)
		b.add(t, r, a)
		pass(time.Second)
		require.NoError(t, b.echo(t, a), "to the tunnel they are the same")
		require.ErrorIs(t, a.echo(t, b), library.ErrNoMember)
		require.NoError(t, a.lib.RemoveMember(minus.Instance))
		require.ErrorIs(t, b.echo(t, a), tunnel.ErrHandshake)
	})
}

// An instance that moves, and a node that changes its instance.
func TestMoves(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		c := b.open(t, a)
		touch(t, c)
		r := a.lib.Record()
		r.Members[0].Node = identity.New().Remote()
		require.NoError(t, a.lib.Update(r))
		lost(t, c, tunnel.ErrTruncated)
		require.ErrorIs(t, b.echo(t, a), tunnel.ErrHandshake)
		require.ErrorIs(t, a.echo(t, b), p2p.ErrNoCandidate)

		r.Members = members(b)
		require.NoError(t, a.lib.Update(r))
		require.NoError(t, b.echo(t, a))
		c = b.open(t, a)
		touch(t, c)
		r.Members[0].Name = "Bob's"
		r.Name = "Photos"
		require.NoError(t, a.lib.Update(r))
		touch(t, c)
		require.Equal(t, "Photos", a.lib.Record().Name)

		r.Members[0].Instance = identity.New().Remote()
		require.NoError(t, a.lib.Update(r))
		lost(t, c, tunnel.ErrTruncated)
		require.ErrorIs(t, b.echo(t, a), tunnel.ErrHandshake)
	})
}

// A record and its copies share nothing.
func TestClone(t *testing.T) {
	d, o := newDevice(), newDevice()
	d.hook()
	r := library.Record{ID: uuid.New(), Members: members(o), Former: []library.Former{
		{Secret: library.NewSecret(), Until: time.Now().Add(time.Hour), Members: []identity.RemoteIdentity{o.instance.Remote()}},
	}}
	d.load(t, r)
	want := r.Clone()
	spoil := func(r library.Record) {
		r.Members[0].Name = "spoilt"
		r.Former[0].Secret = library.Secret{}
		r.Former[0].Members[0] = identity.RemoteIdentity{}
	}
	spoil(r)
	require.Equal(t, want, d.lib.Record())
	spoil(d.lib.Record())
	require.Equal(t, want, d.lib.Record())
	spoil(want.Clone())
	require.Equal(t, want, d.lib.Record())
	update := want.Clone()
	require.NoError(t, d.lib.Update(update))
	spoil(update)
	require.Equal(t, want, d.lib.Record())

	m, ok := want.Member(o.instance.Remote())
	require.True(t, ok)
	require.Equal(t, o.member(), m)
	_, ok = want.Member(d.instance.Remote())
	require.False(t, ok)
}

// What an app keeps is what it gets back.
func TestJSON(t *testing.T) {
	for _, r := range []library.Record{
		{ID: uuid.New()},
		{ID: uuid.New(), Name: "Photos", Members: []library.Member{newDevice().member(), {Instance: newDevice().instance.Remote(), Node: newDevice().id.Remote(), Name: "Bob's"}}},
		{ID: uuid.New(), Secret: library.NewSecret(), Number: 1 << 63, Former: []library.Former{
			{Secret: library.NewSecret(), Until: time.Now().UTC().Truncate(0), Members: []identity.RemoteIdentity{newDevice().instance.Remote()}},
			{Until: time.Now().UTC().Truncate(0)}, // there was none
		}},
	} {
		b, err := json.Marshal(r)
		require.NoError(t, err)
		var got library.Record
		require.NoError(t, json.Unmarshal(b, &got))
		require.Equal(t, r, got)
		again, err := json.Marshal(got)
		require.NoError(t, err)
		require.Equal(t, string(b), string(again))
	}
	b, err := json.Marshal(library.Record{ID: uuid.New()})
	require.NoError(t, err)
	require.NotContains(t, string(b), "secret")
	require.NotContains(t, string(b), "former")

	var r library.Record
	for _, bad := range []string{
		`{"secret":"AAAA"}`, `{"secret":""}`, `{"secret":"` + strings.Repeat("A", 44) + `"}`, `{"secret":"` + strings.Repeat("A", 42) + `B"}`,
		`{"secret":"` + strings.Repeat("A", 43) + `="}`, `{"secret":1}`, `{"id":"x"}`, `{"members":[{"instance":"x"}]}`, `{"number":-1}`,
		`{"number":18446744073709551616}`, `{"former":[{"until":"x"}]}`,
	} {
		require.Error(t, json.Unmarshal([]byte(bad), &r), bad)
	}
	leak := strings.Repeat("S", 42)
	err = json.Unmarshal([]byte(`{"secret":"`+leak+`"}`), &r)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "SSS", "an error shows no secret")
}

// A secret prints as a placeholder, whatever it is part of.
func TestSecretPrints(t *testing.T) {
	s := library.NewSecret()
	require.NotEqual(t, s, library.NewSecret())
	require.False(t, s.IsZero())
	require.True(t, library.Secret{}.IsZero())
	text, err := s.MarshalText()
	require.NoError(t, err)
	r := library.Record{ID: uuid.New(), Secret: s, Former: []library.Former{{Secret: s}}}
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
		require.NotContains(t, p, string(text))
		require.NotContains(t, strings.ToLower(p), fmt.Sprintf("%x", s[:4]))
		require.NotContains(t, p, strings.Trim(fmt.Sprint(s[:4]), "[]"))
	}
	require.Equal(t, "no secret", fmt.Sprint(library.Secret{}))
	require.Equal(t, "a secret", fmt.Sprint(s))
}

// Former secrets are kept while somebody may use them, and the newest of too many.
func TestTidy(t *testing.T) {
	d, o := newDevice(), newDevice()
	d.hook()
	pending, soon := []identity.RemoteIdentity{o.instance.Remote()}, time.Now().Add(time.Hour)
	r := library.Record{ID: uuid.New(), Secret: library.NewSecret(), Members: members(o)}
	for _, f := range []library.Former{
		{Secret: r.Secret, Until: soon, Members: pending}, {Secret: library.NewSecret(), Until: soon},
		{Secret: library.NewSecret(), Until: time.Now(), Members: pending},
		{Secret: library.NewSecret(), Until: soon, Members: []identity.RemoteIdentity{newDevice().instance.Remote()}},
	} {
		r.Former = []library.Former{f}
		r.ID = uuid.New()
		d.load(t, r)
		require.Nil(t, d.lib.Record().Former)
	}
	for i := range 5 {
		before := d.lib.Record().Secret
		require.NoError(t, d.lib.Rotate())
		former := d.lib.Record().Former
		require.Len(t, former, min(i+1, library.MaxFormer))
		require.True(t, before == former[len(former)-1].Secret)
		require.Equal(t, pending, former[0].Members)
	}
}
