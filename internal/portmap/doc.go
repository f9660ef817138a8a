// Package portmap makes a router forward an external UDP port to this node: it
// asks the default gateway, with PCP (RFC 6887) or else NAT-PMP (RFC 6886), for
// IPv4.
//
// It sends at most two datagrams, of up to 60 bytes each, to make a mapping, at
// half of its lifetime, and after a change of the network, and two more to
// release it. An unanswered datagram is sent three times with each protocol. A
// silent gateway is asked again after a minute, doubling to 17 minutes; one
// that refuses, at the time that it gives.
//
// A mapping lasts 20 minutes, so that a killed program does not leave much
// behind. The epoch in each answer shows whether the gateway has restarted, and
// so has lost its mappings (RFC 6887 §8.5).
//
// Anybody on the local network can answer in the gateway's name, to NAT-PMP
// more easily than to PCP, which has a nonce. An external address is thus a
// claim: it is one more address at which a peer may try to reach this node,
// whose key it knows.
package portmap
