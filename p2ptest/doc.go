// Package p2ptest provides a network in memory, for testing apps and hooks
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
// It behaves like a real network as far as an app can notice: connections are
// made lazily and reused, a stream reaches the peer with the first bytes
// written, a peer that does not read blocks the writer, and a lost connection
// ends its streams. A [Link] can delay, lose and cut.
//
// A node with [Contacts] can be visible only to these, and can switch that
// while it runs:
//
//	contacts := network.Contacts(p2ptest.ContactsConfig{Only: true})
//	carol := contacts.Start(t, p2p.Config{})
//	err := contacts.Set([]identity.RemoteIdentity{dave.Identity()})
//
// Everything works inside the bubbles of [testing/synctest], where a delay
// costs no time: the network blocks only on channels, conditions and timers,
// and none of its goroutines outlives the hook that it belongs to. Nodes that
// share a network must be in the same bubble, or all outside of one.
//
// [TestHook] tests that a hook keeps the contracts of [p2p.Hook] and, if it is
// a listener, of [p2p.Listener].
package p2ptest
