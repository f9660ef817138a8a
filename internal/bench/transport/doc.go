// Package transport measures the SDK over QUIC against quic-go alone, which it
// cannot be faster than, and against go-libp2p as its users have it: what a
// stream carries, what it takes to open one and to connect, and what an idle
// connection and an idle node keep. It uses what the packages export, and
// nothing else.
package transport
