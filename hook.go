package p2p

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"runtime/debug"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// A Hook is a component with a lifetime of its own that is registered with a node: it hears the node's events
// ([P2P.Subscribe]) and reports what it learns through its [Scope].
type Hook interface {
	// Name is what events, logs and candidates call the hook. It is unique among a node's hooks and never changes.
	Name() string

	// Run does the hook's work until ctx is done, and then returns promptly, with nil or ctx's error. It calls
	// s.Ready once it serves; an error before that is the error of [P2P.Register]. Every goroutine that it starts
	// ends before it returns. It may be run again, after it has returned.
	Run(ctx context.Context, s *Scope) error
}

// A Listener is a hook that can also create and accept connections.
type Listener interface {
	Hook

	// Dial opens a stream to a peer, over a connection that it has or by racing those of the candidates that it
	// can serve. It fails with a *[DialError] that has one [Attempt] for each of them. It is called concurrently,
	// from the moment of the registration on and until just after Run has returned, and returns promptly once ctx is
	// done. While Run does not serve, it fails.
	Dial(ctx context.Context, to identity.RemoteIdentity, via []Candidate) (RawStream, error)
}

// A Reconfirmer is a hook that can check what it discovered. The node asks it to when a peer that the hook discovers could
// not be reached, so that a peer that vanished without a goodbye is not shown for longer than needed.
type Reconfirmer interface {
	Hook

	// Reconfirm checks whether the peer is still there. It returns at once; if the peer is not, it expires later. It may be
	// called often, concurrently, and also just before and after Run.
	Reconfirm(id identity.RemoteIdentity)
}

// A RawConn is what a listener knows about one connection. It is comparable; its methods are called concurrently and
// return at once.
type RawConn interface {
	Path() Path
	RTT() time.Duration // smoothed; 0 while it is not known
	Close() error       // closes the connection, with all its streams
}

// Errors of [P2P.Register], [P2P.Unregister] and [Scope]'s methods.
var (
	ErrClosed        = errors.New("p2p: the node has been shut down")
	ErrRegistered    = errors.New("p2p: a hook of this name is registered")
	ErrNotRegistered = errors.New("p2p: the hook is not registered")
	ErrStopped       = errors.New("p2p: the hook has stopped")
	ErrSelf          = errors.New("p2p: a node does not discover or connect to itself")
)

// A PanicError is a panic of a hook, with what it panicked with.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("p2p: panic: %v", e.Value) }

// Unwrap returns what was panicked with, if that was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// A registration is one run of a hook.
type registration struct {
	hook     Hook
	listener Listener // hook, if it is one
	name     string
	number   int // counts up: the order of registration
	cancel   context.CancelFunc
	ready    chan struct{} // closed by Scope.Ready
	done     chan struct{} // closed when Run has returned and all is withdrawn
	err      error         // of Run; readable once done is closed

	// Under P2P.mu.
	live     bool // what it reports counts
	isReady  bool
	stopping bool             // it was asked to end
	addrs    []netip.AddrPort // a listener's
}

// HookInfo describes a hook that is registered, or that stopped without being asked to.
type HookInfo struct {
	Name     string
	Listener bool
	Ready    bool  // it serves
	Stopped  bool  // it has ended without being asked to; it is no longer registered
	Err      error // why it stopped; may be nil
}

// ListenerInfo describes a registered listener.
type ListenerInfo struct {
	Name  string
	Addrs []netip.AddrPort // where it accepts connections; an unspecified address stands for each of the host's
}

// Register adds a hook and returns once it is ready, or has failed. A listener can be used to reach peers from the
// start. When ctx ends first, the hook is stopped and the error is ctx's.
//
// Errors are the hook's own, [ErrRegistered] and [ErrClosed].
func (n *P2P) Register(ctx context.Context, h Hook) error {
	r, runCtx, err := n.enter(h)
	if err != nil {
		return err
	}
	scope := &Scope{node: n, reg: r, log: n.log.With("hook", r.name)}
	go func() {
		err := errExited
		defer func() { n.leave(r, err) }()
		err = protect(func() error { return h.Run(runCtx, scope) })
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
	case <-r.ready: // it served for a moment: HookStopped tells of the rest
		return nil
	default:
	}
	n.mu.Lock()
	closing := n.closing
	n.mu.Unlock()
	if closing {
		return ErrClosed
	}
	if r.err == nil {
		return fmt.Errorf("p2p: hook %q: ended before it was ready", r.name)
	}
	return fmt.Errorf("p2p: hook %q: %w", r.name, r.err)
}

// errExited is the error of a function that neither returned nor panicked.
var errExited = errors.New("p2p: the goroutine was ended with runtime.Goexit")

// protect turns a panic into an error.
func protect(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}

// enter books a hook as registered.
func (n *P2P) enter(h Hook) (*registration, context.Context, error) {
	if h == nil || !reflect.TypeOf(h).Comparable() {
		return nil, nil, errors.New("p2p: a hook is a pointer or another comparable value, and not nil")
	}
	name := h.Name()
	if name == "" {
		return nil, nil, errors.New("p2p: the hook has no name")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return nil, nil, ErrClosed
	}
	for _, other := range n.registrations {
		if other.name == name || other.hook == h {
			return nil, nil, fmt.Errorf("%w: %q", ErrRegistered, name)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.registered++
	r := &registration{
		hook: h, name: name, number: n.registered, cancel: cancel, live: true,
		ready: make(chan struct{}), done: make(chan struct{}),
	}
	r.listener, _ = h.(Listener)
	n.registrations = append(n.registrations, r)
	n.stopped = slices.DeleteFunc(n.stopped, func(s stoppedHook) bool { return s.name == name })
	if r.listener != nil {
		n.publish(ListenerRegistered{name})
	}
	return r, ctx, nil
}

// stop asks a hook to end.
func (n *P2P) stop(r *registration) {
	n.mu.Lock()
	r.stopping = true
	n.mu.Unlock()
	r.cancel()
}

// leave withdraws all that a hook reported, once its Run has returned.
func (n *P2P) leave(r *registration, err error) {
	n.mu.Lock()
	r.live = false
	r.err = err
	n.withdraw(r)
	n.registrations = slices.DeleteFunc(n.registrations, func(other *registration) bool { return other == r })
	if r.listener != nil {
		n.publish(ListenerUnregistered{r.name})
	}
	unasked := !r.stopping
	if unasked {
		n.stopped = append(n.stopped, stoppedHook{name: r.name, listener: r.listener != nil, err: err, stamp: n.stamp()})
		n.publish(HookStopped{Hook: r.name, Err: err})
	}
	served := r.isReady
	n.mu.Unlock()
	if unasked && served { // else Register's caller is told
		attrs := []any{"hook", r.name, "err", err}
		if p, ok := err.(*PanicError); ok {
			attrs = append(attrs, "stack", string(p.Stack))
		}
		n.log.Error("hook stopped", attrs...)
	}
	if !unasked && err != nil && !errors.Is(err, context.Canceled) {
		n.log.Warn("a hook that was asked to stop failed", "hook", r.name, "err", err)
	}
	r.cancel()
	close(r.done)
}

// Unregister stops a hook and waits until it has ended, or ctx is done. What it reported is withdrawn. Errors are the
// hook's own, ctx's, and [ErrNotRegistered].
func (n *P2P) Unregister(ctx context.Context, h Hook) error {
	n.mu.Lock()
	i := slices.IndexFunc(n.registrations, func(r *registration) bool { return r.hook == h })
	if i < 0 {
		n.mu.Unlock()
		return ErrNotRegistered
	}
	r := n.registrations[i]
	n.mu.Unlock()
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

// A stoppedHook remains known until a hook of its name is registered again.
type stoppedHook struct {
	name     string
	listener bool
	err      error
	stamp    uint64
}

// Hooks describes the registered hooks in the order of their registration, and then those that stopped without being
// asked to.
func (n *P2P) Hooks() (all []HookInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.registrations {
		all = append(all, HookInfo{Name: r.name, Listener: r.listener != nil, Ready: r.isReady})
	}
	for _, s := range n.stopped {
		all = append(all, HookInfo{Name: s.name, Listener: s.listener, Stopped: true, Err: s.err})
	}
	return all
}

// Listeners describes the registered listeners in the order of their registration.
func (n *P2P) Listeners() (all []ListenerInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.registrations {
		if r.listener != nil {
			all = append(all, ListenerInfo{Name: r.name, Addrs: slices.Clone(r.addrs)})
		}
	}
	return all
}
