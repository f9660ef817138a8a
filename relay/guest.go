package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/token"
)

// maxGuests is the number of relays not on the list that are used at a time.
const maxGuests = 4

var errManyGuests = fmt.Errorf("relay: more than %d relays that are not on the list", maxGuests)

// relayAt returns a relay of the list, or else one at an address that a ticket
// has named. Such a guest is used for circuits, not for reservations.
func (c *Client) relayAt(id identity.RemoteIdentity, at netip.AddrPort) (*server, error) {
	s, err := c.listed(id)
	if !errors.Is(err, ErrNotListed) || !at.IsValid() {
		return s, err
	}
	entry := Server{Identity: id, Addrs: []netip.AddrPort{at}}
	if err := entry.check(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.guests, func(g *server) bool { return g.of(entry) }); i >= 0 {
		return c.guests[i], nil
	}
	if len(c.guests) >= maxGuests {
		c.guests = slices.DeleteFunc(c.guests, (*server).unused)
	}
	if len(c.guests) >= maxGuests {
		return nil, errManyGuests
	}
	g := newServer(c, entry)
	g.guest = true
	c.guests = append(c.guests, g)
	return g, nil
}

// unused reports whether a relay is neither connected nor being connected to.
func (s *server) unused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up == nil && s.state != Connecting && s.state != Presenting
}

// tokens returns the tokens to show to a relay, and their edition. A relay that
// is not on the list is shown only tokens that name it.
func (s *server) tokens() (shown []token.Token, edition int64) {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	shown = s.client.tokens
	if s.guest {
		shown = slices.DeleteFunc(slices.Clone(shown), func(t token.Token) bool { return t.Relay != s.Identity })
	}
	return shown, s.client.edited
}

// Expect lets nodes of all accounts call this one, until over is called, at the
// relays that it returns. Otherwise relays let only nodes of this node's
// account and tracked peers call.
func (c *Client) Expect() (at []p2p.Candidate, over func()) {
	if c.expecting.Add(1) == 1 {
		c.sayCallers()
	}
	for _, s := range c.listedNow() {
		s.mu.Lock()
		if s.state == Ready && s.up != nil {
			at = append(at, p2p.Candidate{Kind: p2p.Relay, Relay: s.Identity, Addr: plain(s.up.session.Addr())})
		}
		s.mu.Unlock()
	}
	return at, sync.OnceFunc(func() {
		if c.expecting.Add(-1) == 0 {
			c.sayCallers()
		}
	})
}

func (c *Client) listedNow() []*server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.servers)
}

// sayCallers makes the links tell their relays which peers may call.
func (c *Client) sayCallers() {
	for _, s := range c.listedNow() {
		s.look()
	}
}
