// Package p2ptest is a network in memory, on which apps and hooks are tested
// without sockets, and a conformance test for hooks.
//
// A [Network] discovers and connects the nodes that are started on it:
//
//	network := p2ptest.NewNetwork(p2ptest.Config{})
//	alice := network.Start(t, p2p.Config{Handler: mux})
//	bob := network.Start(t, p2p.Config{})
//	link := network.Link(alice.Identity(), bob.Identity())
//	link.Cut() // they lose their connection, and then each other
//
// It imitates what an app notices of real networks: connections are made lazily
// and reused, a stream reaches the peer with the first bytes written, a peer
// that does not read stops the writer, and a lost connection takes its streams
// with it. A [Link] delays, loses and cuts.
//
// Everything works inside the bubbles of [testing/synctest], where a delay
// costs no time: the network blocks on nothing but channels, conditions and
// timers, and none of its goroutines outlives the hook that it belongs to.
// Nodes that share a network are in one bubble, or none of them is.
//
// [TestHook] tests that a hook, or a listener, keeps the contract of [p2p.Hook]
// and [p2p.Listener].
package p2ptest
