package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/text"
	"github.com/sdp2p/p2p/mdns/scan"
)

// contactsFacts is what was observed of nodes that are visible to their
// contacts only.
type contactsFacts struct {
	err    error // why no search was possible
	hidden int   // number of such nodes
	asked  []identity.RemoteIdentity
	here   map[identity.RemoteIdentity]sightingFacts
}

// A sightingFacts is a contact that announces itself to the key of the app.
type sightingFacts struct {
	addrs []netip.AddrPort
	ahead time.Duration // by how much its clock is, to a quarter of an hour
}

// clockMost is how far clocks may be apart, as announcements show it: beyond
// that, contacts do not find each other.
const clockMost = 15 * time.Minute

// addContact parses the flag.
func (d *doctor) addContact(text string) error {
	id, err := identity.Parse(text)
	if err == nil && !slices.Contains(d.contacts, id) {
		d.contacts = append(d.contacts, id)
	}
	return err
}

// lookForContacts counts nodes that are visible to contacts only, and finds
// contacts among them.
func (d *doctor) lookForContacts(ctx context.Context) contactsFacts {
	c := contactsFacts{asked: d.contacts, here: map[identity.RemoteIdentity]sightingFacts{}}
	if d.scan == nil {
		return c
	}
	_, c.err = d.scan(ctx, d.app, scan.Config{Interface: d.on, Time: d.wait, Hidden: func(h scan.Hidden) {
		c.hidden++
		if len(d.contacts) == 0 {
			return
		}
		id, ahead, ok, err := h.Contact(d.outside.key, d.contacts)
		if err != nil {
			c.err = err
			return
		}
		if before, known := c.here[id]; ok && (!known || ahead.Abs() < before.ahead.Abs()) { // it may have begun an epoch
			c.here[id] = sightingFacts{h.Addrs, ahead}
		}
	}})
	return c
}

// checks judges the facts.
func (c *contactsFacts) checks(f *facts) (checks []check) {
	if c.hidden > 0 || len(c.asked) > 0 {
		value := text.Count(c.hidden, "node is", "nodes are") + " visible to contacts only; their identities are hidden"
		checks = append(checks, check{"contacts", "", fine, codeOK, value, ""})
	}
	off := c.clocks()
	for _, id := range c.asked {
		checks = append(checks, c.contact(f, id, off))
	}
	return checks
}

// clocks returns by how much the clocks of contacts are ahead if at least two
// are here and all agree; otherwise 0.
func (c *contactsFacts) clocks() (off time.Duration) {
	if len(c.here) < 2 {
		return 0
	}
	for _, s := range c.here {
		if off != 0 && s.ahead != off {
			return 0
		}
		off = s.ahead
	}
	return off
}

// contact says whether a contact is here; off is the result of
// [contactsFacts.clocks].
func (c *contactsFacts) contact(f *facts, id identity.RemoteIdentity, off time.Duration) check {
	k := check{"contacts", id.String(), fine, codeOK, "", ""}
	s, here := c.here[id]
	switch {
	case c.err != nil:
		k.Verdict, k.Code, k.Value = fail, codeNoDiscovery, fmt.Sprintf("not looked for: %v", c.err)
		k.Advice = "See the lines about interfaces and multicast, and the keys on the command line."
	case !here:
		k.Verdict, k.Code = warn, codeNoContact
		k.Value = fmt.Sprintf("none of them announced itself to this key as that contact in %v", f.wait)
		k.Advice = "Is it on, in this network, visible to its contacts only as well, and is this key among its contacts? Clocks may be a day apart at most for the doctor to know it."
	case s.ahead.Abs() > clockMost:
		k.Verdict, k.Code = fail, codeClock
		k.Value = fmt.Sprintf("here at %v, but its clock is about %s this one's, so neither finds the other", s.addrs, apart(s.ahead))
		k.Advice = "Set the clock that is wrong, best by NTP."
		if off != 0 {
			k.Advice = "All contacts here differ by the same, so most likely this host's clock is wrong: set it, best by NTP."
		}
	default:
		k.Value = fmt.Sprintf("here at %v", s.addrs)
	}
	return k
}

func apart(ahead time.Duration) string {
	if ahead < 0 {
		return fmt.Sprintf("%.4g hours behind", -ahead.Hours())
	}
	return fmt.Sprintf("%.4g hours ahead of", ahead.Hours())
}
