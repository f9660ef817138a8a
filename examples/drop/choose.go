package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

const (
	findWithin = time.Minute
	// How long to wait for more devices after the first one, and for others with
	// its name from the beginning. A device that has just answered somebody else
	// answers up to 1.2 s later (RFC 6762 §6).
	moreWithin = 3 * time.Second / 2
	twinWithin = 3 * time.Second / 2
)

var fingerprint = regexp.MustCompile(`^(?i:[a-z2-7]{4}(-[a-z2-7]{4}){3})$`)

// isKey reports whether to is a fingerprint or an identity. Such a text is
// never taken for a name, so that no device can use another's fingerprint as
// its name.
func isKey(to string) bool {
	_, err := identity.Parse(to)
	return err == nil || fingerprint.MatchString(to)
}

// isKeyOf reports whether a key that the user has entered is that of a device.
func isKeyOf(key string, id identity.RemoteIdentity) bool {
	return key == id.String() || strings.EqualFold(key, id.Fingerprint())
}

// choose returns the device to send to. It asks, unless the device was named by
// its key, or by a verified name that no other device has.
func (s *sender) choose(ctx context.Context) (*p2p.Peer, error) {
	if s.to == "" {
		s.Warn("Looking for devices that receive files…")
	} else {
		s.Warn("Waiting for %q…", s.to)
	}
	found := s.find(ctx)
	switch {
	case len(found) == 0 && s.to == "":
		return nil, fmt.Errorf("no device that receives was found within %v", findWithin)
	case len(found) == 0:
		return nil, fmt.Errorf("%q was not found within %v: does it receive, "+
			"on the same network?", s.to, findWithin)
	case isKey(s.to):
		return found[0], nil
	case s.to == "" || len(found) > 1:
		return s.pick(ctx, found)
	case s.yes || found[0].Verified():
		return found[0], nil
	}
	question := fmt.Sprintf("Send to %s? Anybody can take that name.", who(found[0]))
	if ok, err := s.Confirm(ctx, question); !ok || err != nil {
		return nil, fmt.Errorf("nothing was sent, since the name is not verified; "+
			"--to %s does without a question", found[0].Identity().Fingerprint())
	}
	return found[0], nil
}

// find waits for devices to choose from, and then a moment for more of them,
// unless the device was named by its key. All present devices with a name
// answer soon: one that comes later is alone.
func (s *sender) find(ctx context.Context) []*p2p.Peer {
	looking, cancel := context.WithTimeout(ctx, findWithin)
	defer cancel()
	waits, began := false, time.Now()
	for range s.node.Watch(looking) {
		switch found := s.receivers(); {
		case len(found) == 0 || waits:
		case isKey(s.to):
			return found
		case s.to == "":
			waits = true
			time.AfterFunc(moreWithin, cancel)
		default:
			waits = true
			time.AfterFunc(time.Until(began.Add(twinWithin)), cancel)
		}
	}
	return s.receivers()
}

// receivers returns the receiving devices that the user may mean.
func (s *sender) receivers() (found []*p2p.Peer) {
	for _, p := range s.node.Peers() {
		called := s.to == "" || s.to == p.Name()
		if isKey(s.to) {
			called = isKeyOf(s.to, p.Identity())
		}
		if called && p.Info().Metadata["receives"] != "" {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *p2p.Peer) int { return cmp.Compare(who(a), who(b)) })
	return found
}

// pick lets the user choose one of several devices.
func (s *sender) pick(ctx context.Context, found []*p2p.Peer) (*p2p.Peer, error) {
	var names []string
	for _, p := range found {
		names = append(names, who(p))
	}
	if s.to != "" && s.yes {
		return nil, fmt.Errorf("%d devices are called %q: use --to with a fingerprint: %s",
			len(found), s.to, strings.Join(names, ", "))
	}
	i, err := s.Choose(ctx, "Send to number:", names)
	if errors.Is(err, io.EOF) {
		err = errors.New("no device was chosen: use --to with a fingerprint")
	}
	if err != nil {
		return nil, err
	}
	return found[i], nil
}
