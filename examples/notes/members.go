package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
)

// manage executes the commands about members.
func (t *Terminal) manage(n *Notebook, command, rest string) (done bool, err error) {
	switch command {
	case "members":
		me := library.Member{Instance: n.library.Instance(), Node: t.device.node.Identity(), Name: t.device.Name, Role: n.library.Role()}
		t.print("%s %s, %s, this device", quote(me), me.Node.Fingerprint(), role(me))
		for _, m := range n.library.Members() {
			state := "not there"
			if m.Connected {
				state = "connected"
			}
			t.print("%s %s, %s, %s", quote(m.Member), m.Member.Node.Fingerprint(), role(m.Member), state)
		}
	case "revoke", "promote":
		name, key, err := cutKey(rest)
		if err != nil {
			return true, err
		}
		do := n.Promote
		if command == "revoke" {
			do = n.Remove
		}
		if err := do(name, key); errors.Is(err, library.ErrAsked) {
			t.print("This takes a second admin: the others are asked as they come by. Or take the recovery key: %s %s KEY", command, clean(name))
		} else if err != nil {
			return true, err
		}
	case "requests":
		for _, r := range n.library.Requests() {
			t.print("%s", describe(library.Asked{Library: n.library, Request: r}))
		}
	case "endorse", "decline":
		return true, decide(n.library, rest, command == "endorse")
	case "recover":
		key, err := library.ParseRecoveryKey(rest)
		if err != nil {
			return true, err
		}
		return true, n.library.Promote(n.library.Instance(), key)
	default:
		return false, nil
	}
	return true, nil
}

// decide answers the first request of a member, by its name or fingerprint.
func decide(l *library.Library, by string, endorse bool) error {
	for _, r := range l.Requests() {
		if r.By.Name != by && r.By.Node.Fingerprint() != by {
			continue
		}
		if endorse {
			return l.Endorse(r)
		}
		l.Decline(r)
		return nil
	}
	return fmt.Errorf("nobody called %q asks for anything", by)
}

func role(m library.Member) string {
	if m.Role == 0 {
		return "no member any more"
	}
	return m.Role.String()
}

// cutKey cuts a recovery key off the end of a line.
func cutKey(line string) (name string, key library.RecoveryKey, err error) {
	i := strings.LastIndex(line, " ")
	if i < 0 || !strings.HasPrefix(line[i+1:], "sdp2pk1:") {
		return line, key, nil
	}
	key, err = library.ParseRecoveryKey(line[i+1:])
	return strings.TrimSpace(line[:i]), key, err
}

// happened tells the user about changes of members, wherever they were decided:
// all users should see who removed whom.
func (d *Device) happened(e library.Event) {
	if text := describe(e); text != "" {
		d.Tell("%s", text)
	}
	if n := d.notebook.Load(); n != nil {
		n.syncer.members.tell()
	}
}

func describe(e library.Event) string {
	switch e := e.(type) {
	case library.MemberAdded:
		if own := e.Library.Instance(); e.Member.Instance != own && e.By != own {
			return fmt.Sprintf("%s has become a member, by %s", quote(e.Member), called(e.Library, e.By))
		}
	case library.MemberReturned:
		if e.Member.Instance == e.Library.Instance() {
			return "this device is a member again: who had removed it was removed"
		}
		return fmt.Sprintf("%s is a member again: who had removed it was removed. If it should not be one, revoke it", quote(e.Member))
	case library.MemberRemoved:
		return describeRemoval(e)
	case library.Asked:
		what, about := "make %s an admin", e.Request.Name
		if m, ok := e.Library.Roster().Member(e.Request.Instance); ok {
			about = m.Name
		}
		if e.Request.Remove {
			what = "remove %s"
		}
		text := fmt.Sprintf("%s wants to "+what+", which takes a second admin: endorse it, or decline it, by the name of the one that asks",
			quote(e.Request.By), fmt.Sprintf("%q", clean(about)))
		if e.Request.Undone > 0 {
			text += fmt.Sprintf(". It undoes the last %d statements of that device, too", e.Request.Undone)
		}
		return text
	case library.Forked:
		return fmt.Sprintf("the key of %s is in use on two devices, or came back from a copy of its folder. If you know nothing of that, revoke it", called(e.Library, e.Instance))
	}
	return ""
}

func describeRemoval(e library.MemberRemoved) string {
	var text string
	switch own := e.Library.Instance(); {
	case e.Member.Instance == own && e.By == own:
		text = "this device has left the notebook"
	case e.Member.Instance == own:
		text = fmt.Sprintf("this device was removed by %s: its notes can be read, and what it writes counts nowhere", called(e.Library, e.By))
	case e.Member.Instance == e.By:
		text = fmt.Sprintf("%s has left", quote(e.Member))
	default:
		text = fmt.Sprintf("%s was removed by %s", quote(e.Member), called(e.Library, e.By))
	}
	var with []string
	for _, m := range e.Introduced {
		with = append(with, quote(m))
	}
	if len(with) > 0 {
		text += fmt.Sprintf("; out with it are those that it had brought: %s. Invite the ones that you know again", strings.Join(with, ", "))
	}
	return text
}

func quote(m library.Member) string {
	if m.Name == "" {
		return m.Node.Fingerprint()
	}
	return fmt.Sprintf("%q", clean(m.Name))
}

// called returns the name by which the user knows an instance.
func called(l *library.Library, instance identity.RemoteIdentity) string {
	if instance == l.Instance() {
		return "this device"
	}
	if m, ok := l.Roster().Member(instance); ok {
		return quote(m)
	}
	for _, m := range l.Roster().Former {
		if m.Instance == instance {
			return quote(m)
		}
	}
	if instance == l.Record().Founder {
		return "the recovery key"
	}
	return instance.Fingerprint()
}
