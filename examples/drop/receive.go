package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
)

// A receiver receives what is sent.
type receiver struct {
	dest   *os.Root    // nothing leads out of it
	asking sync.Mutex  // held while the user is asked
	lines  chan string // that the user enters; closed if there are no more; nil: nobody is asked
}

// receive receives what is sent, until ctx is done. It asks the user, who answers by lines of in; if that is nil, it receives
// everything.
func receive(ctx context.Context, cfg p2p.Config, dir string, in io.Reader) error {
	ctx, cancel := interruptible(ctx)
	defer cancel()
	dest, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer dest.Close()
	r := &receiver{dest: dest}
	if in != nil {
		r.lines = make(chan string)
		go func() { // until the program ends: nothing interrupts it
			defer close(r.lines)
			for in := bufio.NewScanner(in); in.Scan(); {
				r.lines <- in.Text()
			}
		}()
	}
	var mux p2p.Mux
	mux.HandleFunc(route, p2p.Anyone, func(shutdown context.Context, s *p2p.Stream) error {
		stream, cancel := context.WithCancel(ctx) // Ctrl-C cancels what is on its way
		defer cancel()
		defer context.AfterFunc(shutdown, cancel)()
		return r.accept(stream, s)
	})
	cfg.Handler, cfg.Metadata = &mux, map[string]string{"receives": "files"}
	node, err := p2p.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer node.Shutdown(context.Background()) // waits for the handler
	fmt.Printf("Waiting as %q (%s) at %v\n", cfg.Name, node.Identity().Fingerprint(), node.Listeners()[0].Addrs)
	<-ctx.Done()
	return nil
}

// accept receives one transfer.
func (r *receiver) accept(ctx context.Context, s *p2p.Stream) error {
	s.Peer().WaitMetadata(ctx) // its name, which comes with the connection
	from, began := who(s.Peer()), time.Now()
	var bar meter
	decide := func(ctx context.Context, o *block.Offer) error {
		defer func() { began = time.Now() }()
		return r.ask(ctx, from, o)
	}
	result, err := block.Receive(ctx, s, decide, r.dest, block.ReceiveOptions{Modes: true, Times: true, Progress: bar.show})
	bar.close()
	list(result.Skipped)
	if err != nil {
		fmt.Fprintf(os.Stderr, "drop: %v\n", explain(ctx, err, from))
		return nil // block has told the other side
	}
	fmt.Println("Received", summary(result, began))
	return nil
}

// ask asks the user about an offer.
func (r *receiver) ask(ctx context.Context, from string, o *block.Offer) error {
	r.asking.Lock()
	defer r.asking.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	fmt.Printf("%s offers %d files and %d folders, %.1f MB\n", from, o.Files, o.Folders, float64(o.Bytes)/1e6)
	if r.lines == nil {
		return nil
	}
	fmt.Print("Receive it? [y/N] ")
	select {
	case line := <-r.lines:
		if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
			return block.Refuse("")
		}
		return nil
	case <-ctx.Done():
		fmt.Println("– no longer offered")
		return ctx.Err()
	}
}
