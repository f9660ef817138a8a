package contact

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"math/big"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/tags"
)

// jitter is the maximum delay with which a device enters an epoch. It keeps
// devices from being told apart by their clocks.
const jitter = 60 * time.Second

// Show is for package mdns.
func (c *Contacts) Show() (junction.Shown, bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown, !c.shown.Key.IsZero(), c.changed
}

// Announce is for package mdns.
func (c *Contacts) Announce(ctx context.Context, cfg dnssd.Config, changed <-chan struct{}) error {
	return c.hosts.Announce(ctx, c, cfg, changed)
}

// Mask is for listeners.
func (c *Contacts) Mask() identity.Identity {
	key := identity.New()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = key
	return key
}

// Listens is for listeners.
func (c *Contacts) Listens(at junction.Socket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	again := at.Port != 0 && at.Port == c.at.Port
	c.at = at
	if again { // with other address families
		c.shown.At = at
		c.showOther()
		return
	}
	c.key = c.next
	c.show()
}

// Elsewhere is for package mdns.
func (c *Contacts) Elsewhere(label string) {
	c.mu.Lock()
	at := c.shown.At
	known := c.shown.Label == label
	c.mu.Unlock()
	if known {
		c.listener.Move(at.Port)
	}
}

// show announces the present key, if there is anything to announce. The caller
// holds mu.
func (c *Contacts) show() {
	c.shown = junction.Shown{}
	if c.veiled && c.at.Port != 0 && c.scope != nil {
		now := time.Now()
		epoch := tags.Epoch(now)
		c.shown = junction.Shown{
			Label: randomLabel(), Key: c.key.Remote(), At: c.at, Epoch: epoch, Tags: c.set.Tags(epoch, c.key.Remote()),
		}
		c.due = c.ends(now, epoch)
	}
	c.showOther()
	signal(c.wake)
}

// showOther signals that the announcement has changed. The caller holds mu.
func (c *Contacts) showOther() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// ends returns when a key is to be replaced. The caller holds mu.
func (c *Contacts) ends(now time.Time, epoch uint64) time.Time {
	if c.pace.Every > 0 {
		return now.Add(c.pace.Every + randomTime(max(c.pace.Jitter, 1)))
	}
	return time.Unix(int64(epoch+1)*int64(tags.EpochTime/time.Second), 0).Add(randomTime(jitter))
}

// Pace is for tests of whole nodes, which have no clock of their own. It is
// called before the hook runs.
func (c *Contacts) Pace(p junction.Pace) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pace = p
}

// overdue reports whether the announced epoch is not the present one, or when
// to check again. The caller holds mu.
func (c *Contacts) overdue(now time.Time) (bool, time.Duration) {
	const look = time.Minute // the clock may be set
	if c.shown.Key.IsZero() {
		return false, look
	}
	return !now.Before(c.due) || tags.Epoch(now) < c.shown.Epoch, min(look, c.due.Sub(now))
}

// rotate begins a new epoch: another key, label and tags. The caller holds
// changing.
func (c *Contacts) rotate(keep bool) {
	key := identity.New()
	c.listener.Rotate(key, keep)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key = key
	c.show()
}

func randomLabel() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func randomTime(most time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(most)))
	if err != nil {
		panic("contact: " + err.Error()) // crypto/rand does not fail
	}
	return time.Duration(n.Int64())
}

// Veil is for package mdns.
func (c *Contacts) Veil(on bool) {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	if c.veiled == on {
		c.mu.Unlock()
		return
	}
	c.veiled = on
	if !on {
		c.hide()
	}
	c.mu.Unlock()
	var veil junction.Veil
	if on {
		veil = c
	}
	c.listener.Veil(veil)
}

// hide stops announcing, and forgets the contacts it has seen. The caller holds
// mu.
func (c *Contacts) hide() {
	c.shown = junction.Shown{}
	c.showOther()
	c.matcher = tags.NewMatcher(time.Now)
	c.match(c.set)
	for id := range c.known {
		if c.scope != nil {
			_ = c.scope.Expired(id)
		}
	}
	clear(c.known)
}
