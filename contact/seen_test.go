package contact_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/tags"
)

// A contact whose clock is off by less than a quarter of an hour is found at
// any time. If its clock is off by more, it is found at some times, and from
// twice as much on never.
func TestClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New()
		_, d := alone(t, self, other.Remote())
		found := map[time.Duration]int{}
		const phases = 30
		for range phases { // throughout an epoch
			for _, minutes := range []time.Duration{0, 14, 16, 31} {
				for _, ahead := range []time.Duration{minutes * time.Minute, -minutes * time.Minute} {
					d.contacts.Seen(announcedAhead(t, ahead, other, self.Remote(), "1", "192.0.2.1:1"))
					synctest.Wait()
					if _, ok := d.contacts.Key(other.Remote()); ok {
						found[ahead]++
					}
					d.contacts.Gone("1")
					time.Sleep(tags.EpochTime) // until the contact is forgotten
					synctest.Wait()
				}
			}
			time.Sleep(tags.EpochTime / phases)
		}
		for _, sign := range []time.Duration{time.Minute, -time.Minute} {
			require.Equal(t, phases, found[14*sign])
			require.NotZero(t, found[16*sign])
			require.Less(t, found[16*sign], phases)
			require.Zero(t, found[31*sign])
		}
	})
}

// A contact is there from the moment when the check succeeds, as long as it
// announces instances, also across a change of epoch.
func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New()
		n, d := alone(t, self, other.Remote())
		there := func() bool { _, ok := n.Peer(other.Remote()); synctest.Wait(); return ok }
		in := announced(t, other, self.Remote(), "1", "192.0.2.1:1")
		d.contacts.Seen(in)
		synctest.Wait()
		require.False(t, there(), "the contact did not answer")
		require.Equal(t, 1, d.dials())
		d.mu.Lock()
		d.answers[in.Addrs[0]] = true
		d.mu.Unlock()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.True(t, there())
		require.Equal(t, 2, d.dials())
		key, ok := d.contacts.Key(other.Remote())
		require.True(t, ok)
		require.Equal(t, in.Key, key)

		events := n.Subscribe()
		defer events.Close()
		d.contacts.Gone("1")
		time.Sleep(time.Second)
		next := announced(t, other, self.Remote(), "2", "192.0.2.1:1")
		d.contacts.Seen(next)
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.True(t, there())
		key, _ = d.contacts.Key(other.Remote())
		require.Equal(t, next.Key, key)
		for len(events.C) > 0 {
			_, lost := (<-events.C).(p2p.PeerUnavailable)
			require.False(t, lost)
		}

		d.contacts.Gone("2")
		time.Sleep(4 * time.Second)
		synctest.Wait()
		require.False(t, there())
		_, ok = d.contacts.Key(other.Remote())
		require.False(t, ok)
	})
}

// Somebody announces copies of a contact's instance with other addresses. They
// cause at most four attempts in half a minute, and do not hide the contact.
func TestCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New()
		n, d := alone(t, self, other.Remote())
		in := announced(t, other, self.Remote(), "0", "192.0.2.1:1")
		for i := range byte(8) {
			in.Label = string(rune('a' + i))
			in.Addrs = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 100 + i}), 1)}
			d.contacts.Seen(in)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		for i := range d.when[4:] {
			require.GreaterOrEqual(t, d.when[i+4].Sub(d.when[i]), 30*time.Second)
		}
		require.Greater(t, d.dials(), 8, "each copy must have its turn")
		real := announced(t, other, self.Remote(), "real", "192.0.2.1:1")
		d.mu.Lock()
		d.answers[real.Addrs[0]] = true
		d.mu.Unlock()
		d.contacts.Seen(real)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		_, ok := n.Peer(other.Remote())
		require.True(t, ok)
	})
}

// When the app's dials to a contact fail although it answers, the contact is
// not looked for more often than otherwise.
func TestReconfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New()
		n, d := alone(t, self, other.Remote())
		in := announced(t, other, self.Remote(), "1", "192.0.2.1:1")
		d.mu.Lock()
		d.answers[in.Addrs[0]] = true
		d.mu.Unlock()
		d.contacts.Seen(in)
		for range 600 {
			time.Sleep(time.Second)
			synctest.Wait()
			d.contacts.Reconfirm(other.Remote())
		}
		for i := range d.when[4:] {
			require.GreaterOrEqual(t, d.when[i+4].Sub(d.when[i]), 30*time.Second)
		}
		require.Greater(t, d.dials(), 40)
		_, ok := n.Peer(other.Remote())
		require.True(t, ok)
	})
}

// A contact that did not answer is dialed at once when it begins a new epoch,
// but not when somebody announces a copy of its instance.
func TestNextEpochIsDialed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New()
		n, d := alone(t, self, other.Remote())
		in := announced(t, other, self.Remote(), "1", "192.0.2.1:1")
		d.contacts.Seen(in)
		synctest.Wait()
		in.Label, in.Addrs = "copy", []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:1")}
		d.contacts.Seen(in)
		synctest.Wait()
		require.Equal(t, 1, d.dials())
		next := announced(t, other, self.Remote(), "2", "192.0.2.1:1")
		d.mu.Lock()
		d.answers[next.Addrs[0]] = true
		d.mu.Unlock()
		d.contacts.Seen(next)
		synctest.Wait()
		require.Equal(t, 2, d.dials())
		_, ok := n.Peer(other.Remote())
		require.True(t, ok)
	})
}

// Between two announcements of a contact, the key of the last one counts, even
// if this one has not been checked.
func TestKeyBetweenAnnouncements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New()
		_, d := alone(t, self, other.Remote())
		d.slow = make(chan struct{})
		defer close(d.slow)
		for i := range 3 { // while the attempt to reach the first instance goes on
			in := announced(t, other, self.Remote(), string(rune('a'+i)), "192.0.2.1:1")
			d.contacts.Seen(in)
			synctest.Wait()
			d.contacts.Gone(in.Label)
			synctest.Wait()
			key, ok := d.contacts.Key(other.Remote())
			require.True(t, ok)
			require.Equal(t, in.Key, key)
		}
	})
}

// Instances of strangers, and the node's own instance, cause no dials.
func TestOthersInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other, third := identity.New(), identity.New(), identity.New()
		n, d := alone(t, self, other.Remote())
		d.contacts.Seen(announced(t, third, self.Remote(), "1", "192.0.2.1:1"))
		d.contacts.Seen(announced(t, other, third.Remote(), "2", "192.0.2.1:1"))
		shown, _, _ := d.contacts.Show()
		d.contacts.Seen(junction.Instance{Label: shown.Label, Key: shown.Key, Tags: shown.Tags, Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}})
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Zero(t, d.dials())
		require.Empty(t, n.Peers())
	})
}
