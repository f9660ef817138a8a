// Hello starts two nodes in one program, Alice and Bob. They find each other on
// the local network, just as they would on two devices. Then Alice connects to
// Bob and says hello, and Bob echoes it.
//
//	go run ./examples/hello [-interface lo]
//
// With --debug it runs until it is interrupted, and serves a page to this
// computer that shows Alice's node:
//
//	go run ./examples/hello --debug :7380
//	go run ./cmd/sdp2p status :7380
//
// With -contacts it starts one node, whose contacts are the given keys, and
// which only they can find. It prints its own key, and says hello to each
// contact until it is interrupted. Run it on two devices, or twice on one, each
// with the other's key:
//
//	go run ./examples/hello -key alice.pem -contacts            # makes the key, prints it, and ends
//	go run ./examples/hello -key alice.pem -contacts KEY...
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/debugpage"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

var interfaces []string // nil: all that support multicast

func main() {
	flag.Func("interface", "use this network `interface` only, such as lo", func(name string) error { interfaces = append(interfaces, name); return nil })
	private := flag.Bool("contacts", false, "be visible only to the nodes whose keys are the arguments")
	file := flag.String("key", "hello.pem", "with -contacts, the `file` with this node's key, created if necessary")
	port := flag.String("debug", "", "serve a page about the node at this `port` of this computer, such as :7380, until interrupted")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	switch {
	case *private:
		privately(ctx, *file, *port, flag.Args())
	case *port != "":
		watched(ctx, *port)
	default:
		hello(ctx)
	}
}

func hello(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	alice, bob := start(ctx, "Alice"), start(ctx, "Bob")
	defer alice.Shutdown(ctx)
	defer bob.Shutdown(ctx)
	for peer := range alice.Available(ctx) {
		if peer.Identity() == bob.Identity() { // not somebody else who runs this program
			stream, err := peer.NewStream(ctx)
			check(err)
			fmt.Fprintf(stream, "Hello, %s!", peer.Name())
			stream.CloseWrite()
			answer, err := io.ReadAll(stream)
			check(err)
			stream.Close()
			fmt.Printf("%s at %v answered: %s\n", peer.Identity().Fingerprint(), stream.Path().Remote, answer)
			return
		}
	}
	log.Fatal("Alice did not find Bob")
}

// watched makes Alice say hello to every peer that she finds, every three
// seconds, and serves her page, until ctx is done.
func watched(ctx context.Context, port string) {
	alice, bob := start(ctx, "Alice"), start(ctx, "Bob")
	defer debug(port, alice)()
	defer alice.Shutdown(context.Background())
	defer bob.Shutdown(context.Background())
	for {
		for _, peer := range alice.Peers() {
			if err := say(ctx, peer); err != nil && ctx.Err() == nil {
				log.Print(err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(3 * time.Second):
		}
	}
}

// privately says hello to the contacts with the given keys as they appear,
// until ctx is done. Nobody else finds this node, or learns which it is.
func privately(ctx context.Context, file, port string, keys []string) {
	key, err := identity.LoadOrCreate(file)
	check(err)
	fmt.Println("My key is", key.Remote())
	var known []identity.RemoteIdentity
	for _, k := range keys {
		id, err := identity.Parse(k)
		check(err)
		known = append(known, id)
	}
	if len(known) == 0 {
		return
	}
	listener := quic.New(quic.Config{})
	contacts := contact.New(contact.Config{Listener: listener}) // with libraries, also: contact.FromLibraries(libraries)
	check(contacts.Set(known))
	discovery := mdns.New(mdns.Config{Mode: mdns.ContactsOnly, Contacts: contacts, Interfaces: interfaces})
	name, _ := os.Hostname() // only contacts are told the name
	node, err := p2p.Start(ctx, p2p.Config{
		App: "hello", Name: name, Identity: key, Handler: p2p.HandlerFunc(echo), Hooks: []p2p.Hook{listener, contacts, discovery},
	})
	check(err)
	defer debug(port, node)()
	defer node.Shutdown(context.Background())
	for peer := range node.Available(ctx) {
		_, err := peer.WaitMetadata(ctx) // its name came with no announcement
		if err == nil {
			err = say(ctx, peer)
		}
		if err != nil {
			log.Print(err) // it may be back
		}
	}
}

// start starts a node on the local network that echoes.
func start(ctx context.Context, name string) *p2p.P2P {
	hooks := []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{Interfaces: interfaces})}
	node, err := p2p.Start(ctx, p2p.Config{App: "hello", Name: name, Handler: p2p.HandlerFunc(echo), Hooks: hooks})
	check(err)
	return node
}

// say says hello to a peer, and prints the answer.
func say(ctx context.Context, peer *p2p.Peer) error {
	stream, err := peer.NewStream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	fmt.Fprintf(stream, "Hello, %s!", peer.Name())
	stream.CloseWrite()
	answer, err := io.ReadAll(stream)
	if err == nil {
		fmt.Printf("%s at %v answered: %s\n", peer.Identity().Fingerprint(), stream.Path().Remote, answer)
	}
	return err
}

// debug serves the debugging page of a node, to this computer only, if port is
// not empty. Call the returned function after the node's shutdown to end it.
func debug(port string, node *p2p.P2P) (end func()) {
	if port == "" {
		return func() {}
	}
	l, err := net.Listen("tcp", "127.0.0.1"+port)
	check(err)
	server := &http.Server{Handler: debugpage.Handler(node), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l)
	fmt.Printf("The page is at http://%v/\n", l.Addr())
	return func() { server.Shutdown(context.Background()) }
}

func echo(ctx context.Context, s *p2p.Stream) error {
	_, err := io.Copy(s, s)
	return err
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
