// Package soak tells tests how long to go on: what they check is the same in
// either case.
package soak

import "os"

// N returns usual, which takes a test a second or so and leaves no kind of case
// out, or long where the environment variable SDP2P_SOAK is set, as by
// `make soak`.
func N(usual, long int) int {
	if os.Getenv("SDP2P_SOAK") != "" {
		return long
	}
	return usual
}
