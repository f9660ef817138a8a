package quic

import (
	"context"

	"github.com/sdp2p/p2p"
)

// speaks returns the version that the peer has proved to speak, 0 while
// unknown, or an error if it speaks none.
func (c *conn) speaks() (version int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version, c.err
}

// awaitVersion waits until the version that the peer speaks is known.
func (c *conn) awaitVersion(ctx context.Context) (version int, err error) {
	select {
	case <-c.known:
		return c.speaks()
	case <-c.ctx.Done():
		return 0, errLost
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// introduced reports whether the version that the peer speaks is known.
func (c *conn) introduced() bool {
	select {
	case <-c.known:
		return true
	default:
		return false
	}
}

// meet introduces the two nodes before the connection is reported, if the peer
// is behind a manual entry and not discovered yet, so that an app that is told
// of the peer can open a stream at once. The peer's own streams wait.
func (c *conn) meet() error {
	if c.path.Kind != p2p.Manual || !c.path.Dialed {
		return nil
	}
	if _, known := c.endpoint.scope.Node().Peer(c.id); known {
		return nil
	}
	c.introduce()
	version, err := c.speaks()
	if err != nil || version != 1 {
		return err
	}
	metadata, err := c.identifyAncestor(c.ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.identified = metadata
	return err
}

// identify returns the metadata of a version 1 peer at a manual address. The
// first call returns the metadata from the introduction.
func (c *conn) identify(ctx context.Context) (metadata map[string]string, err error) {
	c.mu.Lock()
	metadata, c.identified = c.identified, nil
	c.mu.Unlock()
	if metadata != nil {
		return metadata, nil
	}
	return c.identifyAncestor(ctx)
}
