package quic_test

import (
	"testing"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/quic"
)

func TestConformance(t *testing.T) {
	p2ptest.TestHook(t, func(*testing.T) p2p.Hook { return quic.New(quic.Config{}) })
}
