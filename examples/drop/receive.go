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
)

const (
	answerWithin = 2 * time.Minute
	nameWithin   = 10 * time.Second
)

// A receiving is the receiving user's options.
type receiving struct {
	dir  string
	yes  bool // everything, without a question
	once bool // one transfer
	away *away
}

// A receiver receives transfers.
type receiver struct {
	*console
	receiving
	dest   *os.Root           // nothing leads out of it
	stop   context.CancelFunc // ends it
	asking chan struct{}      // holds one element while an offer is decided on
	taken  bool               // with once: an offer was accepted; guarded by asking

	transfers block.Transfers

	mu    sync.Mutex
	ended []code      // of the transfers that were accepted
	told  block.Lacks // warnings about the disk that the user was shown
}

// receive receives transfers until ctx is done or, with once, until one has
// ended.
func receive(ctx context.Context, c *console, cfg p2p.Config, want receiving) code {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dest, err := os.OpenRoot(want.dir)
	if err != nil {
		return c.exit(err)
	}
	defer dest.Close()
	r := &receiver{console: c, receiving: want, dest: dest, stop: cancel}
	r.asking = make(chan struct{}, 1)
	r.transfers.Lost = func(s net.Conn, err error) {
		from := s.(*p2p.Stream).RemoteIdentity().Fingerprint()
		c.warn("%s was lost (%s) and may come back", from, words(err))
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
		return c.exit(err)
	}
	c.say("Waiting as %q (%s)", cfg.Name, node.Identity().Fingerprint())
	want.away.announce(ctx, c, node)
	tellPaths(ctx, r.console, node)
	<-ctx.Done()
	node.Shutdown(context.Background()) // waits for the handlers
	return r.worst()
}

// accept receives one transfer, or continues one.
func (r *receiver) accept(ctx context.Context, s *p2p.Stream) {
	name, cancel := context.WithTimeout(ctx, nameWithin)
	s.Peer().WaitMetadata(name) // its name, which comes with the connection
	cancel()
	t := &transfer{console: r.console, verb: "Received", other: who(s.Peer())}
	t.began = time.Now()
	accepted := false
	decide := func(ctx context.Context, o *block.Offer) error {
		err := r.decide(ctx, t.other, o)
		if accepted = err == nil; o.Earlier == 0 {
			t.began = time.Now()
		}
		if accepted && o.Earlier == 0 {
			t.warn("Receiving from %s%s", t.other, place(s))
		}
		return err
	}
	result, err := r.transfers.Receive(ctx, s, decide, r.dest, block.ReceiveOptions{
		Modes: true, Times: true, Progress: t.show, AnswerWithin: answerWithin,
		Trusted: r.away.trusts(s.RemoteIdentity()),
	})
	if errors.Is(err, block.ErrContinued) {
		return // the first stream's end covers this one
	}
	ended := t.end(ctx, result, err)
	r.warnOf(result.Lacks)
	if accepted {
		r.mu.Lock()
		r.ended = append(r.ended, ended)
		r.mu.Unlock()
		if r.once {
			r.stop()
		}
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
	r.warn("%s offers %v", from, o)
	if r.yes {
		return nil
	}
	question := "Receive it? You have %.0f s to answer."
	ok, err := r.confirm(ctx, fmt.Sprintf(question, time.Until(until).Seconds()))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		r.warn("drop: nobody can answer here: use --yes")
		return block.Refuse("nobody can answer there")
	case !ok:
		return block.Refuse("")
	}
	return nil
}

// warnOf tells the user, once, what the disk cannot do.
func (r *receiver) warnOf(lacks block.Lacks) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tell := func(lacks bool, told *bool, what string) {
		if lacks && !*told {
			*told = true
			r.warn("Note on the disk of %q: %s", r.dir, what)
		}
	}
	tell(lacks.Sync, &r.told.Sync, "a power cut may lose files that have just arrived")
	tell(lacks.Links, &r.told.Links, "a crash may leave an empty file")
	tell(lacks.Locks, &r.told.Locks, "two programs must not receive the same files there at a time")
}

// worst returns the worst of the transfers that were accepted.
func (r *receiver) worst() code {
	r.mu.Lock()
	defer r.mu.Unlock()
	worst := exitAll
	if r.once && len(r.ended) == 0 {
		worst = exitFailed
	}
	for _, c := range r.ended {
		if c == exitFailed || worst == exitAll {
			worst = c
		}
	}
	return worst
}
