// Vault shows what a library is for. Alice and Bob share one; each keeps a file in it, and fetches a part of the other's,
// by its id, through a tunnel. Mallory knows all about the library, its secret included, but is no member: she gets nothing.
//
//	go run ./examples/vault --demo
//
// All three are nodes of this program, which find each other on the loopback interface as devices do on a network.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tunnel"
)

// A device is a node with an instance of the library. An app keeps both keys in files (identity.LoadOrCreate), and the
// record of the library as well.
type device struct {
	key, instance identity.Identity
	node          *p2p.P2P
	library       *library.Library
	files         map[uuid.UUID]string
}

func newDevice() *device {
	return &device{key: identity.New(), instance: identity.New(), files: map[uuid.UUID]string{}}
}

// member is what others have on record of a device: its instance, and the node that this lives on.
func (d *device) member() library.Member {
	return library.Member{Instance: d.instance.Remote(), Node: d.key.Remote()}
}

// start starts the node, with a library that has others for its members.
func (d *device) start(ctx context.Context, name string, r library.Record, others ...*device) {
	for _, o := range others {
		r.Members = append(r.Members, o.member())
	}
	libraries := library.New(library.Config{})
	var mux p2p.Mux
	mux.Handle(library.Route, p2p.Anyone, libraries) // the tunnel authenticates
	var err error
	d.node, err = p2p.Start(ctx, p2p.Config{
		App: "vault", Name: name, Identity: d.key, Handler: &mux,
		Hooks: []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{Interfaces: loopback()}), libraries},
	})
	check(err)
	d.library, err = libraries.Add(r, d.instance)
	check(err)
	d.library.Handle("fetch", d.serve)
}

// serve answers a request for a part of a file. Only members get here.
func (d *device) serve(_ context.Context, c *tunnel.Conn) error {
	r := proto.NewDecoder(c)
	id, offset, length := r.UUID(), r.Uint64(), r.Uint64()
	if err := r.Err(); err != nil {
		return err
	}
	file, ok := d.files[id]
	if !ok || offset > uint64(len(file)) {
		return p2p.FirstAppCode // the app's own: there is no such part
	}
	_, err := io.WriteString(c, file[offset:][:min(length, uint64(len(file))-offset)])
	return err
}

// fetch gets a part of a file from another device, as soon as its node is there.
func (d *device) fetch(ctx context.Context, from *device, id uuid.UUID, offset, length uint64) (string, error) {
	for peer := range d.node.Available(ctx) {
		if peer.Identity() != from.key.Remote() {
			continue
		}
		c, err := d.library.Open(ctx, from.instance.Remote(), "fetch")
		if err != nil {
			return "", err
		}
		defer c.Close()
		request := proto.AppendUint64(proto.AppendUint64(proto.AppendUUID(nil, id), offset), length)
		if _, err := c.Write(request); err != nil {
			return "", err
		}
		part, err := io.ReadAll(c) // which fails where anything is missing
		return string(part), err
	}
	return "", ctx.Err()
}

func main() {
	flag.Bool("demo", true, "show it")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	record := library.Record{ID: uuid.New(), Name: "Photos", Secret: library.NewSecret()}
	alice, bob, mallory := newDevice(), newDevice(), newDevice()
	alice.start(ctx, "Alice", record, bob)
	defer alice.node.Shutdown(ctx)
	bob.start(ctx, "Bob", record, alice)
	defer bob.node.Shutdown(ctx)
	mallory.start(ctx, "Mallory", record, alice, bob)
	defer mallory.node.Shutdown(ctx)

	file := uuid.New()
	alice.files[file], bob.files[file] = "0123456789, says Alice", "0123456789, says Bob"
	part, err := alice.fetch(ctx, bob, file, 7, 100)
	check(err)
	fmt.Printf("Alice fetched from Bob: %q\n", part)
	part, err = bob.fetch(ctx, alice, file, 0, 10)
	check(err)
	fmt.Printf("Bob fetched from Alice: %q\n", part)
	if _, err = mallory.fetch(ctx, alice, file, 0, 10); !errors.Is(err, p2p.ErrTunnelRefused) {
		log.Fatalf("Mallory was not refused: %v", err)
	}
	fmt.Println("Mallory was refused:", err)
}

func loopback() (names []string) {
	all, _ := net.Interfaces()
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			names = append(names, i.Name)
		}
	}
	return names
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
