//go:build !linux

package main

// describeLinks adds nothing: this system does not tell what Linux does.
func describeLinks(*facts) {}

// listNeighbors returns nothing, for the same reason.
func listNeighbors() []neighbor { return nil }
