package library

import (
	"fmt"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/tunnel"
)

const (
	// idleMost is the number of useless statements and ends that a member may
	// send, and idlePerSecond the number of these that are forgotten each
	// second. Each costs up to a quarter of a millisecond.
	idleMost      = 1 << 15
	idlePerSecond = 1 << 9
)

// A hearing is the state of a member's exchanges on the route for statements.
type hearing struct {
	by   *tunnel.Conn // its last exchange; nil: it is over
	busy bool         // its statements are being added

	idle float64 // useless statements and ends that it has sent
	at   time.Time
}

// spend counts useless statements and ends that a member has sent.
func (h *hearing) spend(n int) {
	now := time.Now()
	h.idle = max(0, h.idle-max(0, now.Sub(h.at).Seconds())*idlePerSecond) + float64(n)
	h.at = now
}

// spend counts useless statements and ends from the other end of a tunnel.
func (l *Library) spend(c *tunnel.Conn, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now.members[c.Instance()] != nil {
		l.with(c.Instance()).heard.spend(n)
	}
}

// listen begins an exchange that a member has opened. An earlier one of the
// same member ends, so that none needs more memory than one exchange. It fails
// with [p2p.ErrBusy] while the statements of the earlier one are being added,
// and for a member that has sent too many useless ones.
func (l *Library) listen(c *tunnel.Conn) error {
	l.mu.Lock()
	if l.now.members[c.Instance()] == nil {
		l.mu.Unlock()
		return ErrNoMember
	}
	h := &l.with(c.Instance()).heard
	if h.spend(0); h.busy || h.idle > idleMost {
		l.mu.Unlock()
		return fmt.Errorf("%w: %v exchanges too much", p2p.ErrBusy, c.Instance())
	}
	earlier := h.by
	h.by = c
	l.mu.Unlock()
	if earlier != nil {
		earlier.Abort(p2p.ErrBusy)
	}
	return nil
}

// heard records that the member's statements have been read, and fails if the
// member has begun another exchange meanwhile.
func (l *Library) heard(c *tunnel.Conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.members[c.Instance()]
	if d == nil || d.heard.by != c {
		return p2p.ErrBusy
	}
	d.heard.busy = true
	return nil
}

// leave ends an exchange that listen began.
func (l *Library) leave(c *tunnel.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.members[c.Instance()]; d != nil && d.heard.by == c {
		d.heard.by, d.heard.busy = nil, false
	}
}

// unknown returns the number of ends that belong to branches unknown to this
// device.
func (c *content) unknown(ends roster.Ends) (n int) {
	for _, e := range ends {
		if _, ok := c.roster.Statement(e.Hash); !ok {
			n++
		}
	}
	return n
}
