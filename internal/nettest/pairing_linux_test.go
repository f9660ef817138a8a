package nettest

import (
	"context"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/pairing"
)

// These are the calls of a node with nodeConfig.Pairs, whose user agrees to
// everything.
type (
	inviteArgs struct { // "invite": makes a ticket for a new library
		Addrs []string // empty: those of the host
	}
	invited struct {
		Ticket  string
		Addrs   []netip.AddrPort
		Library founded
	}

	joinArgs struct{ Ticket string } // "join"; the other node reports "joined"
)

// libraryName is the name of the libraries to which a node invites.
const libraryName = "Pictures of the Joneses"

// A pairer is what a node needs for pairing.
type pairer struct {
	libraries *library.Libraries
	pairing   *pairing.Pairing
}

// newPairer returns the pairer of a node, which may have contacts.
func newPairer(routes *p2p.Mux, contacts pairing.Contacts) *pairer {
	p := &pairer{libraries: library.New(library.Config{})}
	p.pairing = pairing.New(pairing.Config{Libraries: p.libraries, Contacts: contacts})
	routes.Handle(library.Route, p2p.Anyone, p.libraries)
	routes.Handle(pairing.Route, p2p.Anyone, p.pairing)
	return p
}

func (p *pairer) hooks() []p2p.Hook { return []p2p.Hook{p.libraries, p.pairing} }

// handle registers the node's calls.
func (p *pairer) handle(console *netlab.Console) {
	yes := func(context.Context, pairing.Device) bool { return true }
	netlab.Handle(console, "invite", func(a inviteArgs) (invited, error) {
		l, err := p.libraries.Found(libraryName, library.RecoveryKey{})
		if err != nil {
			return invited{}, err
		}
		cfg := pairing.InviteConfig{Confirm: yes}
		for _, text := range a.Addrs {
			addr, err := netip.ParseAddrPort(text)
			if err != nil {
				return invited{}, err
			}
			cfg.Addrs = append(cfg.Addrs, addr)
		}
		i, err := p.pairing.Invite(l, cfg)
		if err != nil {
			return invited{}, err
		}
		go func() {
			if m, err := i.Wait(context.Background()); err == nil {
				console.Tell("joined", m.Node.String())
			}
		}()
		return invited{i.Ticket().Text(), i.Ticket().Addrs, foundedOf(l, libraryName)}, nil
	})
	netlab.Handle(console, "join", func(a joinArgs) (took time.Duration, err error) {
		t, err := pairing.ParseTicket(a.Ticket)
		if err != nil {
			return 0, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		began := time.Now()
		_, err = p.pairing.Join(ctx, t, pairing.JoinConfig{
			Confirm: yes, Keep: func(library.Record, identity.Identity) error { return nil },
		})
		return time.Since(began), err
	})
}
