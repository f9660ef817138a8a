package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
	_ "github.com/sdp2p/p2p/quic/gather" // files are large
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/token"
)

// An away describes how to reach a device on another network: through a relay
// that accepts this device, and by its key, since names mean nothing there.
type away struct {
	relays string // KEY@IP:PORT, separated by spaces
	token  string // a file
	other  string // the key of the other device, or its fingerprint on this network

	friend identity.RemoteIdentity // the other device, with relays
	client *relay.Client
}

func (a *away) flags(set *flag.FlagSet) {
	set.StringVar(&a.relays, "relay", "", "reach the other device through `KEY@IP:PORT`")
	set.StringVar(&a.token, "token", "", "the `file` with the token for the relay")
	set.StringVar(&a.other, "from", "", "trust the sender with this `key`; with --relay, its whole key")
}

// use adds the hooks that a role needs to a node. The sender names the
// receiver.
func (a *away) use(cfg *p2p.Config, listener *quic.Listener, role, to string) error {
	if a.other != "" && !isKey(a.other) {
		return errors.New("--from names a device by its key or fingerprint, " +
			"since anybody can take a name")
	}
	if a.relays == "" {
		return nil
	}
	if role == "send" {
		a.other = to
	}
	var err error
	if a.friend, err = identity.Parse(a.other); err != nil {
		return fmt.Errorf("with --relay, name the other device by its whole key, "+
			"which it prints: %w", err)
	}
	rc := relay.Config{Listener: listener}
	if rc.Servers, err = relay.ParseServers(a.relays); err != nil {
		return fmt.Errorf("--relay: %w", err)
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
	cfg.Hooks = append(cfg.Hooks, a.client)
	return nil
}

// trusts reports whether the user has named a sender, by its key.
func (a *away) trusts(sender identity.RemoteIdentity) bool {
	return a != nil && isKeyOf(a.other, sender)
}

// announce prints this device's key, and says when the sender can reach it.
func (a *away) announce(ctx context.Context, c *console, node *p2p.P2P) {
	if a == nil || a.relays == "" {
		return
	}
	node.Track(a.friend)
	c.say("For devices on other networks, the key is %s", node.Identity())
	go func() {
		if a.client.Wait(ctx) == nil {
			c.say("Devices on other networks reach this one now")
		}
	}()
}

// receiver returns the device to send to, or nil if it is on this network.
func (a *away) receiver(node *p2p.P2P) (*p2p.Peer, error) {
	if a == nil || a.relays == "" {
		return nil, nil
	}
	peer := node.Track(a.friend) // relays lead only to tracked devices
	if peer == nil {
		return nil, errors.New("--to is this device's own key")
	}
	return peer, nil
}
