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

// A sender sends files.
type sender struct {
	*console.Console
	*options
	node *p2p.P2P
}

// send sends files, and returns when the other device has them.
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
	s := &sender{c, o, node}
	var peer *p2p.Peer
	if o.relays == nil {
		peer, err = s.choose(ctx)
	} else if peer = node.Track(o.friend); peer == nil { // relays lead only to tracked devices
		err = errors.New("--to is this device's own key")
	}
	if ctx.Err() != nil {
		err = errors.New("canceled")
	}
	if err != nil {
		return exit(c, err)
	}
	return s.deliver(ctx, peer)
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

// deliver sends the files at the paths to a device.
func (s *sender) deliver(ctx context.Context, peer *p2p.Peer) code {
	t := newTransfer(s.Console, "Sent", who(peer))
	to := block.To(peer, route)
	over := block.Transfer{Lost: t.lost, Open: func(ctx context.Context) (net.Conn, error) {
		conn, err := to(ctx)
		if err == nil {
			t.open = true
			t.Warn("Sending to %s%s", t.other, place(conn))
		}
		return conn, err
	}}
	options := block.SendOptions{Progress: t.show, Spool: s.spool}
	r, err := over.Send(ctx, block.Paths(s.paths...), options)
	return t.end(ctx, r, err)
}
