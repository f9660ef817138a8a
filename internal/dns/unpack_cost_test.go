package dns_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dns"
)

// costly returns packets of 9 KB whose names would expand far beyond that if
// each were read by itself: 1,500 questions for a name of 126 escaped labels
// take 900 KB.
func costly() map[string][]byte {
	name := func(labels, size int, c byte) []byte {
		var b []byte
		for range labels {
			b = append(b, byte(size))
			for range size {
				b = append(b, c)
			}
		}
		return append(b, 0, 0, 1, 0, 1)
	}
	fill := func(first []byte, entry func(i int) []byte) []byte {
		b, n := append(make([]byte, 12), first...), 1
		for i := 0; len(b)+len(entry(i)) <= 8972; i++ {
			b = append(b, entry(i)...)
			n++
		}
		b[4], b[5] = byte(n>>8), byte(n)
		return b
	}
	short := name(126, 1, 1)
	return map[string][]byte{
		"pointers to one name":     fill(short, func(int) []byte { return []byte{0xC0, 12, 0, 1, 0, 1} }),
		"pointers to all its ends": fill(short, func(i int) []byte { return []byte{0xC0, byte(12 + i%126*2), 0, 1, 0, 1} }),
		"labels before a long end": fill(name(120, 1, 1), func(int) []byte { return []byte{1, 1, 0xC0, 12, 0, 1, 0, 1} }),
		"long labels":              fill(name(3, 63, 1), func(i int) []byte { return []byte{2, byte(i), byte(i >> 8), 0xC0, 12, 0, 1, 0, 1} }),
		"labels in labels":         fill(name(3, 63, 63), func(i int) []byte { return []byte{0xC0, byte(12 + i%190), 0, 1, 0, 1} }),
		"labels of one byte":       fill(short, func(i int) []byte { return name(126, 1, byte(i)) }),
		"plain": fill(name(1, 1, 'x'), func(i int) []byte {
			return append([]byte("\x10_companion-link1\x04_tcp\x05local\x00"), 0, 12, 0, 1)
		}),
	}
}

// The cost of a packet is proportional to its bytes, however its names point at
// each other.
func TestCost(t *testing.T) {
	for name, p := range costly() {
		var r dns.Reader
		set := set()
		require.Zero(t, testing.AllocsPerRun(10, func() { r.Look(p, set) }), name)
		allocs := testing.AllocsPerRun(10, func() { r.Unpack(p) })
		require.Less(t, allocs, float64(len(p))/20, name)
	}
}

func BenchmarkUnpack(b *testing.B) {
	for name, p := range costly() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			var r dns.Reader
			set := set()
			for b.Loop() {
				if _, err := r.Look(p, set); err == nil {
					r.Unpack(p)
				}
			}
		})
	}
}
