package roster

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// A theft is a library of honest members, and of a thief that has an admin's
// key, a key that the founder removed long ago, and any number of keys of its
// own. (A key that two admins removed would be of use to a thief that has
// another admin's key: together, they are two admins as well.) Honest admins
// sign an add or a removal of an admin only once it has enough signatures.
type theft struct {
	*history
	admins  []identity.RemoteIdentity // honest ones, including the founder
	members []identity.RemoteIdentity // added by honest admins
	stolen  identity.RemoteIdentity
	former  identity.RemoteIdentity // an admin that was removed
	thief   []identity.RemoteIdentity
	pin     *node // the last statement of stolen before the theft
	honest  map[*node]bool
}

func newTheft(pick func(int) int) *theft {
	h := newHistory(pick)
	ids := cast()
	admins := 2 + pick(3)
	h.start(admins+2, 0)
	h.asked = nil
	s := &theft{history: h, admins: ids[:admins+1], stolen: ids[admins+1], former: ids[admins+2], honest: map[*node]bool{}}
	everybody := append(slices.Clone(s.admins), s.stolen, s.former)
	for range pick(8) {
		s.honestly(everybody)
	}
	last := h.end(s.former)
	if h.pick(2) == 0 {
		h.say(s.founder, Remove{s.former, last.hash})
	} else {
		h.agree(s.admins[1], Remove{s.former, last.hash}, s.founder)
	}
	for range pick(6) {
		s.honestly(append(slices.Clone(s.admins), s.stolen))
	}
	s.pin = h.end(s.stolen)
	for range pick(4) { // devices that did not know of each other, or a backup
		s.fork(one(h, s.admins))
	}
	s.thief = []identity.RemoteIdentity{s.stolen, s.stolen, s.stolen, s.former, s.fresh(), s.fresh(), s.fresh()}
	for _, n := range h.signed {
		s.honest[n] = true
	}
	return s
}

// fresh returns a key that has no role yet.
func (s *theft) fresh() identity.RemoteIdentity {
	s.number++
	return testNode(int(s.number) % 24)
}

// honestly has one of several admins sign what honest admins sign.
func (s *theft) honestly(admins []identity.RemoteIdentity) {
	h, admin := s.history, one(s.history, admins)
	switch h.pick(6) {
	case 0, 1:
		if len(s.members) < 4 {
			id := cast()[len(cast())-1-len(s.members)]
			s.members = append(s.members, id)
			h.say(admin, Add{Instance: id, Role: RoleMember, Name: fmt.Sprint("m", len(s.members))})
			h.say(id, at(h.pick(24)))
		}
	case 2:
		if len(s.members) > 1 {
			id := one(h, s.members[:1])
			h.say(admin, Remove{id, h.end(id).hash})
		}
	case 3:
		number := uint64(1)
		if v := h.roster(h.signed).View(); len(v.Secrets) > 0 {
			number = v.Secrets[len(v.Secrets)-1].Number + 1
		}
		h.say(admin, Secret{Number: number, Hash: Hash{byte(h.number)}})
	case 4:
		if len(s.members) > 0 {
			second := one(h, admins)
			if second != admin {
				h.agree(admin, Add{Instance: one(h, s.members), Role: RoleMember, Name: "again"}, second)
			}
		}
	case 5: // an endorsement that is not used
		other := one(h, s.admins)
		draft := h.draft(other, h.end(other), Remove{Instance: one(h, s.admins)})
		if admin != s.stolen {
			h.say(admin, Endorse{draft.unsigned})
		}
	}
}

// fork has an honest admin sign a statement after an earlier one of its own.
func (s *theft) fork(admin identity.RemoteIdentity) {
	after := one(s.history, s.by(admin))
	s.sign(s.draft(admin, after, one(s.history, []Body{at(s.pick(24)), Secret{Number: 1}})))
}

// steal has the thief sign an arbitrary statement, on any branch.
func (s *theft) steal() {
	h, signer := s.history, one(s.history, s.thief)
	after := h.end(signer)
	if own := h.by(signer); len(own) > 0 && h.pick(3) > 0 {
		after = one(h, append(own, nil))
	}
	if after == nil {
		h.sign(h.draft(signer, nil, at(h.pick(24))))
		return
	}
	target := one(h, slices.Concat(s.admins, s.members, s.thief))
	last := one(h, []Hash{{}, {1}, one(h, h.signed).hash})
	if own := h.by(target); len(own) > 0 && h.pick(2) == 0 {
		last = one(h, own).hash
	}
	var body Body
	switch h.pick(10) {
	case 0, 1, 2:
		body = Remove{target, last}
	case 3, 4, 5:
		body = Add{Instance: target, Role: RoleAdmin, Name: "thief's"}
	case 6, 7:
		body = Endorse{one(h, h.signed).unsigned}
	case 8:
		body = Secret{Number: uint64(h.pick(4)), Hash: Hash{9}}
	case 9:
		body = at(h.pick(24))
	}
	draft := h.draft(signer, after, body)
	if _, ok := body.(Endorse); !ok && h.pick(3) == 0 {
		other := one(h, s.thief)
		if end := h.end(other); end != nil && end != after {
			h.sign(h.draft(other, end, Endorse{draft.unsigned}))
		}
	}
	h.sign(draft)
}

// views returns the view of the honest statements, and that of all statements.
func (s *theft) views() (honest, all *View) {
	var nodes []*node
	for _, n := range s.signed {
		if s.honest[n] {
			nodes = append(nodes, n)
		}
	}
	return s.roster(nodes).View(), s.roster(s.signed).View()
}

// removals returns the removals by hash, except those by which the thief's keys
// left: the order in which removals of members are taken makes no difference.
func (s *theft) removals(v *View) []Removal {
	removals := slices.DeleteFunc(slices.Clone(v.Removals), func(r Removal) bool {
		return r.By == r.Instance && slices.Contains(s.thief, r.Instance)
	})
	slices.SortFunc(removals, func(a, b Removal) int { return a.Hash.Compare(b.Hash) })
	return removals
}

// answer has the founder, or two admins, remove the stolen key.
func (s *theft) answer() {
	before := len(s.signed)
	body := Remove{s.stolen, s.pin.hash}
	if s.pick(2) == 0 {
		s.say(s.founder, body)
	} else {
		s.agree(s.admins[1], body, s.admins[2])
	}
	for _, n := range s.signed[before:] {
		s.honest[n] = true
	}
}

// TestTheft: with one stolen admin key, with forks, and with new or removed
// keys, a thief can remove only plain members; after the answer, everything is
// as if the key had never been used.
func TestTheft(t *testing.T) {
	t.Parallel()
	many(t, 900, 50_000, func(t testing.TB, pick func(int) int) {
		s := newTheft(pick)
		defer func() {
			if t.Failed() {
				t.Log(s.history)
			}
		}()
		for range 1 + pick(12) {
			s.steal()
			if pick(4) == 0 { // the honest admins go on
				before := len(s.signed)
				s.honestly(s.admins)
				for _, n := range s.signed[before:] {
					s.honest[n] = true
				}
			}
		}
		honest, all := s.views()
		require.True(t, maps.Equal(honest.admins, all.admins), "there must be the same admins as without the thief")
		for _, id := range s.admins {
			require.Equal(t, honest.Admin(id), all.Admin(id), "an honest admin was removed")
			require.True(t, honest.Admin(id), "an honest admin must stay an admin")
		}
		for id := range honest.removed {
			require.True(t, all.Removed(id), "an instance that was removed is back")
		}

		s.answer()
		for range pick(6) {
			s.steal()
		}
		honest, all = s.views()
		require.True(t, all.Removed(s.stolen))
		require.Equal(t, honest.Members, all.Members)
		require.Equal(t, honest.Secrets, all.Secrets)
		require.True(t, maps.Equal(honest.admins, all.admins))
		require.Equal(t, s.removals(honest), s.removals(all))

		if pick(4) == 0 {
			d := newDevices(s.history, 3)
			d.scatter()
			d.agree(t)
			same(t, s.history, d.rosters[0])
		}
	})
}
