package mdns

import (
	"context"
	"log/slog"
	"time"

	"github.com/sdp2p/p2p"
)

// silenceTime is how long a node may take to listen before the log says that
// nothing is announced.
const silenceTime = 2 * time.Second

// heedSilence logs when there has been nothing to announce for a while because
// the node does not listen, and when that is over. It costs nothing in the
// normal case. To end it, ctx must be done when stop is called.
func (d *Discovery) heedSilence(ctx context.Context, node *p2p.P2P, log *slog.Logger) (stop func()) {
	ended := make(chan struct{})
	timer := time.AfterFunc(silenceTime, func() {
		defer close(ended)
		if ctx.Err() != nil || d.announces(node, log) {
			return
		}
		events := node.Subscribe()
		defer events.Close()
		for !d.announces(node, log) {
			select {
			case <-ctx.Done():
				return
			case _, ok := <-events.C:
				if !ok {
					return
				}
			}
		}
	})
	return func() {
		if !timer.Stop() {
			<-ended
		}
	}
}

// announces reports whether there is something to announce, and logs a change.
func (d *Discovery) announces(node *p2p.P2P, log *slog.Logger) bool {
	all, err := services(node)
	something := len(all) > 0 || err != nil // an error is logged elsewhere
	d.setSilent(!something, log)
	return something
}

// setSilent logs a change, also one since the last time that the discovery was
// enabled.
func (d *Discovery) setSilent(silent bool, log *slog.Logger) {
	d.mu.Lock()
	was := d.silent
	d.silent = silent
	d.mu.Unlock()
	switch {
	case silent && !was:
		log.Warn("nobody finds this node: it has no listener with an address that could be announced; " +
			"add one to p2p.Config.Hooks, such as quic.New. Others are found all the same")
	case was && !silent:
		log.Info("this node has a listener now, and is announced")
	}
}
