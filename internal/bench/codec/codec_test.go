package codec

import (
	"fmt"
	"testing"
)

func TestCodecs(t *testing.T) {
	for _, n := range []int{0, 3, maxFiles} {
		m := Sample(n)
		for _, c := range Codecs() {
			if err := c.Encode(m); err != nil {
				t.Fatal(c.Name(), err)
			}
			var got Request
			if err := c.Decode(&got); err != nil {
				t.Fatal(c.Name(), err)
			}
			if fmt.Sprint(*m) != fmt.Sprint(got) {
				t.Errorf("%s, %d files: decoded %v, want %v", c.Name(), n, got, *m)
			}
		}
	}
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	for _, n := range []int{3, maxFiles} {
		c, m := newProto(), Sample(n)
		if got := testing.AllocsPerRun(100, func() { c.Encode(m) }); got != 0 {
			t.Errorf("%d files: %v allocations", n, got)
		}
	}
}

func BenchmarkCodecs(b *testing.B) {
	for _, n := range []int{3, 255} {
		for _, c := range Codecs() {
			b.Run(fmt.Sprintf("files=%d/codec=%s", n, c.Name()), func(b *testing.B) {
				m := Sample(n)
				b.ReportAllocs()
				for b.Loop() {
					if err := c.RoundTrip(m); err != nil {
						b.Fatal(err)
					}
				}
				b.SetBytes(int64(c.Size()))
			})
		}
	}
}
