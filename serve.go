package p2p

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/sdp2p/p2p/identity"
)

// A Handler serves inbound streams.
type Handler interface {
	// ServeStream serves one stream, in a goroutine of its own. When it returns nil, the stream is closed, if it was
	// not. When it returns an error or panics, the stream is reset: with the [ResetCode] that the error wraps, or
	// with [ErrHandlerFailed]. ctx is done when the node shuts down; reads from the stream fail then, while writes
	// still work.
	ServeStream(ctx context.Context, s *Stream) error
}

// HandlerFunc makes a [Handler] of a function.
type HandlerFunc func(ctx context.Context, s *Stream) error

// ServeStream calls f.
func (f HandlerFunc) ServeStream(ctx context.Context, s *Stream) error { return f(ctx, s) }

// streams is the set of a node's open streams, in both directions.
type streams struct {
	handler    Handler // may be nil
	allows     func(context.Context, Request) error
	maxPerPeer int // inbound; < 0: no limit
	log        *slog.Logger
	ctx        context.Context // of handlers
	cancel     context.CancelFunc
	handlers   sync.WaitGroup
	noHandler  sync.Once

	mu       sync.Mutex
	refusing bool // no new ones
	open     map[*Stream]struct{}
	inbound  map[identity.RemoteIdentity]int
	drained  chan struct{} // not nil during shutdown: closed once open is empty
}

func newStreams(cfg Config, allows func(context.Context, Request) error) *streams {
	ctx, cancel := context.WithCancel(context.Background())
	return &streams{
		handler: cfg.Handler, allows: allows, maxPerPeer: cfg.MaxStreamsPerPeer, log: cfg.Logger, ctx: ctx, cancel: cancel,
		open: map[*Stream]struct{}{}, inbound: map[identity.RemoteIdentity]int{},
	}
}

// opened books a stream that this node has opened.
func (ss *streams) opened(to *Peer, raw RawStream) (*Stream, error) {
	s := newStream(raw, to, ss, false)
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.refusing {
		return nil, ErrClosed
	}
	ss.open[s] = struct{}{}
	return s, nil
}

// serve books a stream that a peer has opened and starts the handler, or refuses it.
func (ss *streams) serve(from *Peer, raw RawStream) {
	s := newStream(raw, from, ss, true)
	if code, ok := ss.admit(s); !ok {
		raw.Reset(code)
		return
	}
	go ss.handle(s)
}

func (ss *streams) admit(s *Stream) (code ResetCode, ok bool) {
	if ss.handler == nil {
		ss.noHandler.Do(func() {
			ss.log.Warn("refused a stream: this node has no handler; set p2p.Config.Handler to serve streams", "peer", s.peer.id)
		})
		return ErrRefused, false
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.refusing {
		return ErrShuttingDown, false
	}
	if ss.maxPerPeer >= 0 && ss.inbound[s.peer.id] >= ss.maxPerPeer {
		return ErrBusy, false
	}
	ss.inbound[s.peer.id]++
	ss.open[s] = struct{}{}
	ss.handlers.Add(1)
	return 0, true
}

func (ss *streams) handle(s *Stream) {
	defer ss.handlers.Done()
	err := errExited
	defer func() { ss.handled(s, err) }()
	if err = ss.allows(ss.ctx, Request{Action: OpenStream, Peer: s.peer.id, Path: s.Path()}); err == nil {
		err = protect(func() error { return ss.handler.ServeStream(ss.ctx, s) })
	}
}

// hold keeps Shutdown waiting until handlers.Done is called, and reports false if it has begun.
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
	if panicked != nil {
		ss.log.Error("a handler panicked", "peer", s.peer.id, "route", s.route, "panic", panicked.Value, "stack", string(panicked.Stack))
	} else if ss.ctx.Err() == nil {
		ss.log.Debug("a handler returned an error", "peer", s.peer.id, "route", s.route, "err", err)
	}
}

// ended takes a stream out of the books. Calls after the first have no effect.
func (ss *streams) ended(s *Stream) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if _, ok := ss.open[s]; !ok {
		return
	}
	delete(ss.open, s)
	if s.inbound {
		if ss.inbound[s.peer.id]--; ss.inbound[s.peer.id] == 0 {
			delete(ss.inbound, s.peer.id)
		}
	}
	if ss.drained != nil && len(ss.open) == 0 {
		close(ss.drained)
	}
}

// shutDown refuses new streams, ends handlers, and lets open streams be closed until ctx ends; where ctx has no deadline,
// for drainTime. Then it resets what is left. The channel that it returns is closed once all handlers have returned.
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
