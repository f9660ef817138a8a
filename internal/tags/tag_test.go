package tags

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"

	"filippo.io/edwards25519"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/identity"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func fromSeed(t testing.TB, seed string) identity.Identity {
	id, err := identity.FromSeed(unhex(t, seed))
	require.NoError(t, err)
	return id
}

// contactsOf returns n identities, always the same ones.
func contactsOf(t testing.TB, n int) []identity.Identity {
	all := make([]identity.Identity, n)
	for i := range all {
		seed := sha256.Sum256(binary.BigEndian.AppendUint32([]byte("contact"), uint32(i)))
		var err error
		all[i], err = identity.FromSeed(seed[:])
		require.NoError(t, err)
	}
	return all
}

func remotes(all []identity.Identity) (list []identity.RemoteIdentity) {
	for _, id := range all {
		list = append(list, id.Remote())
	}
	return list
}

func newSet(t testing.TB, self identity.Identity, contacts ...identity.RemoteIdentity) *Set {
	s, err := NewSet(self, contacts, nil)
	require.NoError(t, err)
	return s
}

// Tags equal those of the vectors, in both directions.
func TestVectors(t *testing.T) {
	b, err := os.ReadFile("../../testdata/contact_tags.json")
	require.NoError(t, err)
	var vectors []struct {
		AnnouncerSeed   string `json:"announcer_seed"`
		ContactSeed     string `json:"contact_seed"`
		EphemeralSeed   string `json:"ephemeral_seed"`
		EphemeralPublic string `json:"ephemeral_public"`
		Epoch           uint64 `json:"epoch"`
		Tag             string `json:"tag"`
		ReverseTag      string `json:"reverse_tag"`
	}
	require.NoError(t, json.Unmarshal(b, &vectors))
	require.NotEmpty(t, vectors)
	for _, v := range vectors {
		announcer, contact := fromSeed(t, v.AnnouncerSeed), fromSeed(t, v.ContactSeed)
		key := fromSeed(t, v.EphemeralSeed).Remote()
		raw := key.Bytes()
		require.Equal(t, v.EphemeralPublic, hex.EncodeToString(raw[:]))
		a, c := newSet(t, announcer, contact.Remote()), newSet(t, contact, announcer.Remote())

		tags := a.Tags(v.Epoch, key)
		require.Equal(t, v.Tag, hex.EncodeToString(tags[0][:]))
		require.Equal(t, []identity.RemoteIdentity{announcer.Remote()}, c.Match(v.Epoch, key, tags))
		require.Empty(t, a.Match(v.Epoch, key, tags), "a tag works in one direction only")

		tags = c.Tags(v.Epoch, key)
		require.Equal(t, v.ReverseTag, hex.EncodeToString(tags[0][:]))
		require.Equal(t, []identity.RemoteIdentity{contact.Remote()}, a.Match(v.Epoch, key, tags))
	}
}

// A mac is HMAC-SHA256.
func TestMAC(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key"))
		epoch := rapid.Uint64().Draw(t, "epoch")
		id, _ := identity.FromSeed(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed"))
		k := id.Remote().Bytes()
		want := hmac.New(sha256.New, key[:])
		want.Write(binary.BigEndian.AppendUint64(nil, epoch))
		want.Write(k[:])
		m := newMAC(key)
		got := newHasher(id.Remote()).tag(&m, epoch)
		require.Equal(t, want.Sum(nil)[:Size], got[:])
	})
}

// Each contact finds the announcer by its own tag, in three epochs; other
// nodes, and nodes with another key, find nothing.
func TestMatch(t *testing.T) {
	all := contactsOf(t, 6)
	self, contacts, stranger := all[0], all[1:4], all[4]
	s := newSet(t, self, remotes(contacts)...)
	require.Equal(t, remotes(contacts), s.Contacts())
	key, other := all[5].Remote(), all[4].Remote()
	const epoch = 1967000
	tags := s.Tags(epoch, key)
	require.Len(t, tags, 3)
	for _, c := range contacts {
		theirs := newSet(t, c, self.Remote())
		for _, e := range []uint64{epoch - 1, epoch, epoch + 1} {
			require.Equal(t, []identity.RemoteIdentity{self.Remote()}, theirs.Match(e, key, tags), e)
		}
		for _, e := range []uint64{0, epoch - 2, epoch + 2, ^uint64(0)} {
			require.Empty(t, theirs.Match(e, key, tags), e)
		}
		require.Empty(t, theirs.Match(epoch, other, tags), "the tag is bound to the key")
	}
	require.Empty(t, newSet(t, stranger, self.Remote()).Match(epoch, key, tags), "both sides must be contacts")
	require.Empty(t, (*Set)(nil).Match(epoch, key, tags))
	require.Empty(t, (*Set)(nil).Tags(epoch, key))
}

// negated returns −A: another key with the same Montgomery form.
func negated(t testing.TB, id identity.RemoteIdentity) identity.RemoteIdentity {
	b := id.Bytes()
	p, err := new(edwards25519.Point).SetBytes(b[:])
	require.NoError(t, err)
	r, err := identity.FromBytes(p.Negate(p).Bytes())
	require.NoError(t, err)
	return r
}

// A key and its negation are refused in one list, as are the node itself and
// its negation, and the zero key; a key that is listed twice counts once.
func TestSetRefusals(t *testing.T) {
	all := contactsOf(t, 3)
	self, a, b := all[0], all[1].Remote(), all[2].Remote()
	for _, refused := range []struct {
		contacts []identity.RemoteIdentity
		err      error
	}{
		{[]identity.RemoteIdentity{a, b, negated(t, a)}, ErrNegation},
		{[]identity.RemoteIdentity{negated(t, a), a}, ErrNegation},
		{[]identity.RemoteIdentity{a, self.Remote()}, ErrSelf},
		{[]identity.RemoteIdentity{negated(t, self.Remote())}, ErrSelf},
		{[]identity.RemoteIdentity{a, {}}, identity.ErrInvalid},
	} {
		_, err := NewSet(self, refused.contacts, nil)
		require.ErrorIs(t, err, refused.err)
	}
	require.Equal(t, []identity.RemoteIdentity{a, b}, newSet(t, self, a, b, a).Contacts())
	require.Equal(t, []identity.RemoteIdentity{negated(t, a)}, newSet(t, self, negated(t, a)).Contacts())
}

// A set that takes over the keys of an earlier one has the same tags as a new
// one; keys of another node's set are not taken over.
func TestEarlierSet(t *testing.T) {
	all := contactsOf(t, 5)
	key := all[4].Remote()
	old := newSet(t, all[0], all[1].Remote(), all[2].Remote())
	for _, self := range []identity.Identity{all[0], all[3]} {
		contacts := []identity.RemoteIdentity{all[2].Remote(), all[1].Remote()}
		got, err := NewSet(self, contacts, old)
		require.NoError(t, err)
		require.Equal(t, newSet(t, self, contacts...).Tags(7, key), got.Tags(7, key))
	}
}

func TestEpoch(t *testing.T) {
	require.EqualValues(t, 0, Epoch(time.Unix(899, 999)))
	require.EqualValues(t, 1, Epoch(time.Unix(900, 0)))
	require.EqualValues(t, 1967000, Epoch(time.Unix(1967000*900, 0)))
	require.EqualValues(t, 0, Epoch(time.Unix(-1e6, 0)), "a clock that was never set")
}
