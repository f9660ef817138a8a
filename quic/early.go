package quic

import "time"

// The bytes that this node may send on application streams before both nodes
// have introduced themselves, on a connection that it dialed, and on one that
// the peer dialed: half of the peer's first window.
//
// A peer may read no stream before it has this node's metadata. All streams of
// a connection share one window: if application streams filled it, the metadata
// could not be sent. Nodes of earlier builds have a first window of 16 KiB: its
// remainder is as much as has to be read before the window is extended.
const (
	earlyDialed  = inboundWindow / 2
	earlyInbound = dialedWindow / 2
)

// An acquaintance records when both nodes have introduced themselves: this one
// has sent its metadata, and has accepted the peer's metadata stream. Its
// fields except made are under conn.mu.
type acquaintance struct {
	made  chan struct{} // closed when both have
	told  bool          // this node has sent its metadata, or need not
	early int           // bytes that may be sent before that
}

func newAcquaintance(dialed bool) acquaintance {
	early := earlyInbound
	if dialed {
		early = earlyDialed
	}
	return acquaintance{made: make(chan struct{}), early: early}
}

// acquainted reports whether both nodes have introduced themselves.
func (c *conn) acquainted() bool {
	select {
	case <-c.acquaintance.made:
		return true
	default:
		return false
	}
}

// acquaint updates the acquaintance. told reports that this node has sent its
// metadata. A version 1 peer has no metadata stream. The caller holds mu.
func (c *conn) acquaint(told bool) {
	a := &c.acquaintance
	a.told = a.told || told
	if !c.acquainted() && a.told && (c.told || c.version == 1) {
		close(a.made)
	}
}

// early takes up to n of the bytes that may be sent before the introductions,
// and returns how many.
func (c *conn) early(n int) int {
	if c.acquainted() {
		return n
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n = max(0, min(n, c.acquaintance.early))
	c.acquaintance.early -= n
	return n
}

// waitEarly waits until more may be written, or the stream can no longer be
// written. It ends at the latest when the peer's time for the introduction is
// over.
func (s *stream) waitEarly() {
	c := s.conn
	timer := time.NewTimer(firstFrame)
	defer timer.Stop()
	select {
	case <-c.acquaintance.made:
	case <-s.Stream.Context().Done():
	case <-s.writes.passed():
	case <-timer.C:
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.acquainted() {
			close(c.acquaintance.made)
		}
	}
}
