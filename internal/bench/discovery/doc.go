// Package discovery measures discovery on the local network against avahi and
// hashicorp/mdns: how soon nodes are found and missed, what they send while
// nothing happens, and what a flood of forged announcements does. What takes
// real time runs in network namespaces, and needs Linux, root, iproute2 and
// avahi; hours are simulated.
//
// It has tests only, since the laboratory of hosts needs one. They run if a
// file is named that the table is written to:
//
//	SDP2P_BENCH_TABLE=/tmp/t.json go test -v -run TestDiscovery/flood ./discovery
package discovery
