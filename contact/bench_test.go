package contact_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// BenchmarkEpoch begins epochs of a node with 123 contacts: each takes another
// key, certificate and tags.
func BenchmarkEpoch(b *testing.B) {
	many := make([]identity.RemoteIdentity, 123)
	for i := range many {
		many[i] = identity.New().Remote()
	}
	n := (&lan{}).start(b, p2p.Config{}, many...)
	require.NotEmpty(b, shows(b, n).Tags)
	for b.Loop() {
		n.contacts.Turn()
	}
}
