// Package away measures package relay beside go-libp2p's circuits and hole
// punching: relays and nodes are processes of their own in network namespaces.
package away
