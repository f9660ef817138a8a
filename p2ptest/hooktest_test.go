package p2ptest_test

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/p2ptest"
)

func TestListenerConforms(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	p2ptest.TestHook(t, func(*testing.T) p2p.Hook { return network.Listener(p2ptest.ListenerConfig{}) })
}

func TestListenerConformsInBubbles(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	p2ptest.HookTest{
		New:    func(*testing.T) p2p.Hook { return network.Listener(p2ptest.ListenerConfig{}) },
		Bubble: true,
	}.Run(t)
}

func TestDiscoveryConforms(t *testing.T) {
	for _, bubble := range []bool{false, true} {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		p2ptest.HookTest{
			New:       func(*testing.T) p2p.Hook { return network.Discovery() },
			Discovers: true, Bubble: bubble,
		}.Run(t)
	}
}

func TestContactsConform(t *testing.T) {
	for _, bubble := range []bool{false, true} {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		p2ptest.HookTest{
			New:    func(*testing.T) p2p.Hook { return network.Contacts(p2ptest.ContactsConfig{Only: true}) },
			Bubble: bubble,
		}.Run(t)
	}
}

func TestStreamIsAConn(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b := p2ptest.HookTest{
			New: func(*testing.T) p2p.Hook { return network.Listener(p2ptest.ListenerConfig{}) },
		}.Pipe(t)
		return a, b, func() { a.Reset(p2p.ErrCanceled); b.Reset(p2p.ErrCanceled) }, nil
	})
}
