package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
)

const (
	forgottenTime = time.Second // how long Shutdown waits before it names the streams that are still open
	maxForgotten  = 16          // the most streams that it names
)

// streams is the set of a node's open streams, in both directions.
type streams struct {
	node     identity.RemoteIdentity
	handler  Handler // may be nil
	allows   func(context.Context, Request) error
	stranger func(identity.RemoteIdentity) bool
	log      *slog.Logger

	// The most inbound streams at a time. < 0: no limit.
	max, maxPerPeer, maxStrangers int

	ctx       context.Context // of handlers
	cancel    context.CancelFunc
	handlers  sync.WaitGroup
	noHandler sync.Once

	routes routeCounts
	note   func(what *note, counted, by string)

	mu        sync.Mutex
	refusing  bool // no new ones
	open      map[*Stream]struct{}
	perPeer   map[identity.RemoteIdentity]int // of inbound ones
	inbound   int
	strangers int           // of inbound ones
	drained   chan struct{} // not nil during shutdown: closed once open is empty
}

// newStreams returns the streams of a node, which sets allows, stranger and note.
func newStreams(cfg Config) *streams {
	ctx, cancel := context.WithCancel(context.Background())
	node := cfg.Identity.Remote()
	if m, ok := cfg.Handler.(*Mux); ok {
		m.attach(node)
	}
	return &streams{
		node: node, handler: cfg.Handler, log: cfg.Logger,
		max: cfg.MaxStreams, maxPerPeer: cfg.MaxStreamsPerPeer, maxStrangers: cfg.MaxStrangerStreams,
		ctx: ctx, cancel: cancel,
		open: map[*Stream]struct{}{}, perPeer: map[identity.RemoteIdentity]int{},
	}
}

// Serves reports whether the node's handler serves a route. A handler other
// than a [Mux] is assumed to.
func (p *P2P) Serves(route string) bool {
	switch h := p.streams.handler.(type) {
	case nil:
		return false
	case interface{ Serves(route string) bool }:
		return h.Serves(route)
	}
	return true
}

// opened records a stream that this node has opened.
func (ss *streams) opened(to *Peer, raw RawStream, route string) (*Stream, error) {
	s := newStream(raw, to, ss, false)
	if route != "" {
		s.route.Store(&route)
	}
	if counting {
		ss.routes.of(route).opened.Add(1)
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.refusing {
		return nil, ErrClosed
	}
	ss.open[s] = struct{}{}
	return s, nil
}

// serve records a stream that a peer has opened and starts the handler, or
// refuses the stream.
func (ss *streams) serve(from *Peer, raw RawStream, by string) {
	s := newStream(raw, from, ss, true)
	s.by = by
	s.stranger = !raw.Path().Dialed && ss.stranger(from.id)
	if err := ss.admit(s); err != nil {
		code := ErrRefused
		errors.As(err, &code)
		raw.Reset(code)
		ss.refused(s, err)
		return
	}
	go ss.handle(s)
}

// refused records that an inbound stream was refused.
func (ss *streams) refused(s *Stream, why error) {
	code := ErrRefused
	errors.As(why, &code)
	ss.routes.of(s.Route()).refused[code.index()].Add(1)
	in := &circumstances{route: s.Route(), path: s.Path(), cause: why}
	ss.note(&note{what: kindRefused, peer: s.peer.id, in: in}, "", "")
}

// admit records an inbound stream, or says why it is refused.
func (ss *streams) admit(s *Stream) error {
	if ss.handler == nil {
		ss.noHandler.Do(func() {
			ss.log.Warn("refused a stream: this node has no handler; set p2p.Config.Handler to serve streams", "peer", s.peer.id)
		})
		return fmt.Errorf("%w: there is no handler", ErrRefused)
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	switch {
	case ss.refusing:
		return ErrShuttingDown
	case ss.maxPerPeer >= 0 && ss.perPeer[s.peer.id] >= ss.maxPerPeer:
		return fmt.Errorf("%w: %d streams of the peer", ErrBusy, ss.maxPerPeer)
	case ss.maxStrangers >= 0 && s.stranger && ss.strangers >= ss.maxStrangers:
		return fmt.Errorf("%w: %d streams of strangers", ErrBusy, ss.maxStrangers)
	case ss.max >= 0 && ss.inbound >= ss.max:
		return fmt.Errorf("%w: %d streams", ErrBusy, ss.max)
	}
	ss.count(s, 1)
	ss.open[s] = struct{}{}
	ss.handlers.Add(1)
	return nil
}

// count counts an inbound stream that begins (1) or has ended (-1). The caller
// holds mu.
func (ss *streams) count(s *Stream, n int) {
	ss.inbound += n
	if s.stranger {
		ss.strangers += n
	}
	if ss.perPeer[s.peer.id] += n; ss.perPeer[s.peer.id] == 0 {
		delete(ss.perPeer, s.peer.id)
	}
}

func (ss *streams) handle(s *Stream) {
	defer ss.handlers.Done()
	err := errExited
	defer func() { ss.handled(s, err) }()
	if err = ss.allows(ss.ctx, Request{Action: OpenStream, Peer: s.peer.id, Path: s.Path()}); err == nil {
		ctx := ss.ctx
		if _, routes := ss.handler.(*Mux); !routes { // which knows better when
			ctx = s.served(ctx)
		}
		err = protect(func() error { return ss.handler.ServeStream(ctx, s) })
	}
}

// hold keeps Shutdown waiting until handlers.Done is called, and reports false
// if it has begun.
func (ss *streams) hold() bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if !ss.refusing {
		ss.handlers.Add(1)
	}
	return !ss.refusing
}

// handled ends the stream of a handler that has returned err.
func (ss *streams) handled(s *Stream, err error) {
	if err == nil {
		s.Close()
		return
	}
	code := ErrHandlerFailed
	panicked, _ := err.(*PanicError)
	if panicked == nil {
		errors.As(err, &code)
	}
	s.Reset(code)
	switch {
	case panicked != nil:
		ss.log.Error("a handler panicked", "peer", s.peer.id, "route", s.Route(), "panic", panicked.Value, "stack", string(panicked.Stack))
	case ss.ctx.Err() != nil: // the node shuts down
	case refuses(err, code):
		ss.refused(s, err)
	default:
		ss.log.Debug("a handler returned an error", "peer", s.peer.id, "route", s.Route(), "cause", shown{err})
	}
}

// refuses reports whether a handler's error means that it did not serve the
// stream, rather than that the stream was reset or the work failed.
func refuses(err error, code ResetCode) bool {
	switch code {
	case ErrNoRoute, ErrRefused, ErrBusy, ErrTimeout, ErrTunnelRefused:
		reset := (*ResetError)(nil)
		return !errors.As(err, &reset)
	}
	return false
}

// ended removes a stream. Calls after the first have no effect.
func (ss *streams) ended(s *Stream) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if _, ok := ss.open[s]; !ok {
		return
	}
	delete(ss.open, s)
	if s.inbound {
		ss.count(s, -1)
	}
	if ss.drained != nil && len(ss.open) == 0 {
		close(ss.drained)
	}
}

// shutDown refuses new streams, ends handlers, and waits for open streams to be
// closed until ctx ends, or for drainTime if ctx has no deadline. Then it
// resets those that are left. The channel that it returns is closed once all
// handlers have returned.
func (ss *streams) shutDown(ctx context.Context) <-chan struct{} {
	ss.mu.Lock()
	ss.refusing = true
	ss.drained = make(chan struct{})
	drained := ss.drained
	if len(ss.open) == 0 {
		close(drained)
	}
	open := ss.snapshot()
	ss.mu.Unlock()

	ss.cancel()
	if m, ok := ss.handler.(*Mux); ok {
		m.detach(ss.node)
	}
	for _, s := range open {
		if s.inbound {
			s.interrupt()
		}
	}
	handled := make(chan struct{})
	go func() {
		ss.handlers.Wait()
		close(handled)
	}()
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, drainTime)
		defer cancel()
	}
	soon, cancel := context.WithTimeout(ctx, forgottenTime)
	over := await(soon, handled) && await(soon, drained)
	cancel()
	if !over && ctx.Err() == nil {
		ss.logForgotten()
	}
	await(ctx, handled)
	await(ctx, drained)

	ss.mu.Lock()
	open = ss.snapshot()
	ss.mu.Unlock()
	for _, s := range open {
		s.Reset(ErrShuttingDown)
	}
	return handled
}

// logForgotten logs the streams that delay the shutdown because the app has not
// closed them, or a handler has not returned.
func (ss *streams) logForgotten() {
	ss.mu.Lock()
	open := slices.DeleteFunc(ss.snapshot(), func(s *Stream) bool { return s.closed.Reason() != nil })
	ss.mu.Unlock()
	for i, s := range open {
		if i == maxForgotten {
			ss.log.Warn("more streams that were not closed delay the shutdown", "number", len(open)-i)
			break
		}
		direction := "outbound"
		if s.inbound {
			direction = "inbound"
		}
		ss.log.Warn("a stream that was not closed delays the shutdown", "route", s.Route(), "peer", s.peer.id, "direction", direction)
	}
}

// resetAll resets the streams with a peer.
func (ss *streams) resetAll(id identity.RemoteIdentity) {
	ss.mu.Lock()
	open := slices.DeleteFunc(ss.snapshot(), func(s *Stream) bool { return s.peer.id != id })
	ss.mu.Unlock()
	for _, s := range open {
		s.Reset(ErrRefused)
	}
}

func (ss *streams) snapshot() []*Stream {
	all := make([]*Stream, 0, len(ss.open))
	for s := range ss.open {
		all = append(all, s)
	}
	return all
}

// await waits for done, and reports false if ctx ended first.
func await(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
