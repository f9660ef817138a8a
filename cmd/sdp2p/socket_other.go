//go:build !linux

package main

// askSocket returns no facts: buffers need no setting that the user could
// change, or cannot be queried.
func askSocket() socketFacts { return socketFacts{} }
