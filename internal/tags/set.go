package tags

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// Errors of [NewSet].
var (
	ErrSelf     = errors.New("tags: a node cannot be its own contact")
	ErrNegation = errors.New("tags: two contacts with one Montgomery form: a key and its negation")
)

// salt separates the keys of pairs from anything else derived from the two
// identities.
const salt = "sdp2p-contact\x00\x01"

// A pair is this node and one contact.
type pair struct {
	contact identity.RemoteIdentity
	ours    mac // of the tags that this node announces for the contact
	theirs  mac // of the tags that the contact announces for this node
}

// A Set holds the contacts of a node. It is immutable, and its methods may be
// called concurrently. The zero value has no contacts.
type Set struct {
	self  identity.RemoteIdentity
	pairs []pair
}

// NewSet returns the set of a node's contacts, in the given order and without
// duplicates. It reuses keys from an earlier set of the same node, if not nil;
// each other contact costs a key agreement, about 0.1 ms. It fails with
// [ErrSelf], with [ErrNegation], or with [identity.ErrInvalid] for the zero
// RemoteIdentity.
func NewSet(self identity.Identity, contacts []identity.RemoteIdentity, earlier *Set) (*Set, error) {
	s := &Set{self: self.Remote(), pairs: make([]pair, 0, len(contacts))}
	known := map[identity.RemoteIdentity]*pair{}
	if earlier != nil && earlier.self == s.self {
		for i := range earlier.pairs {
			known[earlier.pairs[i].contact] = &earlier.pairs[i]
		}
	}
	ownForm, err := montgomery(s.self)
	if err != nil {
		return nil, err
	}
	forms := map[[32]byte]identity.RemoteIdentity{}
	for _, c := range contacts {
		form, err := montgomery(c)
		if err != nil {
			return nil, err
		}
		if form == ownForm {
			return nil, ErrSelf
		}
		if other, ok := forms[form]; ok {
			if other != c {
				return nil, fmt.Errorf("%w: %v and %v", ErrNegation, other, c)
			}
			continue
		}
		forms[form] = c
		if p := known[c]; p != nil {
			s.pairs = append(s.pairs, *p)
			continue
		}
		p, err := newPair(self, c)
		if err != nil {
			return nil, err
		}
		s.pairs = append(s.pairs, p)
	}
	return s, nil
}

func montgomery(id identity.RemoteIdentity) ([32]byte, error) {
	public, err := id.X25519()
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(public.Bytes()), nil
}

func newPair(self identity.Identity, contact identity.RemoteIdentity) (pair, error) {
	public, err := contact.X25519()
	if err != nil {
		return pair{}, err
	}
	x, err := self.X25519().ECDH(public) // fails for keys of low order
	if err != nil {
		return pair{}, fmt.Errorf("tags: %w", err)
	}
	prk, err := hkdf.Extract(sha256.New, x, []byte(salt))
	if err != nil {
		return pair{}, fmt.Errorf("tags: %w", err)
	}
	ours, err := pairKey(prk, self.Remote(), contact)
	if err != nil {
		return pair{}, err
	}
	theirs, err := pairKey(prk, contact, self.Remote())
	if err != nil {
		return pair{}, err
	}
	return pair{contact, newMAC(ours), newMAC(theirs)}, nil
}

// pairKey returns the key of the tags that announcer announces for contact.
func pairKey(prk []byte, announcer, contact identity.RemoteIdentity) ([sha256.Size]byte, error) {
	a, c := announcer.Bytes(), contact.Bytes()
	k, err := hkdf.Expand(sha256.New, prk, "tag"+string(a[:])+string(c[:]), sha256.Size)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("tags: %w", err)
	}
	return [sha256.Size]byte(k), nil
}

// Len returns the number of contacts.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.pairs)
}

// Contacts returns the contacts in their order.
func (s *Set) Contacts() []identity.RemoteIdentity {
	if s == nil {
		return nil
	}
	all := make([]identity.RemoteIdentity, len(s.pairs))
	for i := range s.pairs {
		all[i] = s.pairs[i].contact
	}
	return all
}

// Tags returns the tags that the node announces with an ephemeral key in an
// epoch: one for each contact, in order.
func (s *Set) Tags(epoch uint64, key identity.RemoteIdentity) []Tag {
	if s.Len() == 0 {
		return nil
	}
	h := newHasher(key)
	all := make([]Tag, len(s.pairs))
	for i := range s.pairs {
		all[i] = h.tag(&s.pairs[i].ours, epoch)
	}
	return all
}

// Match returns the contacts that announce an ephemeral key with tags for this
// node in an epoch, the one before, or the one after, since clocks differ. The
// chance of more than one is 1 in 10¹⁴. It takes about 0.4 µs for each contact
// and epoch.
func (s *Set) Match(epoch uint64, key identity.RemoteIdentity, tags []Tag) []identity.RemoteIdentity {
	if s.Len() == 0 || len(tags) == 0 {
		return nil
	}
	listed := listOf(tags)
	epochs := []uint64{epoch, epoch - 1, epoch + 1} // they may wrap around, and match nothing then
	h := newHasher(key)
	var found []identity.RemoteIdentity
	for i := range s.pairs {
		p := &s.pairs[i]
		if slices.ContainsFunc(epochs, func(e uint64) bool { return listed[h.tag(&p.theirs, e)] }) {
			found = append(found, p.contact)
		}
	}
	return found
}

func listOf(tags []Tag) map[Tag]bool {
	listed := make(map[Tag]bool, len(tags))
	for _, t := range tags {
		listed[t] = true
	}
	return listed
}

// Find is Match for clocks that may be off by more: it returns a contact that
// announces the key, and how many epochs its clock is ahead, at most span
// either way. It prefers the smallest difference.
func (s *Set) Find(epoch uint64, key identity.RemoteIdentity, tags []Tag, span int) (contact identity.RemoteIdentity, ahead int, ok bool) {
	listed := listOf(tags)
	h := newHasher(key)
	for d := range span + 1 {
		for _, ahead := range []int{d, -d} {
			for i := range s.pairs {
				if listed[h.tag(&s.pairs[i].theirs, epoch+uint64(ahead))] { // it may wrap around, and match nothing then
					return s.pairs[i].contact, ahead, true
				}
			}
		}
	}
	return contact, 0, false
}
