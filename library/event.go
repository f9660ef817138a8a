package library

import (
	"slices"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library/roster"
)

// An Event reports a change of the members of a library, wherever it was
// decided: [MemberAdded], [MemberReturned], [MemberRemoved], [Asked] or
// [Forked].
type Event interface{ event() }

// MemberAdded reports a new member.
type MemberAdded struct {
	Library *Library
	Member  Member
	By      identity.RemoteIdentity // the admin
}

// MemberReturned reports a member whose removal no longer counts, since the
// admin who removed it was removed. The user may want to remove it again.
type MemberReturned struct {
	Library *Library
	Member  Member
}

// MemberRemoved reports that a member no longer belongs to the library. If it
// is this device, the library can still be read, but exchanges nothing any
// more.
type MemberRemoved struct {
	Library *Library
	Member  Member
	By      identity.RemoteIdentity // who removed it; Member.Instance if it left
	// Introduced are members that lost their membership with it, and can be
	// added again: those that Member had added after its last statement that
	// still counts, those that these had added, and so on. If Member had been
	// removed before, they are the news of the event.
	Introduced []Member
}

// Asked reports that another admin needs this one's signature: see
// [Library.Requests].
type Asked struct {
	Library *Library
	Request Request
}

// Forked reports that an instance's key is used by two devices, or was restored
// from a backup. If its user knows of neither, remove the member and pair it
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

// notify reports the differences as events. The caller holds hook.keeping.
func (l *Library) notify(before, after *content) {
	if before.view == after.view {
		return
	}
	for _, e := range l.differences(before, after) {
		l.hook.countChange(e)
		if l.hook.cfg.Notify != nil {
			l.hook.cfg.Notify(e)
		}
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

// removals returns an event for each member that was removed, with the members
// that lost their membership because of that.
func (l *Library) removals(before, after *content) (events []Event) {
	fell := map[identity.RemoteIdentity][]Member{} // by the member that added them
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
	for _, m := range before.view.Members { // the member that added them is no longer an admin
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
