package contact_test

import (
	"testing"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/quic"
)

func TestConformance(t *testing.T) { // not parallel, since it counts goroutines
	p2ptest.TestHook(t, func(*testing.T) p2p.Hook {
		return contact.New(contact.Config{Listener: quic.New(quic.Config{})})
	})
}
