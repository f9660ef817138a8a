//go:build !linux

package main

// describeLinks adds nothing: only Linux provides these facts.
func describeLinks(*facts) {}

// listNeighbors returns nothing, for the same reason.
func listNeighbors() []neighbor { return nil }
