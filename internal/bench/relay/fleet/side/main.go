// Command side is a relay in a process whose CPU time and memory can be
// measured.
package main

import (
	"fmt"
	"os"

	"github.com/sdp2p/p2p/internal/bench/relay/fleet"
)

func main() {
	if err := fleet.Side(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
