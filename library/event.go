package library

import (
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// An Event tells what happened to the members of a library, on whatever device it
// was decided: [MemberAdded], [MemberReturned], [MemberRemoved], [Asked] or
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

// MemberRemoved tells of a member that belongs to the library no longer. Of this
// device itself, the library can still be read, and nothing of it is exchanged.
type MemberRemoved struct {
	Library *Library
	Member  Member
	By      identity.RemoteIdentity // who removed it; Member.Instance if it left
	// Introduced are members that Member had added after the last statement that
	// the removal leaves: they are out with it, and can be added again.
	Introduced []Member
}

// Asked tells that another admin needs this one's signature: see
// [Library.Requests].
type Asked struct {
	Library *Library
	Request Request
}

// Forked tells that an instance's key is used by two, or came back from a backup.
// If its user knows nothing of that, remove the member and pair it again.
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
	introduced := map[identity.RemoteIdentity][]Member{}
	for _, m := range before.view.Members {
		if _, still := after.view.Member(m.Instance); !still && !after.view.Removed(m.Instance) {
			introduced[m.By] = append(introduced[m.By], m)
		}
	}
	for _, r := range after.view.Removals {
		m, was := before.view.Member(r.Instance)
		if was && !slices.ContainsFunc(events, func(e Event) bool { return e.(MemberRemoved).Member.Instance == r.Instance }) {
			events = append(events, MemberRemoved{Library: l, Member: m, By: r.By, Introduced: introduced[r.Instance]})
		}
	}
	for _, m := range after.view.Members {
		switch _, was := before.view.Member(m.Instance); {
		case was:
		case before.view.Removed(m.Instance):
			events = append(events, MemberReturned{Library: l, Member: m})
		default:
			events = append(events, MemberAdded{Library: l, Member: m, By: m.By})
		}
	}
	for _, id := range after.view.Forked {
		if !slices.Contains(before.view.Forked, id) {
			events = append(events, Forked{Library: l, Instance: id})
		}
	}
	return events
}
