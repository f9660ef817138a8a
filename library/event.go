package library

import (
	"slices"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library/roster"
)

// An Event reports a change of the members of a library, on whichever device
// it was decided: [MemberAdded], [MemberReturned], [MemberRemoved], [Asked] or
// [Forked].
type Event interface{ event() }

// MemberAdded tells of a new member.
type MemberAdded struct {
	Library *Library
	Member  Member
	By      identity.RemoteIdentity // the admin
}

// MemberReturned tells of a member whose removal does not count any more, since
// the admin who removed it was removed. Its user may want to remove it again.
type MemberReturned struct {
	Library *Library
	Member  Member
}

// MemberRemoved tells of a member that belongs to the library no longer. Of
// this device itself, the library can still be read, and nothing of it is
// exchanged.
type MemberRemoved struct {
	Library *Library
	Member  Member
	By      identity.RemoteIdentity // who removed it; Member.Instance if it left
	// Introduced are members that are out with it, and can be added again: those
	// that Member had added after the last statement that the removal leaves,
	// those that these had, and so on. If only they are new, Member was removed
	// before.
	Introduced []Member
}

// Asked tells that another admin needs this one's signature: see
// [Library.Requests].
type Asked struct {
	Library *Library
	Request Request
}

// Forked tells that an instance's key is used by two, or came back from a
// backup. If its user knows nothing of that, remove the member and pair it
// again.
type Forked struct {
	Library  *Library
	Instance identity.RemoteIdentity
}

func (MemberAdded) event()    {}
func (MemberReturned) event() {}
func (MemberRemoved) event()  {}
func (Asked) event()          {}
func (Forked) event()         {}

// notify reports what is different. The caller holds hook.keeping.
func (l *Library) notify(before, after *content) {
	if l.hook.cfg.Notify == nil || before.view == after.view {
		return
	}
	for _, e := range l.differences(before, after) {
		l.hook.cfg.Notify(e)
	}
}

func (l *Library) differences(before, after *content) (events []Event) {
	events = l.removals(before, after)
	for _, m := range after.view.Members {
		switch _, was := before.view.Member(m.Instance); {
		case was:
		case before.view.Removed(m.Instance):
			events = append(events, MemberReturned{Library: l, Member: m})
		default:
			events = append(events, MemberAdded{Library: l, Member: m, By: m.By})
		}
	}
	for _, m := range after.leavers {
		if !slices.ContainsFunc(before.leavers, func(o Member) bool { return o.Instance == m.Instance }) {
			events = append(events, Asked{Library: l, Request: leaving(m)})
		}
	}
	for _, id := range after.view.Forked {
		if !slices.Contains(before.view.Forked, id) {
			events = append(events, Forked{Library: l, Instance: id})
		}
	}
	return events
}

// removals reports the members that are none any more: each that was removed,
// and with it those that fell out because of that.
func (l *Library) removals(before, after *content) (events []Event) {
	fell := map[identity.RemoteIdentity][]Member{} // by whom they were added
	for _, m := range before.view.Members {
		if _, still := after.view.Member(m.Instance); !still && !after.view.Removed(m.Instance) {
			fell[m.By] = append(fell[m.By], m)
		}
	}
	var with func(id identity.RemoteIdentity) []Member
	with = func(id identity.RemoteIdentity) (all []Member) {
		direct := fell[id]
		delete(fell, id)
		for _, m := range direct {
			all = append(append(all, m), with(m.Instance)...)
		}
		return all
	}
	var last *MemberRemoved
	told := map[identity.RemoteIdentity]bool{}
	for _, r := range after.view.Removals {
		fresh := !slices.ContainsFunc(before.view.Removals, func(o roster.Removal) bool { return o.Hash == r.Hash })
		m, was := before.view.Member(r.Instance)
		if told[r.Instance] || !was && !fresh {
			continue
		}
		introduced := with(r.Instance)
		if !was && len(introduced) == 0 {
			continue // it was removed before
		}
		if !was {
			m = former(after.view, r.Instance)
		}
		told[r.Instance] = true
		if last != nil {
			events = append(events, *last)
		}
		last = &MemberRemoved{Library: l, Member: m, By: r.By, Introduced: introduced}
	}
	if last == nil {
		return nil
	}
	for _, m := range before.view.Members { // whoever had them added is a member, and no admin any more
		last.Introduced = append(last.Introduced, with(m.By)...)
	}
	return append(events, *last)
}

// former returns an admin that was removed.
func former(v *roster.View, instance identity.RemoteIdentity) Member {
	for _, m := range v.Former {
		if m.Instance == instance {
			return m
		}
	}
	return Member{Instance: instance, Role: RoleAdmin}
}
