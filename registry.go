package p2p

import (
	"context"
	"net/netip"
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// An opener opens a stream through one of the given listeners.
type opener = func(context.Context, identity.RemoteIdentity, []Listener, []Candidate) (RawStream, *DialError)

// registry holds the hooks of a node.
type registry struct {
	closing  bool // no more registrations
	running  []*registration
	stopped  []stoppedHook // in the order in which they stopped
	assigned int           // the number of the last registration
	open     opener        // set by Scope.Choose; nil: one listener after the other
}

// A registration is one run of a hook.
type registration struct {
	hook     Hook
	listener Listener // hook, if it is one
	name     string
	number   int            // counts up: the order of registration
	in       *circumstances // of its notes that have no others: its name
	cancel   context.CancelFunc
	ready    chan struct{} // closed by Scope.Ready
	done     chan struct{} // closed when Run has returned and all is withdrawn
	err      error         // of Run; readable once done is closed

	// Part of the state, under P2P.mu.
	live      bool // its reports count
	isReady   bool
	stopping  bool             // it was asked to end
	addrs     []netip.AddrPort // a listener's
	announces bool             // a discovery's: see Scope.Announces
}

// A stoppedHook remains known until a hook of its name is registered again.
type stoppedHook struct {
	name     string
	listener bool
	err      error
	stamp    uint64
}

// find returns the registration of a hook, or nil.
func (reg *registry) find(h Hook) *registration {
	i := slices.IndexFunc(reg.running, func(r *registration) bool { return r.hook == h })
	if i < 0 {
		return nil
	}
	return reg.running[i]
}
