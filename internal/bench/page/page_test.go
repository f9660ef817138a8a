package page

import (
	"slices"
	"testing"
)

// A printed value can be read.
func TestValues(t *testing.T) {
	text := []byte(`    x_test.go:1: 667 elements
    x_test.go:1: 9 changes of the document for one event
    x_test.go:1: 256 frames, ms: median 16.7, 99 % 16.8, longest 33.4
BenchmarkLook-2   	     148	   7500000 ns/op
ok
`)
	for i, want := range []float64{16.7, 16.8, 33.4, 667, 9, 7.5} {
		if got := values(text, rows[i].pattern, rows[i].per); !slices.Equal(got, []float64{want}) {
			t.Errorf("%s: %v", rows[i].figure.What, got)
		}
	}
}
