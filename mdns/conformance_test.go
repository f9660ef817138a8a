package mdns_test

import (
	"testing"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/p2ptest"
)

func TestConformance(t *testing.T) {
	p2ptest.HookTest{
		New:       func(t *testing.T) p2p.Hook { return mdns.New(mdns.Config{Interfaces: []string{loopback(t)}}) },
		Discovers: true,
	}.Run(t)
}
