package quic

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// At the opening of a stream, a connection is silent once it was found quiet, or
// once something was sent after an earlier opening and nothing heard for a
// second, or four round trips; until something arrives.
func TestHush(t *testing.T) {
	const ms = time.Millisecond
	h := &pulse{}
	for _, c := range []struct {
		name           string
		at             time.Duration
		received, sent uint64
		rtt            time.Duration
		quiet, silent  bool
	}{
		{"at first", 0, 5, 7, ms, false, false},
		{"idle for long", time.Hour, 5, 7, ms, false, false},
		{"something was sent", time.Hour + 999*ms, 5, 8, ms, false, false},
		{"without an answer", time.Hour + 1000*ms, 5, 8, ms, false, true},
		{"still", time.Hour + 2000*ms, 5, 8, ms, false, true},
		{"an answer", time.Hour + 2100*ms, 6, 9, ms, false, false},
		{"answers to what was sent after that", 2 * time.Hour, 8, 20, ms, false, false},
		{"far away", 2*time.Hour + 3900*ms, 8, 21, 1000 * ms, false, false},
		{"and silent", 2*time.Hour + 4000*ms, 8, 21, 1000 * ms, false, true},
		{"found quiet", 2*time.Hour + 4100*ms, 9, 22, ms, true, true},
		{"still quiet", 2*time.Hour + 4200*ms, 9, 23, ms, false, true},
		{"quiet no more", 2*time.Hour + 4300*ms, 10, 23, ms, false, false},
	} {
		if c.quiet {
			h.quietAt.Store(c.received)
		}
		require.Equal(t, c.silent, h.hush(c.received, c.sent, c.rtt, c.at), c.name)
	}
}
