package library_test

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// Two devices have a library, and one asks the other for something in it. The
// network is in memory; an app uses quic.New and a discovery such as mdns.New
// instead of its hooks. Devices become members through package pairing, whose
// work is done by hand here.
func Example() {
	ctx := context.Background()
	network := p2ptest.NewNetwork(p2ptest.Config{})
	start := func(name string, id identity.Identity) (*p2p.P2P, *library.Libraries) {
		libraries := library.New(library.Config{}) // Config.Store keeps them
		var mux p2p.Mux
		mux.Handle(library.Route, p2p.Anyone, libraries) // access is checked within the tunnel
		node, err := p2p.Start(ctx, p2p.Config{
			App: "example", Name: name, Identity: id, Handler: &mux, Hooks: append(network.Hooks(), libraries),
		})
		if err != nil {
			panic(err)
		}
		return node, libraries
	}
	laptop, phone := identity.New(), identity.New()
	server, served := start("Laptop", laptop)
	defer server.Shutdown(ctx)
	client, opens := start("Phone", phone)
	defer client.Shutdown(ctx)

	key := library.NewRecoveryKey() // key.Text() is for the user to print
	photos, err := served.Found("Photos", key)
	if err != nil {
		panic(err)
	}
	photos.Handle("title", func(_ context.Context, c *tunnel.Conn) error {
		_, err := io.WriteString(c, "A cat in the sun")
		return err
	})

	instance := identity.New() // the phone's instance in this library
	record := photos.Record()
	first, err := record.First(phone, instance)
	if err != nil {
		panic(err)
	}
	if _, err := photos.Admit(first, library.RoleMember, "Phone", library.RecoveryKey{}); err != nil {
		panic(err)
	}
	mine, err := opens.Add(photos.Record(), instance)
	if err != nil {
		panic(err)
	}

	for peer := range client.Available(ctx) {
		if peer.Identity() == laptop.Remote() {
			break
		}
	}
	c, err := mine.Open(ctx, photos.Instance(), "title")
	if err != nil {
		panic(err)
	}
	defer c.Close()
	title, err := io.ReadAll(c)
	fmt.Println(string(title), err)
	// Output: A cat in the sun <nil>
}

// An app's libraries are stored in a folder, and are back after a restart.
func ExampleStore() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "libraries")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	id := identity.New() // an app uses identity.LoadOrCreate
	start := func() (*p2p.P2P, *library.Libraries, *library.Store) {
		store, err := library.OpenStore(folder)
		if err != nil {
			panic(err) // another process has it open, or other users can read it
		}
		libraries := library.New(library.Config{Store: store})
		// An app also registers quic.New and mdns.New.
		node, err := p2p.Start(ctx, p2p.Config{App: "example", Identity: id, Hooks: []p2p.Hook{libraries}})
		if err != nil {
			panic(err)
		}
		return node, libraries, store
	}

	node, libraries, store := start()
	photos, err := libraries.Found("Photos", library.NewRecoveryKey())
	if err != nil {
		panic(err)
	}
	node.Shutdown(ctx)
	store.Close()

	node, libraries, store = start()
	again := libraries.All()[0]
	fmt.Println(again.Record().Name, again.Instance() == photos.Instance(), again.Role())
	node.Shutdown(ctx)
	store.Close()
	// Output: Photos true admin
}
