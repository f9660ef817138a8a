package library_test

import (
	"context"
	"fmt"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/tunnel"
)

// An app registers its routes before a library is served, and shows its user
// who was added or removed, and by whom.
func ExampleConfig() {
	ctx := context.Background()
	name := func(l *library.Library, instance identity.RemoteIdentity) string {
		m, _ := l.Roster().Member(instance)
		return m.Name
	}
	libraries := library.New(library.Config{
		Added: func(l *library.Library) {
			l.Handle("fetch", func(context.Context, *tunnel.Conn) error { return nil })
		},
		Notify: func(e library.Event) {
			switch e := e.(type) {
			case library.MemberAdded:
				fmt.Printf("%s was added by %s\n", e.Member.Name, name(e.Library, e.By))
			case library.MemberRemoved:
				fmt.Printf("%s was removed by %s\n", e.Member.Name, name(e.Library, e.By))
			case library.MemberReturned, library.Asked, library.Forked: // see docs/guide.md
			}
		},
	})
	// An app also registers quic.New and mdns.New.
	node, err := p2p.Start(ctx, p2p.Config{App: "example", Name: "Laptop", Hooks: []p2p.Hook{libraries}})
	if err != nil {
		panic(err)
	}
	defer node.Shutdown(ctx)
	photos, err := libraries.Found("Photos", library.NewRecoveryKey())
	if err != nil {
		panic(err)
	}

	phone := identity.New() // package pairing does this
	record := photos.Record()
	first, err := record.First(identity.New(), phone)
	if err != nil {
		panic(err)
	}
	if _, err := photos.Admit(first, library.RoleMember, "Phone", library.RecoveryKey{}); err != nil {
		panic(err)
	}

	if err := photos.Remove(phone.Remote(), library.RemoveOptions{}); err != nil {
		panic(err)
	}
	// Output:
	// Phone was added by Laptop
	// Phone was removed by Laptop
}
