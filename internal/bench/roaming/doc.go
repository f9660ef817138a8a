// Package roaming measures how long a stream stands still where a network
// changes. It takes the figures of the tests in internal/nettest, in network
// namespaces, and has a stream of quic-go and of go-libp2p meet some of the
// same.
package roaming
