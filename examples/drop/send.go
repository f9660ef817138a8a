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

func send(ctx context.Context, cfg p2p.Config, to string, paths []string) error {
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil {
			return err // before anybody is asked
		}
	}
	node, err := p2p.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer node.Shutdown(context.Background())
	peer, err := choose(ctx, node, to)
	if err != nil {
		return err
	}
	return deliver(ctx, peer, paths)
}

// choose finds devices that receive and, unless it is empty, are called to, and returns the only one or that which the
// user chooses. It waits 20 s for the first of them, and then a second for more.
func choose(ctx context.Context, node *p2p.P2P, to string) (*p2p.Peer, error) {
	looking, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var found []*p2p.Peer
	for p := range node.Available(looking) {
		called := to == "" || to == p.Name() || to == p.Identity().Fingerprint()
		if called && p.Metadata()["receives"] != "" {
			found = append(found, p)
			fmt.Printf("%3d  %s, name verified: %v, %v\n", len(found), who(p), p.Verified(), p.Candidates())
			time.AfterFunc(time.Second, cancel)
		}
	}
	n := 1
	if to == "" || len(found) > 1 {
		fmt.Print("Send to number (or use --to with a name or fingerprint): ")
		if _, err := fmt.Scanln(&n); err != nil {
			return nil, fmt.Errorf("no device was chosen: %w", err)
		}
	}
	if n < 1 || n > len(found) {
		return nil, errors.New("there is no such device that receives files")
	}
	return found[n-1], nil
}

// deliver sends what is at the paths, and returns when the peer has all of it.
func deliver(ctx context.Context, peer *p2p.Peer, paths []string) error {
	ctx, cancel := interruptible(ctx) // before this, Ctrl-C ends the program
	defer cancel()
	s, err := peer.Open(ctx, route)
	if err != nil {
		return err
	}
	defer s.Close()
	to, began := who(peer), time.Now()
	fmt.Printf("Sending to %s\n", to)
	var bar meter
	r, err := block.Send(ctx, s, block.Paths(paths...), block.SendOptions{Progress: bar.show})
	bar.close()
	list(r.Skipped)
	if err != nil {
		return explain(ctx, err, to)
	}
	fmt.Println("Sent", summary(r, began))
	return nil
}
