package fleet

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
)

// What package relay has: a test compares it.
const (
	hashed       = 3 // relays of a long list that a device may be at, by rendezvous hashing
	reservations = 2 // that it has there, in two zones where there are such
)

// A device knows the relays that it may be at, the nearest first.
type device struct{ choice [hashed]int32 }

// A world is where devices and relays are.
type world struct {
	zones   int
	relays  [][32]byte // keys; relay i is in zone i mod zones
	devices []device
}

func (w *world) zone(relay int32) int { return int(relay) % w.zones }

// newWorld places devices by the rule of the client, from a seed. A device is
// in a zone, to which the relays of its own are nearest, and those of others by
// a distance of their own.
func newWorld(seed byte, devices, relays, zones int) *world {
	w := &world{zones: zones, relays: make([][32]byte, relays), devices: make([]device, devices)}
	r := rand.NewChaCha8([32]byte{seed})
	for i := range w.relays {
		r.Read(w.relays[i][:])
	}
	var all sync.WaitGroup
	parts := runtime.GOMAXPROCS(0)
	const part = 4096
	next := make(chan int, devices/part+1)
	for i := 0; i < devices; i += part {
		next <- i
	}
	close(next)
	for range parts {
		all.Go(func() {
			weights := make([][32]byte, relays)
			for from := range next {
				r := rand.NewChaCha8([32]byte{seed, 1, byte(from), byte(from >> 8), byte(from >> 16), byte(from >> 24)})
				for i := from; i < min(from+part, devices); i++ {
					w.place(&w.devices[i], r, weights)
				}
			}
		})
	}
	all.Wait()
	return w
}

// place finds a device's relays: where all are in one zone, the first of
// another takes the place of the last. weights is room for one of each relay.
func (w *world) place(d *device, r *rand.ChaCha8, weights [][32]byte) {
	var both [64]byte
	r.Read(both[32:]) // the device's key
	home := int(r.Uint64() % uint64(w.zones))
	turn := r.Uint64()
	var best [hashed][32]byte
	n := 0
	for i, relay := range w.relays {
		copy(both[:32], relay[:])
		weights[i] = sha256.Sum256(both[:])
		weight := weights[i]
		at := n
		for at > 0 && bytes.Compare(weight[:], best[at-1][:]) > 0 {
			at--
		}
		if at == hashed {
			continue
		}
		n = min(n+1, hashed)
		copy(best[at+1:], best[at:n-1])
		copy(d.choice[at+1:], d.choice[at:n-1])
		best[at], d.choice[at] = weight, int32(i)
	}
	w.apart(d, weights)
	far := func(relay int32) int {
		z := w.zone(relay)
		if z == home {
			return -1
		}
		return (z + int(turn%uint64(w.zones))) % w.zones
	}
	slices.SortStableFunc(d.choice[:n], func(x, y int32) int { return far(x) - far(y) })
}

// apart has a device's relays be in two zones, if there are two.
func (w *world) apart(d *device, weights [][32]byte) {
	zone := w.zone(d.choice[0])
	for _, relay := range d.choice {
		if w.zone(relay) != zone {
			return
		}
	}
	other := -1
	for i := range w.relays {
		if w.zone(int32(i)) != zone && (other < 0 || bytes.Compare(weights[i][:], weights[other][:]) > 0) {
			other = i
		}
	}
	if other >= 0 {
		d.choice[hashed-1] = int32(other)
	}
}

// first returns which of its choice a device has reservations at when all
// relays work: the nearest, and the nearest of those in another zone if there
// is one.
func (w *world) first(d *device) (kept [reservations]int) {
	for i := 1; i < hashed; i++ {
		if w.zone(d.choice[i]) != w.zone(d.choice[0]) {
			return [reservations]int{0, i}
		}
	}
	return [reservations]int{0, 1}
}

// A placement is how well the devices are spread.
type placement struct {
	reservations []int   // at each relay
	oneZone      float64 // share of devices whose relays are all in one zone
}

func (w *world) placed() (p placement) {
	p.reservations = make([]int, len(w.relays))
	for i := range w.devices {
		d := &w.devices[i]
		kept := w.first(d)
		for _, k := range kept {
			p.reservations[d.choice[k]]++
		}
		if w.zone(d.choice[kept[0]]) == w.zone(d.choice[kept[1]]) {
			p.oneZone++ // else another zone would have been taken
		}
	}
	p.oneZone /= float64(len(w.devices))
	return p
}
