package p2p

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// A ShutdownError names the hooks and handlers that were still running when the
// time for [P2P.Shutdown] was over.
type ShutdownError struct {
	Overran []string // hooks by name, and "handlers"
	Err     error    // why the time was over
}

func (e *ShutdownError) Error() string {
	return fmt.Sprintf("p2p: shutdown: %s did not stop in time: %v", strings.Join(e.Overran, ", "), e.Err)
}

// Unwrap returns the context's error.
func (e *ShutdownError) Unwrap() error { return e.Err }

// Shutdown ends the node in order: discoveries say goodbye; new streams are
// refused with [ErrShuttingDown]; the contexts of handlers are canceled, reads
// from their streams fail, and they are awaited; streams that are still open
// have until ctx's deadline (5 s if it has none) to be closed; then
// connections, sockets and subscriptions end. When Shutdown returns nil,
// nothing that the node started is still running.
//
// If ctx ends earlier, everything is told to stop at once; if something is
// still running two seconds later, the error is a *[ShutdownError]. (A listener
// may take 1.5 s to part from a peer that speaks version 1.) Shutdown may be
// called more than once, also concurrently: the node is shut down once, under
// the first caller's ctx, and every call returns the result.
//
// An app that must know that its last bytes arrived needs an acknowledgement
// from the other side.
func (n *P2P) Shutdown(ctx context.Context) error {
	if n.shutdown.begun.CompareAndSwap(false, true) {
		n.shutdown.err = n.shutDown(ctx)
		close(n.shutdown.done)
	}
	if !await(ctx, n.shutdown.done) {
		return fmt.Errorf("p2p: shutdown: %w", context.Cause(ctx))
	}
	return n.shutdown.err
}

// shutdown is the one shutdown of a node.
type shutdown struct {
	begun atomic.Bool
	done  chan struct{}
	err   error // readable once done is closed
}

func (n *P2P) shutDown(ctx context.Context) error {
	n.mu.Lock()
	n.state.hooks.closing = true
	registrations := slices.Clone(n.state.hooks.running)
	n.mu.Unlock()

	stop := func(turn int) {
		var asked []*registration
		for _, r := range registrations {
			if r.turn() == turn {
				n.stop(r)
				asked = append(asked, r)
			}
		}
		for _, r := range asked {
			await(ctx, r.done)
		}
	}
	stop(0)
	handled := n.streams.shutDown(ctx)
	stop(1)
	stop(2)
	await(ctx, handled)

	// Whatever was told to stop only when ctx ended gets the grace time.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
	defer cancel()
	var overran []string
	for _, r := range registrations {
		if !await(grace, r.done) {
			overran = append(overran, fmt.Sprintf("hook %q", r.name))
		}
	}
	if !await(grace, handled) {
		overran = append(overran, "handlers")
	}
	n.mu.Lock()
	n.state.bus.close()
	n.mu.Unlock()
	if len(overran) > 0 {
		return &ShutdownError{Overran: overran, Err: context.Cause(ctx)}
	}
	return nil
}

// turn returns a hook's place in a shutdown: discoveries end first, then
// listeners, and last the hooks that the listeners' connections may run
// through.
func (r *registration) turn() int {
	_, guide := r.hook.(Guide)
	switch {
	case r.listener != nil:
		return 1
	case guide:
		return 2
	}
	return 0
}
