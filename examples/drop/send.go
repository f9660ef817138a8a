package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
)

// A sending is what the sender's user wants.
type sending struct {
	paths []string
	to    string   // a fingerprint or a name, or empty
	yes   bool     // the name need not be verified
	spool *os.Root // for long lists of files, or nil
	away  *away    // how it is reached if it is on another network
}

func send(ctx context.Context, c *console, cfg p2p.Config, want sending) code {
	if err := exist(want.paths); err != nil {
		return c.exit(err) // before anybody is asked
	}
	node, err := p2p.Start(ctx, cfg)
	if err != nil {
		return c.exit(err)
	}
	defer node.Shutdown(context.Background())
	go tellPaths(ctx, c, node)
	peer, err := want.away.receiver()
	if peer == nil && err == nil {
		peer, err = choose(ctx, c, node, want.to, want.yes)
	}
	if ctx.Err() != nil {
		err = errors.New("canceled")
	}
	if err != nil {
		return c.exit(err)
	}
	return deliver(ctx, c, peer, want)
}

// exist fails if none of the paths exists. What is missing beside others is
// left out by block.Send.
func exist(paths []string) (err error) {
	for _, path := range paths {
		_, missing := os.Stat(path)
		if missing == nil {
			return nil
		}
		if err == nil {
			err = missing
		}
	}
	return fmt.Errorf("there is nothing to send: %w", err)
}

// deliver sends what is at the paths, and returns when the peer has it.
func deliver(ctx context.Context, c *console, peer *p2p.Peer, want sending) code {
	t := &transfer{console: c, verb: "Sent", other: who(peer), began: time.Now()}
	s, err := peer.Open(ctx, route)
	if err != nil {
		return t.end(ctx, block.Result{}, err)
	}
	defer s.Close()
	c.warn("Sending to %s%s", t.other, place(s))
	options := block.SendOptions{Progress: t.show, Spool: want.spool}
	r, err := block.Send(ctx, s, block.Paths(want.paths...), options)
	return t.end(ctx, r, err)
}
