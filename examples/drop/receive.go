package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/examples/drop/console"
)

const (
	answerWithin = 2 * time.Minute
	nameWithin   = 10 * time.Second
)

// A receiver receives transfers.
type receiver struct {
	*console.Console
	*options
	dest   *os.Root           // nothing leads out of it
	stop   context.CancelFunc // ends it
	asking chan struct{}      // holds one element while an offer is decided on
	taken  bool               // with once: an offer was accepted; guarded by asking

	transfers block.Transfers

	mu    sync.Mutex
	worst code        // of the transfers that were accepted
	told  block.Lacks // what the notes on the disk were about
}

// receive receives transfers until ctx is done or, with once, until one has
// ended.
func receive(ctx context.Context, c *console.Console, cfg p2p.Config, o *options) code {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dest, err := os.OpenRoot(o.paths[0])
	if err != nil {
		return exit(c, err)
	}
	defer dest.Close()
	r := &receiver{Console: c, options: o, dest: dest, stop: cancel, asking: make(chan struct{}, 1)}
	if o.once {
		r.worst = exitFailed // unless there is one
	}
	r.transfers.Lost = func(s net.Conn, err error) {
		from := s.(*p2p.Stream).RemoteIdentity().Fingerprint()
		c.Warn("%s was lost (%s) and may come back", from, words(err))
	}
	var mux p2p.Mux
	mux.HandleFunc(route, p2p.Anyone, func(shutdown context.Context, s *p2p.Stream) error {
		ctx, cancel := context.WithCancel(ctx) // Ctrl-C cancels running transfers
		defer cancel()
		defer context.AfterFunc(shutdown, cancel)()
		r.accept(ctx, s)
		return nil // block has told the other side
	})
	cfg.Handler, cfg.Metadata = &mux, map[string]string{"receives": "files"}
	node, err := p2p.Start(ctx, cfg)
	if err != nil {
		return exit(c, err)
	}
	c.Say("Waiting as %q (%s)", cfg.Name, node.Identity().Fingerprint())
	if o.relays != nil {
		go o.announce(ctx, c, node)
	}
	tellPaths(ctx, c, node)
	node.Shutdown(context.Background()) // waits for the handlers
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.worst
}

// announce lets the sender call this device from another network.
func (o *options) announce(ctx context.Context, c *console.Console, node *p2p.P2P) {
	node.Track(o.friend)
	c.Say("For devices on other networks, the key is %s", node.Identity())
	if o.relays.Wait(ctx) == nil {
		c.Say("Devices on other networks reach this one now")
	}
}

// accept receives one transfer, or continues one.
func (r *receiver) accept(ctx context.Context, s *p2p.Stream) {
	name, cancel := context.WithTimeout(ctx, nameWithin)
	s.Peer().WaitMetadata(name) // its name, which comes with the connection
	cancel()
	t, accepted := newTransfer(r.Console, "Received", who(s.Peer())), false
	decide := func(ctx context.Context, o *block.Offer) error {
		err := r.decide(ctx, t.other, o)
		if err == nil && o.Earlier == 0 {
			accepted, t.began = true, time.Now()
			t.Warn("Receiving from %s%s", t.other, place(s))
		}
		return err
	}
	result, err := r.transfers.Receive(ctx, s, decide, r.dest, block.ReceiveOptions{
		Modes: true, Times: true, Progress: t.show, AnswerWithin: answerWithin,
		Trusted: isKeyOf(r.from, s.RemoteIdentity()),
	})
	if errors.Is(err, block.ErrContinued) {
		return // the first stream's end covers this one
	}
	ended := t.end(ctx, result, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note(result.Lacks)
	switch {
	case accepted && r.once:
		r.worst = ended
		r.stop()
	case accepted:
		r.worst = worse(r.worst, ended)
	}
}

// decide decides on an offer, and asks the user if necessary.
func (r *receiver) decide(ctx context.Context, from string, o *block.Offer) (err error) {
	if o.Earlier > 0 { // the user has said yes to all of it
		return nil
	}
	until := time.Now().Add(answerWithin)
	select {
	case r.asking <- struct{}{}: // nobody else is asking
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() {
		r.taken = r.taken || err == nil
		<-r.asking
	}()
	if r.once && r.taken {
		return block.Refuse("another transfer came first")
	}
	r.Warn("%s offers %v", from, o)
	if r.yes {
		return nil
	}
	left := time.Until(until).Seconds()
	ok, err := r.Confirm(ctx, fmt.Sprintf("Receive it? You have %.0f s to answer.", left))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		r.Warn("drop: nobody can answer here: use --yes")
		return block.Refuse("nobody can answer there")
	case !ok:
		return block.Refuse("")
	}
	return nil
}

// note tells the user, once, what the disk lacks. The caller holds mu.
func (r *receiver) note(lacks block.Lacks) {
	all := block.Lacks{
		Sync: lacks.Sync || r.told.Sync, Links: lacks.Links || r.told.Links,
		Locks: lacks.Locks || r.told.Locks, Exchange: lacks.Exchange || r.told.Exchange,
	}
	if all != r.told {
		r.told = all
		r.Warn("Note on the disk of %q: %v", r.paths[0], all)
	}
}

// worse returns the worse one of two codes of transfers.
func worse(a, b code) code {
	if a == exitFailed || b == exitAll {
		return a
	}
	return b
}
