package debugpage

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/sdp2p/p2p"
)

const (
	maxViewers = 8                      // requests for /events at a time
	restTime   = 200 * time.Millisecond // shortest time between two snapshots
	lookTime   = time.Second            // between two snapshots without events: bytes and round-trip times cause none
	writeTime  = 10 * time.Second       // for a message; a browser that does not accept one in this time is dropped
	maxPeers   = 256                    // in a message
)

// events serves the state, and then its changes, until the browser leaves or
// the node has shut down. Each change is the difference from what was sent
// before, so that a slow browser gets fewer and larger changes.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead { // nobody would read the body
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	select {
	case h.viewers <- struct{}{}:
		defer func() { <-h.viewers }()
	default:
		w.Header().Set("Retry-After", "5")
		http.Error(w, "debugpage: too many pages are open", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	changes := h.node.Subscribe()
	defer changes.Close()
	to := stream{w, http.NewResponseController(w)}
	last := newSent()
	for open := true; ; {
		messages, err := last.difference(h.node.State(h.details...))
		if err != nil {
			_ = to.send("failed", []byte(fmt.Sprintf("%q", err)))
			return
		}
		for _, m := range messages {
			if to.send(m.event, m.data) != nil {
				return
			}
		}
		if !open {
			_ = to.send("end", []byte("{}"))
			return
		}
		if open = wait(r.Context(), changes); r.Context().Err() != nil {
			return
		}
	}
}

// wait waits until it is time for the next snapshot: after an event, but not
// too soon. It returns false once the node has shut down.
func wait(ctx context.Context, changes *p2p.Subscription) bool {
	rest, look := time.NewTimer(restTime), time.NewTimer(lookTime)
	defer rest.Stop()
	defer look.Stop()
	for rested, changed := false, false; !rested || !changed; {
		select {
		case <-ctx.Done():
			return true
		case _, open := <-changes.C:
			if !open {
				return false
			}
			changed = true
		case <-rest.C:
			rested = true
		case <-look.C:
			return true
		}
	}
	return true
}

// A stream sends events to a browser.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// send sends an event. JSON has no line breaks.
func (s stream) send(event string, data []byte) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTime)) // if it is not supported, the app's own applies
	if _, err := fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", event, data); err != nil {
		return err
	}
	return s.control.Flush()
}

// A message is an event for the browser.
type message struct {
	event string // "state" for the first one, and then "change"
	data  json.RawMessage
}
