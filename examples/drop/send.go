package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
)

// A sending is the sending user's options.
type sending struct {
	paths []string
	to    string   // a fingerprint or a name, or empty
	yes   bool     // the name need not be verified
	spool *os.Root // for long lists of files, or nil
	away  *away    // how to reach the receiver on another network
}

func send(ctx context.Context, c *console, cfg p2p.Config, want sending) code {
	if err := exist(want.paths); err != nil {
		return c.exit(err) // before a question is asked
	}
	node, err := p2p.Start(ctx, cfg)
	if err != nil {
		return c.exit(err)
	}
	defer node.Shutdown(context.Background())
	go tellPaths(ctx, c, node)
	peer, err := want.away.receiver(node)
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

// exist fails if none of the paths exists. If only some are missing, block.Send
// leaves them out.
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

// deliver sends the files at the paths, and returns when the peer has them.
func deliver(ctx context.Context, c *console, peer *p2p.Peer, want sending) code {
	t := &transfer{console: c, verb: "Sent", other: who(peer), began: time.Now()}
	to := block.To(peer, route)
	over := block.Transfer{Lost: t.lost, Open: func(ctx context.Context) (net.Conn, error) {
		s, err := to(ctx)
		if err == nil {
			t.open = true
			t.warn("Sending to %s%s", t.other, place(s))
		}
		return s, err
	}}
	options := block.SendOptions{Progress: t.show, Spool: want.spool}
	r, err := over.Send(ctx, block.Paths(want.paths...), options)
	return t.end(ctx, r, err)
}
