package codec

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

func TestCodecs(t *testing.T) {
	for _, n := range []int{0, 3, maxFiles} {
		m := Sample(n)
		for _, c := range append(append(Codecs(m), newProtogen(m)), Others(m)...) {
			for i := range 2 { // the decoded value can be used again
				if err := c.Encode(); err != nil {
					t.Fatal(c.Name(), err)
				}
				got, err := c.Decode()
				if err != nil {
					t.Fatal(c.Name(), err)
				}
				if fmt.Sprint(*m) != fmt.Sprint(*got) {
					t.Errorf("%s, %d files, %d: decoded %v, want %v", c.Name(), n, i, *got, *m)
				}
			}
		}
	}
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	for _, n := range []int{3, maxFiles} {
		c := newProto(Sample(n))
		if got := testing.AllocsPerRun(100, func() { c.Encode() }); got != 0 {
			t.Errorf("%d files: %v allocations", n, got)
		}
	}
}

// The generated code makes the same bytes as the code written by hand, and
// allocates as much.
func TestGenerated(t *testing.T) {
	for _, n := range []int{0, 3, maxFiles} {
		hand, generated := newProto(Sample(n)), newProtogen(Sample(n))
		if err := errors.Join(hand.Encode(), generated.Encode()); err != nil || !bytes.Equal(hand.buf, generated.buf) {
			t.Errorf("%d files: %v, %x and %x", n, err, hand.buf, generated.buf)
		}
		a := testing.AllocsPerRun(100, func() { hand.RoundTrip() })
		b := testing.AllocsPerRun(100, func() { generated.RoundTrip() })
		if a != b {
			t.Errorf("%d files: %v allocations by hand, %v generated", n, a, b)
		}
	}
}

func BenchmarkCodecs(b *testing.B) {
	for _, n := range []int{3, 255} {
		m := Sample(n)
		for _, c := range append(append(Codecs(m), newProtogen(m)), Others(m)...) {
			b.Run(fmt.Sprintf("files=%d/codec=%s", n, c.Name()), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := c.RoundTrip(); err != nil {
						b.Fatal(err)
					}
				}
				b.SetBytes(int64(c.Size()))
			})
		}
	}
}
