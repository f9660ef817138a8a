package mdns

import (
	"context"
	"log/slog"
	"time"

	"github.com/sdp2p/p2p"
)

// silenceTime is how long a node may take to listen before it is said that
// nothing is announced.
const silenceTime = 2 * time.Second

// heedSilence logs that there is nothing to announce because the node listens
// nowhere, if that is so after a while, and when it is over. It returns when
// there is no more to say, or ctx is done.
func (d *Discovery) heedSilence(ctx context.Context, node *p2p.P2P, log *slog.Logger) {
	patience := time.NewTimer(silenceTime)
	defer patience.Stop()
	select {
	case <-ctx.Done():
		return
	case <-patience.C:
	}
	events := node.Subscribe()
	defer events.Close()
	for {
		all, err := services(node)
		if len(all) > 0 || err != nil { // an error is said elsewhere
			d.setSilent(false, log)
			return
		}
		d.setSilent(true, log)
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events.C:
			if !ok {
				return
			}
		}
	}
}

// setSilent logs it if that is new, also since another time that the discovery
// was enabled.
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
