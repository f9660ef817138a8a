package server

import (
	"context"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// An Entry describes a relay in a directory.
type Entry struct {
	Relay identity.RemoteIdentity `json:"relay"`
	// Addrs are the addresses that clients dial.
	Addrs []netip.AddrPort `json:"addrs"`
	// Zone is the region or the provider of the relay: clients reserve in two
	// zones.
	Zone string `json:"zone"`
	// Reservations is the number of nodes that can be called through the relay,
	// and Capacity the maximum.
	Reservations int `json:"reservations"`
	Capacity     int `json:"capacity"`
}

// A Directory lists the running relays. All methods may be called concurrently.
type Directory interface {
	// Publish announces a relay for a time; 0 withdraws it.
	Publish(ctx context.Context, r Entry, ttl time.Duration) error
	// List returns the relays of a zone; "" means all zones.
	List(ctx context.Context, zone string) ([]Entry, error)
	// Watch yields all relays, at once and whenever they have changed, until
	// ctx is done or an error, which it yields last. A slow consumer misses
	// intermediate states, never the latest.
	Watch(ctx context.Context) iter.Seq2[[]Entry, error]
}

// A MemoryDirectory is a [Directory] within the process. The zero value is
// ready to use.
type MemoryDirectory struct {
	mu      sync.Mutex
	entries map[identity.RemoteIdentity]Entry
	timers  map[identity.RemoteIdentity]*time.Timer
	changed chan struct{} // closed with the next change
}

var _ Directory = (*MemoryDirectory)(nil)

// Publish announces a relay: see [Directory].
func (d *MemoryDirectory) Publish(_ context.Context, r Entry, ttl time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.entries == nil {
		d.entries, d.timers = map[identity.RemoteIdentity]Entry{}, map[identity.RemoteIdentity]*time.Timer{}
	}
	if t := d.timers[r.Relay]; t != nil {
		t.Stop()
	}
	if ttl <= 0 {
		d.remove(r.Relay)
		return nil
	}
	d.entries[r.Relay] = r
	var t *time.Timer
	t = time.AfterFunc(ttl, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.timers[r.Relay] == t {
			d.remove(r.Relay)
		}
	})
	d.timers[r.Relay] = t
	d.announce()
	return nil
}

// remove and announce are called with mu held.
func (d *MemoryDirectory) remove(relay identity.RemoteIdentity) {
	delete(d.entries, relay)
	delete(d.timers, relay)
	d.announce()
}

func (d *MemoryDirectory) announce() {
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

// List returns relays: see [Directory].
func (d *MemoryDirectory) List(_ context.Context, zone string) ([]Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.list(zone), nil
}

func (d *MemoryDirectory) list(zone string) []Entry {
	all := slices.DeleteFunc(slices.Collect(maps.Values(d.entries)), func(e Entry) bool { return zone != "" && e.Zone != zone })
	SortEntries(all)
	return all
}

// SortEntries sorts by key.
func SortEntries(all []Entry) {
	slices.SortFunc(all, func(a, b Entry) int {
		ka, kb := a.Relay.Bytes(), b.Relay.Bytes()
		return slices.Compare(ka[:], kb[:])
	})
}

// Watch yields relays: see [Directory].
func (d *MemoryDirectory) Watch(ctx context.Context) iter.Seq2[[]Entry, error] {
	return func(yield func([]Entry, error) bool) {
		for {
			d.mu.Lock()
			if d.changed == nil {
				d.changed = make(chan struct{})
			}
			changed, all := d.changed, d.list("")
			d.mu.Unlock()
			if !yield(all, nil) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}
