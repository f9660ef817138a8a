package library

import (
	"context"
	"errors"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/tunnel"
)

var _ p2p.Reporter = (*Libraries)(nil)

// Report implements [p2p.Reporter]: the numbers of libraries, members and
// tunnels, and each library if libraries is true.
func (h *Libraries) Report(libraries bool) p2p.HookReport {
	type library struct {
		Library  string `json:"library"`
		Name     string `json:"name"`
		Instance string `json:"instance"`
		Members  int    `json:"members"`
		Tunnels  int    `json:"tunnels"`
	}
	list := []library{}
	gauges := map[string]float64{"libraries": 0, "library_members": 0, "open_tunnels": 0}
	for _, l := range h.All() {
		l.mu.Lock()
		name, members, open := l.now.record.Name, len(l.now.view.Members), len(l.open)
		l.mu.Unlock()
		gauges["libraries"]++
		gauges["library_members"] += float64(members)
		gauges["open_tunnels"] += float64(open)
		list = append(list, library{l.id.String(), name, l.instance.Remote().String(), members, open})
	}
	report := p2p.HookReport{Gauges: gauges}
	if libraries {
		report.Details = map[string]any{"libraries": list}
	}
	return report
}

// count adds to a counter of the hook, while the hook runs.
func (h *Libraries) count(what, by string) {
	h.mu.Lock()
	scope := h.scope
	h.mu.Unlock()
	if scope != nil {
		scope.Count(what, by, 1)
	}
}

// tunnelCause names the reason why there is no tunnel, as this node knows it:
// the peer does not learn the reason.
func tunnelCause(err error) string {
	for _, known := range []struct {
		err  error
		name string
	}{
		{tunnel.ErrBusy, "busy"}, {p2p.ErrBusy, "busy"}, {tunnel.ErrTimeout, "timeout"}, {tunnel.ErrUnauthorized, "not allowed"},
		{tunnel.ErrVersion, "version"}, {tunnel.ErrNotTunnel, "no tunnel"}, {p2p.ErrTunnelRefused, "refused there"}, {tunnel.ErrHandshake, "handshake"},
		{context.Canceled, "canceled"}, {context.DeadlineExceeded, "timeout"}, {p2p.ErrConnectionLost, "connection lost"},
	} {
		if errors.Is(err, known.err) {
			return known.name
		}
	}
	if named := (interface{ Cause() string })(nil); errors.As(err, &named) {
		return named.Cause()
	}
	return "other"
}

// countChange counts a change of a library's members.
func (h *Libraries) countChange(e Event) {
	by := "other"
	switch e.(type) {
	case MemberAdded:
		by = "added"
	case MemberRemoved:
		by = "removed"
	case MemberReturned:
		by = "returned"
	case Asked:
		by = "asked"
	case Forked:
		by = "forked"
	}
	h.count("library_changes", by)
}

// noTunnel notes and counts that no tunnel to a member, which may be nil, can
// be opened, and returns why.
func (h *Libraries) noTunnel(m *peer, why error) error {
	h.mu.Lock()
	scope := h.scope
	h.mu.Unlock()
	if scope == nil {
		return why
	}
	scope.Count("tunnels_failed", tunnelCause(why), 1)
	var node identity.RemoteIdentity
	if m != nil {
		node = m.Node
	}
	scope.Note(node, why)
	return why
}
