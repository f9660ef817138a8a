package contacts

import (
	"testing"

	"github.com/sdp2p/p2p/internal/bench/report"
)

// A printed value can be read, whatever its unit.
func TestValues(t *testing.T) {
	for _, test := range []struct {
		row  int
		text string
		want float64
	}{
		{0, "    x_test.go:1: found after 1.25s\n", 1250},
		{1, "    x_test.go:1: contact found after a move, interface: 333.5ms\n", 333.5},
		{4, "    x_test.go:1: found after 172ms; CPU of the other one: 20ms\n", 172},
		{5, "BenchmarkEpoch-2   \t    4075\t    273651 ns/op\t   22519 B/op\n", 0.273651},
		{6, "    x_test.go:1: 123 contacts: 1158 bytes\n", 1158},
		{7, "    x_test.go:1: 13 goroutines, 0 more than a node in the open; 288 KiB\n", 288},
		{8, "    x_test.go:1: 13 goroutines, -1 more than a node in the open; 288 KiB\n", -1},
		{9, "BenchmarkMinute-2 \t 3\t 417168684 ns/op\t 0.6953 %core\n", 0.6953},
		{10, "CPU in a minute: 1s, with 200 instances 1.2s: 0.40 % of a core more\n", 0.4},
	} {
		got, err := values([]byte("text\n"+test.text+"ok\n"), rows[test.row].pattern)
		if err != nil || len(got) != 1 || got[0] != test.want {
			t.Errorf("%q: %v, %v", test.text, got, err)
		}
	}
	var none report.Sample
	if got, err := values([]byte("ok\n"), rows[0].pattern); err != nil || len(got) != len(none) {
		t.Errorf("%v, %v", got, err)
	}
}
