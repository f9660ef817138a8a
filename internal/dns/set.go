package dns

import "hash/maphash"

// A Set is a set of names to look for in packets. Make one with [NewSet]. It
// must not be used concurrently.
type Set struct {
	seed  maphash.Seed
	below uint64
	names map[uint64]int
}

// NewSet returns a set of a name and all names below it.
func NewSet(name string) *Set {
	s := &Set{seed: maphash.MakeSeed(), names: map[uint64]int{}}
	s.below = s.hashOf(name)
	return s
}

// Add adds a name, but not those below it. It has to be removed as often as it
// was added.
func (s *Set) Add(name string) { s.names[s.hashOf(name)]++ }

// Remove undoes Add.
func (s *Set) Remove(name string) {
	h := s.hashOf(name)
	if s.names[h]--; s.names[h] <= 0 {
		delete(s.names, h)
	}
}

func (s *Set) hashOf(name string) uint64 {
	label, rest, ok := CutLabel(name)
	if !ok {
		return 0
	}
	return s.hash([]byte(label), s.hashOf(rest))
}

// hash returns the hash of a label and the rest of the name, ignoring the case
// of ASCII letters (RFC 6762 §16). Its seed is secret, so that the sender of a
// packet cannot choose names that collide with those in the set.
func (s *Set) hash(label []byte, rest uint64) uint64 {
	var buf [maxLabel + 8]byte
	b := buf[:8]
	for i := range 8 {
		b[i] = byte(rest >> (8 * i))
	}
	for _, c := range label {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return maphash.Bytes(s.seed, b)
}
