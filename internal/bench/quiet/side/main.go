// Command side is a node that has nothing to do, or the peers of one.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/sdp2p/p2p/internal/bench/quiet"
)

func main() {
	if err := quiet.Side(context.Background(), os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
