// Package labels names goroutines in profiles (package runtime/pprof): by the
// hook, the peer and the route that they work for. Goroutines that they start
// have the same labels.
package labels

import (
	"context"
	"runtime/pprof"

	"github.com/sdp2p/p2p/identity"
)

// short is the number of characters of an identity that name a peer, as on the
// page of a node.
const short = 8

// With returns a context with labels, and gives them to the calling goroutine
// until its end. Labels that are empty or zero are left out. Text that peers can
// choose must not be among them.
func With(ctx context.Context, hook string, peer identity.RemoteIdentity, route string) context.Context {
	all := make([]string, 0, 6)
	if hook != "" {
		all = append(all, "hook", hook)
	}
	if !peer.IsZero() {
		all = append(all, "peer", peer.String()[:short])
	}
	if route != "" {
		all = append(all, "route", route)
	}
	ctx = pprof.WithLabels(ctx, pprof.Labels(all...))
	pprof.SetGoroutineLabels(ctx)
	return ctx
}

// A Set is labels that one goroutine after another has. It may be used
// concurrently.
type Set struct {
	hook, route string
	labels      context.Context
}

// NewSet returns the labels that With would give a goroutine.
func NewSet(hook string, peer identity.RemoteIdentity, route string) *Set {
	return &Set{hook, route, With(context.Background(), hook, peer, route)}
}

// Is reports whether a set, which may be nil, is that of a hook and a route.
func (s *Set) Is(hook, route string) bool { return s != nil && s.hook == hook && s.route == route }

// A Context is a context with the labels of a Set instead of its own, in memory
// that the caller has.
type Context struct {
	context.Context
	set *Set
}

// Begin returns ctx with the set's labels, kept in room, and gives them to the
// calling goroutine until its end.
func (s *Set) Begin(ctx context.Context, room *Context) context.Context {
	pprof.SetGoroutineLabels(s.labels)
	room.Context, room.set = ctx, s
	return room
}

// Value returns a label's value, or that of the context without labels.
func (c *Context) Value(key any) any {
	if v := c.set.labels.Value(key); v != nil {
		return v
	}
	return c.Context.Value(key)
}
