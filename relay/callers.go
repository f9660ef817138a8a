package relay

import (
	"bytes"
	"time"

	"github.com/sdp2p/p2p/internal/circuit"
)

// callersRest is how long to wait before telling relays that the callers have
// changed: many devices may become known at once, and relays end the access of
// a client that sends more than 10 messages in a second.
const callersRest = time.Second

// callers returns the peers that may call this node besides the devices of its
// account: those that it keeps in view, whose accounts it does not know. If
// there are more than 255, the first by key.
func (c *Client) callers() circuit.Callers {
	if c.expecting.Load() > 0 {
		return circuit.Callers{Rule: circuit.CallersAnyone}
	}
	c.mu.Lock()
	tracked := c.tracked
	c.mu.Unlock()
	m := circuit.Callers{Rule: circuit.CallersAccount}
	if tracked == nil {
		return m
	}
	for _, id := range tracked() {
		key := id.Bytes()
		m.Rule = circuit.CallersListed
		m.Listed = append(m.Listed, circuit.CallerPrefix(key[:]))
	}
	return m
}

// sayCallers tells the relay which peers may call, if it does not know. A relay
// without a reservation cannot be called through, and need not know which peers
// this node keeps in view. It is called by one goroutine.
func (l *link) sayCallers() {
	if l.server.guest {
		return
	}
	m := l.server.client.callers().Append(nil)
	l.mu.Lock()
	s := l.access
	if s == nil || bytes.Equal(m, l.callers) {
		l.mu.Unlock()
		return
	}
	l.callers = m
	l.mu.Unlock()
	_, _ = s.Write(m) // if it fails, so does the ping that follows
}
