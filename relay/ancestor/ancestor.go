package ancestor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/relay"
)

const (
	maxOfPeer    = 8  // connections
	maxStrangers = 32 // through one relay
)

// Reasons why there is no connection.
var (
	ErrNotRunning = errors.New("ancestor: the listener is not running")
	errFull       = fmt.Errorf("ancestor: too many connections: %w", p2p.ErrBusy)
	errLost       = fmt.Errorf("ancestor: %w", p2p.ErrConnectionLost)
	errRetired    = fmt.Errorf("%w: it was idle and is being closed", p2p.ErrConnectionLost)
)

// A Config configures a [Listener].
type Config struct {
	// Relays is the node's relay client, registered with the same node.
	Relays *relay.Client

	lines func(junction.Lines) junction.Lines // for tests: replaces the client's
}

// A Listener connects with version 1 peers through relays. Its methods may be
// called concurrently, whether it runs or not.
type Listener struct {
	cfg Config

	mu  sync.Mutex
	run *run // nil while it does not run
}

var (
	_ p2p.Listener      = (*Listener)(nil)
	_ junction.Ancestor = taker{}
)

// New makes a listener to be registered with one node, beside its relay client.
func New(cfg Config) *Listener { return &Listener{cfg: cfg} }

// Name returns "ancestor".
func (l *Listener) Name() string { return "ancestor" }

// A run is the state of a listener while it runs.
type run struct {
	listener *Listener
	scope    *p2p.Scope
	log      *slog.Logger
	security *security
	lines    junction.Lines
	ctx      context.Context
	cancel   context.CancelFunc

	mu       sync.Mutex
	closing  bool
	tasks    sync.WaitGroup // added to under mu, while it is not closing
	conns    map[*conn]struct{}
	making   map[identity.RemoteIdentity]int  // number of connections by peer, including those being made
	through  map[identity.RemoteIdentity]int  // of these, strangers', by relay
	upgrades map[identity.RemoteIdentity]bool // under way
}

// Run takes connections until ctx is done.
func (l *Listener) Run(ctx context.Context, s *p2p.Scope) error {
	if l.cfg.Relays == nil {
		return errors.New("ancestor: Config.Relays is required: circuits come from the relay client")
	}
	security, err := newSecurity(s.Identity())
	if err != nil {
		return fmt.Errorf("ancestor: %w", err)
	}
	r := &run{
		listener: l, scope: s, log: s.Logger(), security: security, conns: map[*conn]struct{}{},
		making: map[identity.RemoteIdentity]int{}, through: map[identity.RemoteIdentity]int{}, upgrades: map[identity.RemoteIdentity]bool{},
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	l.mu.Lock()
	if l.run != nil {
		l.mu.Unlock()
		return errors.New("ancestor: a listener serves one node at a time")
	}
	l.run = r
	if r.lines = l.cfg.Relays.Ancestor(taker{l}); l.cfg.lines != nil {
		r.lines = l.cfg.lines(r.lines)
	}
	l.mu.Unlock()
	s.Ready()
	<-ctx.Done()
	l.cfg.Relays.Ancestor(nil)
	l.mu.Lock()
	l.run = nil
	l.mu.Unlock()
	r.close()
	return nil
}

func (l *Listener) running() *run {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.run
}

// close ends all connections, and waits for all goroutines.
func (r *run) close() {
	r.cancel()
	r.mu.Lock()
	r.closing = true
	all := r.all()
	r.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
	r.tasks.Wait()
}

// all returns the connections. The caller holds mu.
func (r *run) all() (all []*conn) {
	for c := range r.conns {
		all = append(all, c)
	}
	return all
}

// start runs f in a goroutine that the end of the run waits for, and returns
// false if the run has ended.
func (r *run) start(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return false
	}
	r.tasks.Go(f)
	return true
}

// Dial opens a stream to a version 1 peer over an existing connection. It makes
// no connection: the relay client does so when the peer does not accept
// packets. Streams are opened one at a time on each connection. A stream that
// the peer drops is opened again, for 15 s at most; then the error wraps
// [p2p.ErrBusy].
func (l *Listener) Dial(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
	r := l.running()
	if r == nil {
		return nil, &p2p.DialError{Peer: to}
	}
	c := r.best(to)
	if c == nil || r.direct(to) {
		return nil, &p2p.DialError{Peer: to} // other listeners know the reason, or have a better way
	}
	r.shorten(c, via)
	s, err := c.open(ctx)
	if errors.Is(err, p2p.ErrConnectionLost) && ctx.Err() == nil {
		s, err = r.again(ctx, to, via)
	}
	if err != nil {
		return nil, &p2p.DialError{Peer: to, Err: err}
	}
	return s, nil
}

// again opens a stream if the connection has just ended.
func (r *run) again(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
	err := errLost
	for _, v := range via {
		if v.Kind != p2p.Relay {
			continue
		}
		if err = r.lines.Line(ctx, v.Relay, to); err != nil {
			continue
		}
		if c := r.best(to); c != nil {
			return c.open(ctx)
		}
	}
	return nil, err
}

// best returns the newest connection with a peer, or nil.
func (r *run) best(id identity.RemoteIdentity) (best *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		if c.id == id && !c.gone() && (best == nil || c.opened.After(best.opened)) {
			best = c
		}
	}
	return best
}

// direct reports whether another listener has a direct connection with a peer.
func (r *run) direct(id identity.RemoteIdentity) bool {
	peer, known := r.scope.Node().Peer(id)
	return known && slices.ContainsFunc(peer.Info().Connections, func(c p2p.Connection) bool { return c.Path.Kind != p2p.Relay })
}

// A taker is the listener's interface for package relay.
type taker struct{ listener *Listener }

func (t taker) Has(id identity.RemoteIdentity) bool {
	r := t.listener.running()
	return r != nil && r.best(id) != nil
}

func (t taker) Take(ctx context.Context, line junction.Line) error {
	r := t.listener.running()
	if r == nil {
		line.Close()
		return ErrNotRunning
	}
	return r.take(ctx, line)
}

// take turns a line into a connection, and reports it to the node.
func (r *run) take(ctx context.Context, line junction.Line) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	stranger := !line.Dialed && r.scope.Stranger(line.Peer)
	leave, err := r.enter(line, stranger)
	if err != nil {
		line.Close()
		return err
	}
	line.Stream = &carried{Stream: line.Stream}
	session, err := r.security.secure(ctx, line, stranger)
	if err != nil {
		leave()
		return err
	}
	c := newConn(r, session, line, leave)
	if err := r.report(ctx, c); err != nil {
		session.Close()
		c.end()
		return err
	}
	line.Proven()
	return nil
}

// enter reserves a place for a connection, if one is free, until leave is
// called.
func (r *run) enter(line junction.Line, stranger bool) (leave func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closing:
		return nil, ErrNotRunning
	case r.making[line.Peer] >= maxOfPeer || stranger && r.through[line.Relay] >= maxStrangers:
		return nil, errFull
	}
	r.making[line.Peer]++
	if stranger {
		r.through[line.Relay]++
	}
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		less(r.making, line.Peer)
		if stranger {
			less(r.through, line.Relay)
		}
	}), nil
}

func less(m map[identity.RemoteIdentity]int, id identity.RemoteIdentity) {
	if m[id]--; m[id] == 0 {
		delete(m, id)
	}
}

// report reports a connection to the node and, if the node accepts it, begins
// to serve it.
func (r *run) report(ctx context.Context, c *conn) error {
	if !c.path.Dialed {
		if err := r.scope.Node().Allows(ctx, p2p.Request{Action: p2p.Connect, Peer: c.id, Path: c.path}); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return ErrNotRunning
	}
	if err := r.scope.Connected(c.id, c); err != nil {
		return err
	}
	r.conns[c] = struct{}{}
	r.tasks.Go(c.serve)
	return nil
}

// disconnected removes the record of a connection.
func (r *run) disconnected(c *conn) {
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
	c.end()
	r.scope.Disconnected(c.id, c)
}
