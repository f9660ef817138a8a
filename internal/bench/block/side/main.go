// Command side is one side of a transfer, in a process whose memory can be
// measured, and which can be killed.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/sdp2p/p2p/internal/bench/block"
)

func main() {
	if err := block.Side(context.Background(), os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
