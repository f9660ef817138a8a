//go:build !linux

package main

// askSocket has nothing to ask: buffers need no setting that the user could
// change, or cannot be asked for.
func askSocket() socketFacts { return socketFacts{} }
