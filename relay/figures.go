package relay

import (
	"errors"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

var _ p2p.Reporter = (*Client)(nil)

// A relayReport is a Status in a [p2p.State].
type relayReport struct {
	Relay     identity.RemoteIdentity `json:"relay"`
	State     string                  `json:"state"`
	Since     time.Time               `json:"since"`
	Error     string                  `json:"error,omitempty"`
	RTT       time.Duration           `json:"rtt_ns"`
	Observed  netip.AddrPort          `json:"observed,omitzero"`
	BytesLeft int64                   `json:"bytes_left"` // -1: no limit, or not told
}

// An upgradeReport is an Upgrade in a [p2p.State].
type upgradeReport struct {
	Peer     identity.RemoteIdentity `json:"peer"`
	Dialed   bool                    `json:"dialed"`
	Direct   bool                    `json:"direct"`
	Attempts int                     `json:"attempts"`
	Since    time.Time               `json:"since"`
	Error    string                  `json:"error,omitempty"`
	Told     []netip.AddrPort        `json:"told,omitempty"`
	Tried    []netip.AddrPort        `json:"tried,omitempty"`
	Answered []netip.AddrPort        `json:"answered,omitempty"`
}

// Report implements [p2p.Reporter] with the results of [Client.States] and
// [Client.Upgrades].
func (c *Client) Report(bool) p2p.HookReport {
	relays, upgrades := []relayReport{}, []upgradeReport{}
	gauges := map[string]float64{"relays": 0, "relays_ready": 0, "relays_failed": 0, "relayed_connections": 0}
	for _, s := range c.States() {
		gauges["relays"]++
		if s.State == Ready {
			gauges["relays_ready"]++
		}
		if s.Err != nil {
			gauges["relays_failed"]++
		}
		relays = append(relays, relayReport{s.Server.Identity, s.State.String(), s.Since, text(s.Err), s.RTT, s.Observed, s.BytesLeft})
	}
	for _, u := range c.Upgrades() {
		if !u.Direct {
			gauges["relayed_connections"]++
		}
		upgrades = append(upgrades, upgradeReport{u.Peer, u.Dialed, u.Direct, u.Attempts, u.Since, text(u.Err), u.Told, u.Tried, u.Answered})
	}
	return p2p.HookReport{Gauges: gauges, Details: map[string]any{"relays": relays, "upgrades": upgrades}}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// counted counts the outcome of opening a circuit.
func (c *Client) counted(what string, err error) {
	by := "ok"
	if err != nil {
		by = "other"
		if named := (interface{ Cause() string })(nil); errors.As(err, &named) {
			by = named.Cause()
		}
	}
	c.mu.Lock()
	count := c.count
	c.mu.Unlock()
	if count != nil {
		count(what, by, 1)
	}
}
