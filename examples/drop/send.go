package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/examples/drop/console"
)

func send(ctx context.Context, c *console.Console, cfg p2p.Config, o *options) code {
	if err := exist(o.paths); err != nil {
		return exit(c, err) // before a question is asked
	}
	node, err := p2p.Start(ctx, cfg)
	if err != nil {
		return exit(c, err)
	}
	defer node.Shutdown(context.Background())
	go tellPaths(ctx, c, node)
	peer, err := other(ctx, c, node, o)
	if ctx.Err() != nil {
		err = errors.New("canceled")
	}
	if err != nil {
		return exit(c, err)
	}
	return deliver(ctx, c, peer, o)
}

// other returns the device to send to.
func other(
	ctx context.Context, c *console.Console, node *p2p.P2P, o *options,
) (*p2p.Peer, error) {
	if o.relays == nil {
		return choose(ctx, c, node, o.to, o.yes)
	}
	if peer := node.Track(o.friend); peer != nil { // relays lead only to tracked devices
		return peer, nil
	}
	return nil, errors.New("--to is this device's own key")
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
func deliver(ctx context.Context, c *console.Console, peer *p2p.Peer, o *options) code {
	t := newTransfer(c, "Sent", who(peer))
	to := block.To(peer, route)
	over := block.Transfer{Lost: t.lost, Open: func(ctx context.Context) (net.Conn, error) {
		s, err := to(ctx)
		if err == nil {
			t.open = true
			t.Warn("Sending to %s%s", t.other, place(s))
		}
		return s, err
	}}
	options := block.SendOptions{Progress: t.show, Spool: o.spool}
	r, err := over.Send(ctx, block.Paths(o.paths...), options)
	return t.end(ctx, r, err)
}
