// Package soak tells tests how long to run. What they check does not depend on
// it.
package soak

import (
	"flag"
	"os"
	"strconv"
)

// N returns usual, with which a test takes about a second and covers every kind
// of case, or long if the environment variable SDP2P_SOAK is set, as by `make
// soak`.
func N(usual, long int) int {
	if os.Getenv("SDP2P_SOAK") != "" {
		return long
	}
	return usual
}

// Checks sets the number of cases that pgregory.net/rapid draws, as N does,
// unless the command line sets it. It is for TestMain, and parses the flags.
func Checks(usual, long int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		_ = flag.Set("rapid.checks", strconv.Itoa(N(usual, long))) // fails only without rapid
	}
}
