package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/token"
)

// An away is how a device is reached that is on another network: through a relay,
// which has to know this device, and by its key. Nobody else can be told apart
// there.
type away struct {
	relays string // KEY@IP:PORT, separated by spaces
	token  string // a file
	other  string // the other device's key

	peer   *p2p.Peer // once it runs
	client *relay.Client
}

func (a *away) flags(set *flag.FlagSet) {
	set.StringVar(&a.relays, "relay", "", "reach the other device through `KEY@IP:PORT`")
	set.StringVar(&a.token, "token", "", "the `file` with the token for the relay")
	set.StringVar(&a.other, "from", "", "with --relay, the sender's whole `key`")
}

// use adds what a role needs to the hooks of a node. The sender names whom it sends
// to.
func (a *away) use(cfg *p2p.Config, listener *quic.Listener, role, to string) error {
	if a.relays == "" {
		return nil
	}
	if role == "send" {
		a.other = to
	}
	other, err := identity.Parse(a.other)
	if err != nil {
		return fmt.Errorf("with --relay, the other device is named by its whole key, "+
			"which it prints: %w", err)
	}
	rc := relay.Config{Listener: listener}
	for _, entry := range strings.Fields(a.relays) {
		key, addr, _ := strings.Cut(entry, "@")
		id, err := identity.Parse(key)
		if err != nil {
			return fmt.Errorf("--relay %q: KEY@IP:PORT is wanted: %w", entry, err)
		}
		at, err := netip.ParseAddrPort(addr)
		if err != nil {
			return fmt.Errorf("--relay %q: KEY@IP:PORT is wanted: %w", entry, err)
		}
		s := relay.Server{Identity: id, Addrs: []netip.AddrPort{at}}
		rc.Servers = append(rc.Servers, s)
	}
	if a.token != "" {
		text, err := os.ReadFile(a.token)
		if err != nil {
			return fmt.Errorf("--token: %w", err)
		}
		t, err := token.Parse(strings.TrimSpace(string(text)))
		if err != nil {
			return fmt.Errorf("--token: %w", err)
		}
		rc.Tokens = []token.Token{t}
	}
	a.client = relay.New(rc)
	cfg.Hooks = append(cfg.Hooks, a.client, &friend{a, other})
	return nil
}

// announce tells how this device is named, and when it can be reached.
func (a *away) announce(ctx context.Context, c *console, node *p2p.P2P) {
	if a == nil || a.relays == "" {
		return
	}
	c.say("For devices on other networks, the key is %s", node.Identity())
	go func() {
		if a.client.Wait(ctx) == nil {
			c.say("Devices on other networks reach this one now")
		}
	}()
}

// receiver returns the device to send to; nil if it is one of this network.
func (a *away) receiver() (*p2p.Peer, error) {
	if a == nil || a.relays == "" {
		return nil, nil
	}
	if a.peer == nil {
		return nil, errors.New("--to is this device's own key")
	}
	return a.peer, nil
}

// A friend is a hook that tracks the other device: relays lead to such alone.
type friend struct {
	*away
	id identity.RemoteIdentity
}

func (*friend) Name() string { return "friend" }

func (f *friend) Run(ctx context.Context, s *p2p.Scope) error {
	f.peer = s.Track(f.id)
	s.Ready()
	<-ctx.Done()
	return nil
}
