package ancestor

import (
	"testing"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/relay"
)

// As a hook, the listener fulfills the contract. The contract of p2p.Listener
// cannot be tested in the same way, since the listener makes no connection by
// itself.
func TestConformance(t *testing.T) {
	p2ptest.TestHook(t, func(*testing.T) p2p.Hook {
		return struct{ p2p.Hook }{New(Config{Relays: relay.New(relay.Config{})})}
	})
}
