package scan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/tags"
)

// A Hidden is a node that is visible only to its contacts (package contact), as
// it appears to everybody. Nothing about it is verified.
type Hidden struct {
	Key   identity.RemoteIdentity // ephemeral: the node has another one every 15 minutes
	Addrs []netip.AddrPort        // in order
	Heard time.Time               // when the node last answered

	tags []tags.Tag
}

// clockSpan is the largest error of a clock, in epochs, that Contact can
// determine.
const clockSpan = int(24 * time.Hour / tags.EpochTime)

// Contact reports whether h is one of some contacts, and which, and has the
// owner of the key self as its contact. ahead is how far the clock of h was
// ahead of this host's when h was heard, in steps of 15 minutes and up to a day
// either way: if it is more than one step, the two nodes do not find each
// other. Contact fails for contacts that package contact does not accept. It
// takes about 0.1 ms for each contact.
func (h Hidden) Contact(self identity.Identity, contacts []identity.RemoteIdentity) (contact identity.RemoteIdentity, ahead time.Duration, ok bool, err error) {
	set, err := tags.NewSet(self, contacts, nil)
	if err != nil {
		return contact, 0, false, fmt.Errorf("scan: %w", err)
	}
	contact, epochs, ok := set.Find(tags.Epoch(h.Heard), h.Key, h.tags, clockSpan)
	return contact, time.Duration(epochs) * tags.EpochTime, ok, nil
}

// maxHidden limits the hidden nodes of one survey, and maxTags the tags of
// each.
const (
	maxHidden = 1024
	maxTags   = tags.MaxContacts
)

// hide records the answer of a node that is visible only to its contacts. A
// node may have several instances with the same key.
func (s *survey) hide(a answer) {
	key, list, err := tags.Parse(a.txt)
	if err != nil {
		return
	}
	h := s.hidden[key]
	if h == nil {
		if len(s.hidden) == maxHidden {
			return
		}
		h = &Hidden{Key: key}
		s.hidden[key] = h
	}
	if a.heard.After(h.Heard) {
		h.Heard = a.heard
	}
	for _, t := range list {
		if len(h.tags) < maxTags && !slices.Contains(h.tags, t) {
			h.tags = append(h.tags, t)
		}
	}
	for _, addr := range a.addrs {
		if !slices.Contains(h.Addrs, addr) {
			h.Addrs = append(h.Addrs, addr)
		}
	}
}

// tell calls f for each hidden node. It must not be called while anybody is
// asking.
func (s *survey) tell(f func(Hidden)) {
	if f == nil {
		return
	}
	all := make([]Hidden, 0, len(s.hidden))
	for _, h := range s.hidden {
		slices.SortFunc(h.Addrs, netip.AddrPort.Compare)
		all = append(all, *h)
	}
	slices.SortFunc(all, func(a, b Hidden) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	for _, h := range all {
		f(h)
	}
}
