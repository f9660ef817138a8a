// Package soak tells tests how long to go on: what they check is the same in
// either case.
package soak

import (
	"flag"
	"os"
	"strconv"
)

// N returns usual, which takes a test a second or so and leaves no kind of case
// out, or long where the environment variable SDP2P_SOAK is set, as by
// `make soak`.
func N(usual, long int) int {
	if os.Getenv("SDP2P_SOAK") != "" {
		return long
	}
	return usual
}

// Checks sets how many cases pgregory.net/rapid draws, as N does, unless the
// command line says it. It is for TestMain, and parses the flags.
func Checks(usual, long int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		_ = flag.Set("rapid.checks", strconv.Itoa(N(usual, long))) // fails only without rapid
	}
}
