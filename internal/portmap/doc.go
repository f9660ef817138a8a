// Package portmap has a router forward a UDP port of its outside to this node: it
// asks the default gateway, by PCP (RFC 6887) and else by NAT-PMP (RFC 6886), for
// IPv4.
//
// What is sent are two datagrams at most, of up to 60 bytes each, when a mapping is
// made, at half of its lifetime, and after a change of the network; two more release
// it. One that is not answered is sent three times by either protocol. A gateway that
// is silent is asked again after a minute, doubling to 17 minutes; one that refuses,
// when it says.
//
// A mapping lasts 20 minutes, so that not much is left behind where a program is
// killed. The epoch in each answer shows whether the gateway has restarted, and so
// has forgotten which flows went through it (RFC 6887 §8.5).
//
// Anybody on the local network can answer in the gateway's name, to NAT-PMP more
// easily than to PCP, which has a nonce. An external address is thus a claim: it is
// one more address at which a peer may try to reach this node, whose key it knows.
package portmap
