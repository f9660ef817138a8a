package relay

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/circuit"
)

// The results of circuits are counted, with a name for each kind of failure: a
// relay that is down, a quota that is used up, a token, an absent peer.
func TestCircuitsAreCounted(t *testing.T) {
	got := map[string]int{}
	c := &Client{count: func(what, by string, n uint64) { got[what+": "+by] += int(n) }}
	for _, err := range []error{
		nil, fmt.Errorf("%w: %w", errDown, errors.New("no answer")), fmt.Errorf("relay: %w", circuit.ResourceLimit),
		circuit.Hop{Status: circuit.ResourceLimit, Reason: circuit.QuotaUsedUp}.Err(), circuit.NoReservation, circuit.ConnectionFailed, ErrNoToken, errors.New("another"),
	} {
		c.counted("circuits", err)
	}
	require.Equal(t, map[string]int{
		"circuits: ok": 1, "circuits: relay: down": 1, "circuits: relay: over a limit": 1, "circuits: relay: quota used up": 1,
		"circuits: relay: the peer has no reservation": 1,
		"circuits: relay: the peer did not answer":     1, "circuits: relay: token refused": 1, "circuits: other": 1,
	}, got)
	(&Client{}).counted("circuits", nil) // before the client has run
}
