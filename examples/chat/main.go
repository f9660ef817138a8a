// Chat sends each typed line to everybody on the local network who runs this
// program, and shows the lines that they type.
//
//	go run ./examples/chat -name Oscar [-interface lo]
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

func main() {
	name := flag.String("name", "", "your `name`")
	var on []string // nil: all that support multicast
	flag.Func("interface", "use only this network `interface`", func(s string) error { on = append(on, s); return nil })
	flag.Parse()
	hooks := []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{Interfaces: on})}
	if err := chat(context.Background(), *name, hooks, os.Stdin, log.New(os.Stdout, "", 0)); err != nil {
		log.Fatal(err)
	}
}

// chat sends the lines of in and shows events, until in ends, ctx is done, or
// Ctrl-C.
func chat(ctx context.Context, name string, hooks []p2p.Hook, in io.Reader, show *log.Logger) error {
	var mux p2p.Mux
	mux.HandleFunc("line", p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		line, err := io.ReadAll(io.LimitReader(s, bufio.MaxScanTokenSize))
		s.Peer().WaitMetadata(ctx) // with the first line, the name may still be under way
		show.Printf("%s: %s", who(s.Peer()), control.ReplaceAll(line, nil))
		return err
	})
	node, err := p2p.Start(ctx, p2p.Config{App: "chat", Name: name, Handler: &mux, Hooks: hooks})
	if err != nil {
		return err
	}
	defer node.Shutdown(context.Background()) // says goodbye
	ctx, cancel := signal.NotifyContext(ctx, os.Interrupt)
	go func() { // nothing interrupts Scan: if ctx is done before in ends, this ends with the program
		defer cancel()
		for s := bufio.NewScanner(in); s.Scan(); {
			say(ctx, node, s.Text(), show)
		}
	}()
	for e := range node.Watch(ctx) {
		if line := news(e); line != "" {
			show.Print("* ", line)
		}
	}
	return nil
}

// news describes an event, or returns "".
func news(e p2p.Event) string {
	switch e := e.(type) {
	case p2p.PeerAvailable:
		return who(e.Peer) + " joined"
	case p2p.PeerConnectedWith:
		if path := e.Peer.Path(); path.Remote.IsValid() { // it may have ended again
			return fmt.Sprintf("%s is at %v", who(e.Peer), path.Remote)
		}
	case p2p.PeerPathChanged: // a network has changed, and streams continue
		return fmt.Sprintf("%s is at %v now", who(e.Peer), e.To.Remote)
	case p2p.PeerMetadataModified:
		if e.Peer.Verified() {
			return fmt.Sprintf("%s is %s", e.Peer.Identity().Fingerprint(), who(e.Peer))
		}
	case p2p.PeerUnavailable:
		return who(e.Peer) + " left"
	}
	return ""
}

// say sends a line to every peer and waits until all have shown it, so that
// lines keep their order.
func say(ctx context.Context, node *p2p.P2P, line string, show *log.Logger) {
	var all sync.WaitGroup
	for _, peer := range node.Peers() {
		all.Go(func() {
			s, err := peer.Open(ctx, "line")
			if err == nil {
				defer s.Close()
				s.SetDeadline(time.Now().Add(5 * time.Second))
				io.WriteString(s, line)
				s.CloseWrite()
				_, err = io.ReadAll(s) // ends when the line was shown
			}
			if err != nil && ctx.Err() == nil {
				show.Printf("* %s did not get that: %v", who(peer), err)
			}
		})
	}
	all.Wait()
}

var control = regexp.MustCompile(`\p{C}`) // characters that a terminal may act on

// who returns the peer's own name, or its fingerprint while its name is only
// announced.
func who(p *p2p.Peer) string {
	if name := p.Name(); name != "" && p.Verified() {
		return control.ReplaceAllString(name, "")
	}
	return p.Identity().Fingerprint()
}
