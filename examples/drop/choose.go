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
	"github.com/sdp2p/p2p/examples/drop/console"
	"github.com/sdp2p/p2p/identity"
)

const (
	findWithin = time.Minute
	moreWithin = time.Second     // how long to wait for more after the first device
	twinWithin = time.Second / 2 // how long to wait for others with the same name
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
// its fingerprint, or by a verified name that no other device has.
func choose(
	ctx context.Context, c *console.Console, node *p2p.P2P, to string, yes bool,
) (*p2p.Peer, error) {
	if to == "" {
		c.Warn("Looking for devices that receive files…")
	} else {
		c.Warn("Waiting for %q…", to)
	}
	found := find(ctx, node, to)
	switch {
	case len(found) == 0 && to == "":
		return nil, fmt.Errorf("no device that receives was found within %v", findWithin)
	case len(found) == 0:
		return nil, fmt.Errorf("%q was not found within %v: does it receive, "+
			"on the same network?", to, findWithin)
	case isKey(to):
		return found[0], nil
	case to == "" || len(found) > 1:
		return pick(ctx, c, found, to, yes)
	case yes || found[0].Verified():
		return found[0], nil
	}
	question := fmt.Sprintf("Send to %s? Anybody can take that name.", who(found[0]))
	if ok, err := c.Confirm(ctx, question); !ok || err != nil {
		return nil, fmt.Errorf("nothing was sent, since the name is not verified; "+
			"--to %s does without a question", found[0].Identity().Fingerprint())
	}
	return found[0], nil
}

// find waits for devices that receive and are called to, and then a moment for
// more of them, unless to identifies one. All present devices with a name
// answer soon: one that comes later is alone.
func find(ctx context.Context, node *p2p.P2P, to string) []*p2p.Peer {
	looking, cancel := context.WithTimeout(ctx, findWithin)
	defer cancel()
	waits, more := false, time.Now().Add(twinWithin)
	for range node.Watch(looking) {
		found := receivers(node, to)
		if len(found) > 0 && isKey(to) {
			return found
		}
		if len(found) > 0 && !waits {
			if waits = true; to == "" {
				more = time.Now().Add(moreWithin)
			}
			time.AfterFunc(time.Until(more), cancel)
		}
	}
	return receivers(node, to)
}

// receivers returns the receiving devices that are called to, or all if to is
// empty.
func receivers(node *p2p.P2P, to string) (found []*p2p.Peer) {
	key := isKey(to)
	for _, p := range node.Peers() {
		called := to == "" || to == p.Name()
		if key {
			called = isKeyOf(to, p.Identity())
		}
		if called && p.Info().Metadata["receives"] != "" {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *p2p.Peer) int {
		return cmp.Compare(who(a), who(b))
	})
	return found
}

// pick lets the user choose one of several devices.
func pick(
	ctx context.Context, c *console.Console, found []*p2p.Peer, to string, yes bool,
) (*p2p.Peer, error) {
	var names []string
	for _, p := range found {
		names = append(names, who(p))
	}
	if to != "" && yes {
		return nil, fmt.Errorf("%d devices are called %q: use --to with a fingerprint: %s",
			len(found), to, strings.Join(names, ", "))
	}
	i, err := c.Choose(ctx, "Send to number:", names)
	if errors.Is(err, io.EOF) {
		err = errors.New("no device was chosen: use --to with a fingerprint")
	}
	if err != nil {
		return nil, err
	}
	return found[i], nil
}
