package pairing_test

import (
	"context"
	"fmt"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
)

// One device shows a ticket, the other scans it; both users see the same
// digits, and agree.
func Example() {
	ctx := context.Background()
	network := p2ptest.NewNetwork(p2ptest.Config{}) // an app uses packages quic and mdns
	start := func(name string) (*p2p.P2P, *library.Libraries, *pairing.Pairing) {
		libraries := library.New(library.Config{})
		pair := pairing.New(pairing.Config{Libraries: libraries})
		var mux p2p.Mux
		mux.Handle(library.Route, p2p.Anyone, libraries)
		mux.Handle(pairing.Route, p2p.Anyone, pair)
		mux.Handle(pairing.CodeRoute, p2p.Anyone, pair)
		node, err := p2p.Start(ctx, p2p.Config{App: "demo", Name: name, Handler: &mux, Hooks: append(network.Hooks(), libraries, pair)})
		if err != nil {
			panic(err)
		}
		return node, libraries, pair
	}
	desk, libraries, invites := start("Desk")
	defer desk.Shutdown(ctx)
	phone, _, joins := start("Phone")
	defer phone.Shutdown(ctx)
	key := library.NewRecoveryKey() // key.Text() is for the user to print
	photos, err := libraries.Found("Photos", key)
	if err != nil {
		panic(err)
	}

	codes := make(chan string, 2)
	ask := func(_ context.Context, other pairing.Device) bool { // an app shows them to the user
		codes <- other.Code
		return true
	}
	invitation, err := invites.Invite(photos, pairing.InviteConfig{Confirm: ask})
	if err != nil {
		panic(err)
	}
	text := invitation.Ticket().Text() // as text, or as a code with package pairing/qr

	ticket, err := pairing.ParseTicket(text)
	if err != nil {
		panic(err)
	}
	joined, err := joins.Join(ctx, ticket, pairing.JoinConfig{Confirm: ask}) // kept by a library.Store
	if err != nil {
		panic(err) // the error says what to do
	}
	member, err := invitation.Wait(ctx)
	if err != nil {
		panic(err)
	}
	onDesk, onPhone := <-codes, <-codes
	fmt.Println("same digits:", onDesk == onPhone)
	fmt.Printf("Desk has a new member of %s: %s\n", photos.Record().Name, member.Name)
	fmt.Printf("Phone has %s, with %s\n", joined.Record().Name, joined.Members()[0].Member.Name)
	// Output:
	// same digits: true
	// Desk has a new member of Photos: Phone
	// Phone has Photos, with Desk
}
