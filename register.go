package p2p

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/labels"
)

// A HookInfo describes a hook that is registered, or that stopped unasked.
type HookInfo struct {
	Name     string
	Listener bool
	Ready    bool  // it serves
	Stopped  bool  // it ended unasked and is no longer registered
	Err      error // why it stopped; may be nil
}

// A ListenerInfo describes a registered listener.
type ListenerInfo struct {
	Name  string
	Addrs []netip.AddrPort // where it accepts connections; an unspecified address stands for every address of the host
}

// Register adds a hook and returns once it is ready or has failed. A listener
// can be used to reach peers immediately. If ctx ends first, the hook is
// stopped and the error is ctx's.
//
// Errors are the hook's own, [ErrRegistered] and [ErrClosed].
func (n *P2P) Register(ctx context.Context, h Hook) error {
	r, runCtx, err := newRegistration(h)
	if err != nil {
		return err
	}
	n.mu.Lock()
	err = n.state.enter(r)
	n.mu.Unlock()
	if err != nil {
		r.cancel()
		return err
	}
	scope := &Scope{node: n, reg: r, log: n.log.With("hook", r.name)}
	go func() {
		err := errExited
		defer func() { n.leave(r, err) }()
		err = protect(func() error { return h.Run(labels.With(runCtx, r.name, identity.RemoteIdentity{}, ""), scope) })
	}()
	select {
	case <-r.ready:
		return nil
	case <-r.done:
	case <-ctx.Done():
		n.stop(r)
		return fmt.Errorf("p2p: start of hook %q: %w", r.name, context.Cause(ctx))
	}
	select {
	case <-r.ready: // it served for a moment: HookStopped reports the rest
		return nil
	default:
	}
	n.mu.Lock()
	closing := n.state.hooks.closing
	n.mu.Unlock()
	if closing {
		return ErrClosed
	}
	if r.err == nil {
		return fmt.Errorf("p2p: hook %q: ended before it was ready", r.name)
	}
	return fmt.Errorf("p2p: hook %q: %w", r.name, r.err)
}

// newRegistration prepares a run of a hook, with the context of that run.
func newRegistration(h Hook) (*registration, context.Context, error) {
	if h == nil || !reflect.TypeOf(h).Comparable() {
		return nil, nil, errors.New("p2p: a hook is a pointer or another comparable value, and not nil")
	}
	name := h.Name()
	if name == "" {
		return nil, nil, errors.New("p2p: the hook has no name")
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &registration{hook: h, name: name, in: &circumstances{hook: name}, cancel: cancel, live: true, ready: make(chan struct{}), done: make(chan struct{})}
	r.listener, _ = h.(Listener)
	return r, ctx, nil
}

// enter records a hook as registered.
func (s *state) enter(r *registration) error {
	if s.hooks.closing {
		return ErrClosed
	}
	for _, other := range s.hooks.running {
		if other.name == r.name || other.hook == r.hook {
			return fmt.Errorf("%w: %q", ErrRegistered, r.name)
		}
	}
	s.hooks.assigned++
	r.number = s.hooks.assigned
	s.hooks.running = append(s.hooks.running, r)
	s.hooks.stopped = slices.DeleteFunc(s.hooks.stopped, func(h stoppedHook) bool { return h.name == r.name })
	if r.listener != nil {
		s.bus.publish(ListenerRegistered{r.name})
	}
	return nil
}

// leave removes a hook whose Run has returned, together with everything it
// reported.
func (s *state) leave(r *registration, err error) {
	r.live = false
	r.err = err
	s.withdraw(r)
	s.hooks.running = slices.DeleteFunc(s.hooks.running, func(other *registration) bool { return other == r })
	if r.listener != nil {
		s.bus.publish(ListenerUnregistered{r.name})
	}
	if !r.stopping {
		s.hooks.stopped = append(s.hooks.stopped, stoppedHook{name: r.name, listener: r.listener != nil, err: err, stamp: s.stamp()})
		s.bus.publish(HookStopped{Hook: r.name, Err: err})
		s.note(&note{what: kindHookStopped, in: &circumstances{hook: r.name, cause: err}})
	}
}

// leave ends the registration of a hook whose Run has returned.
func (n *P2P) leave(r *registration, err error) {
	var asked, served bool
	_ = n.change(nil, func(st *state) error {
		st.leave(r, err)
		asked, served = r.stopping, r.isReady
		return nil
	})
	if !asked && served { // else Register returns the error
		attrs := []any{"hook", r.name, "cause", err}
		if p, ok := err.(*PanicError); ok {
			attrs = append(attrs, "stack", string(p.Stack))
		}
		n.log.Error("hook stopped", attrs...)
	}
	if asked && err != nil && !errors.Is(err, context.Canceled) {
		n.log.Warn("a hook that was asked to stop failed", "hook", r.name, "cause", err)
	}
	r.cancel()
	close(r.done)
}

// stop asks a hook to end.
func (n *P2P) stop(r *registration) {
	n.mu.Lock()
	r.stopping = true
	n.mu.Unlock()
	r.cancel()
}

// Unregister stops a hook and waits until it has ended or ctx is done. All its
// reports are withdrawn. Errors are the hook's own, ctx's, and
// [ErrNotRegistered].
func (n *P2P) Unregister(ctx context.Context, h Hook) error {
	n.mu.Lock()
	r := n.state.hooks.find(h)
	n.mu.Unlock()
	if r == nil {
		return ErrNotRegistered
	}
	n.stop(r)
	select {
	case <-r.done:
	case <-ctx.Done():
		return fmt.Errorf("p2p: hook %q has not stopped: %w", r.name, context.Cause(ctx))
	}
	if r.err != nil && !errors.Is(r.err, context.Canceled) {
		return fmt.Errorf("p2p: hook %q: %w", r.name, r.err)
	}
	return nil
}

// Hooks describes the registered hooks in the order of their registration,
// followed by those that stopped unasked.
func (n *P2P) Hooks() (all []HookInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.state.hooks.running {
		all = append(all, HookInfo{Name: r.name, Listener: r.listener != nil, Ready: r.isReady})
	}
	for _, s := range n.state.hooks.stopped {
		all = append(all, HookInfo{Name: s.name, Listener: s.listener, Stopped: true, Err: s.err})
	}
	return all
}

// Listeners describes the registered listeners in the order of their
// registration.
func (n *P2P) Listeners() (all []ListenerInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.state.hooks.running {
		if r.listener != nil {
			all = append(all, ListenerInfo{Name: r.name, Addrs: slices.Clone(r.addrs)})
		}
	}
	return all
}
