// Vault shows what a library is for. Alice and Bob share one; each serves a
// file to its members, and fetches a part of the other's file, by its id,
// through a tunnel. Mallory knows everything about the library, including its
// secret, but is not a member: she gets nothing.
//
//	go run ./examples/vault --demo
//
// All three are nodes of this program, which find each other on the loopback
// interface as devices do on a network.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
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

// A device is a node with an instance of the library. An app keeps the node's
// key in a file (identity.LoadOrCreate), and libraries in a library.Store.
type device struct {
	key, instance identity.Identity
	node          *p2p.P2P
	libraries     *library.Libraries
	library       *library.Library
	files         map[uuid.UUID]string
}

// start starts a node.
func start(ctx context.Context, name string) *device {
	d := &device{
		key: identity.New(), instance: identity.New(), libraries: library.New(library.Config{}), files: map[uuid.UUID]string{},
	}
	var mux p2p.Mux
	mux.Handle(library.Route, p2p.Anyone, d.libraries) // the tunnel authenticates
	var err error
	d.node, err = p2p.Start(ctx, p2p.Config{
		App: "vault", Name: name, Identity: d.key, Handler: &mux,
		Hooks: []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{Interfaces: mdns.Loopback()}), d.libraries},
	})
	check(err)
	return d
}

// found makes the library. This device's instance is its founder: a real app
// should make a recovery key, which its user keeps.
func (d *device) found() {
	var err error
	d.library, err = d.libraries.Found("Photos", library.RecoveryKey{})
	check(err)
	d.library.Handle("fetch", d.serve)
}

// admit makes another device a member. Between devices that share nothing yet,
// package pairing does that.
func (d *device) admit(other *device, name string) {
	record := d.library.Record()
	first, err := record.First(other.key, other.instance)
	check(err)
	_, err = d.library.Admit(first, library.RoleMember, name, library.RecoveryKey{})
	check(err)
}

// add adds the library of a record.
func (d *device) add(r library.Record) {
	var err error
	d.library, err = d.libraries.Add(r, d.instance)
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

// fetch gets a part of a file from another device, as soon as its node is
// available.
func (d *device) fetch(ctx context.Context, from *device, id uuid.UUID, offset, length uint64) (string, error) {
	for peer := range d.node.Available(ctx) {
		if peer.Identity() != from.key.Remote() {
			continue
		}
		c, err := d.library.Open(ctx, from.library.Instance(), "fetch")
		if err != nil {
			return "", err
		}
		defer c.Close()
		request := proto.AppendUint64(proto.AppendUint64(proto.AppendUUID(nil, id), offset), length)
		if _, err := c.Write(request); err != nil {
			return "", err
		}
		part, err := io.ReadAll(c) // fails if anything is missing
		return string(part), err
	}
	return "", ctx.Err()
}

// intrude tries to get into the library with a stolen record, which contains
// the secret.
func (d *device) intrude(ctx context.Context, into *device, stolen library.Record) error {
	for peer := range d.node.Available(ctx) {
		if peer.Identity() != into.key.Remote() {
			continue
		}
		s, err := peer.Open(ctx, library.Route)
		if err != nil {
			return err
		}
		session, err := library.Session(d.node, s)
		if err != nil {
			return err
		}
		credential := tunnel.NewCredential(stolen.ID, d.instance, stolen.Secret.Bytes())
		_, err = tunnel.Open(ctx, session, credential, tunnel.Member{Instance: into.library.Instance(), Node: peer.Identity()})
		return err
	}
	return ctx.Err()
}

func main() {
	flag.Bool("demo", true, "show it")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	alice, bob, mallory := start(ctx, "Alice"), start(ctx, "Bob"), start(ctx, "Mallory")
	defer alice.node.Shutdown(ctx)
	defer bob.node.Shutdown(ctx)
	defer mallory.node.Shutdown(ctx)
	alice.found()
	alice.admit(bob, "Bob")
	bob.add(alice.library.Record())

	file := uuid.New()
	alice.files[file], bob.files[file] = "0123456789, says Alice", "0123456789, says Bob"
	part, err := alice.fetch(ctx, bob, file, 7, 100)
	check(err)
	fmt.Printf("Alice fetched from Bob: %q\n", part)
	part, err = bob.fetch(ctx, alice, file, 0, 10)
	check(err)
	fmt.Printf("Bob fetched from Alice: %q\n", part)
	if err = mallory.intrude(ctx, alice, alice.library.Record()); !errors.Is(err, p2p.ErrTunnelRefused) {
		log.Fatalf("Mallory was not refused: %v", err)
	}
	fmt.Println("Mallory was refused:", err)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
