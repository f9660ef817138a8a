package relay

import (
	"context"
	"errors"
	"net/netip"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
)

// Ancestor is for package relay/ancestor: circuits of peers that do not accept
// packets, and are not known to, are passed to a, unless it is nil.
func (c *Client) Ancestor(a junction.Ancestor) junction.Lines {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ancestor = a
	return lines{c}
}

// elder returns the ancestor's interface for circuits without packets, or nil.
func (c *Client) elder() junction.Ancestor {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ancestor
}

// speaks returns the version of the wire protocol that a peer is known to
// speak: from an earlier connection or from a hook; 0 if unknown.
func (c *Client) speaks(id identity.RemoteIdentity) int {
	c.mu.Lock()
	node, seam := c.node, c.seam
	c.mu.Unlock()
	if node == nil {
		return 0
	}
	return max(seam.Speaks(id), node.Speaks(id))
}

// line turns a circuit into a line.
func (c *Client) line(w *wire, dialed bool) junction.Line {
	return junction.Line{
		Stream: w, Relay: w.link.server.Identity, Addr: w.link.session.Addr(), Peer: w.peer, Dialed: dialed,
		Proven: func() { c.pending.proven(w.peer) },
	}
}

// lines are the client's interface for package relay/ancestor.
type lines struct{ *Client }

func (l lines) Line(ctx context.Context, relay, to identity.RemoteIdentity) error {
	s, err := l.listed(relay)
	if err != nil {
		return err
	}
	circuit, err := l.open(ctx, s, to, 0, l.elder())
	switch {
	case errors.Is(err, junction.ErrTaken):
		return nil
	case err != nil:
		return err
	}
	circuit.Close()
	return errModern
}

func (l lines) Addrs() []netip.AddrPort        { return l.addrs() }
func (l lines) Believes(a netip.AddrPort) bool { return l.mayBe(plain(a)) }
func (l lines) Upgrades() bool                 { return !l.cfg.Only }

func (l lines) Endpoint() junction.Endpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.scope == nil {
		return nil
	}
	return l.seam
}

// errModern says that a peer accepts packets.
var errModern = errors.New("relay: the peer speaks version 2 now")
