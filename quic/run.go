package quic

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/netmon"
)

// A run is one call of Run. It has one endpoint after the other: a new one when
// the node begins or ceases to hide its identity, and, while it hides, in each
// network.
type run struct {
	listener *Listener
	scope    *p2p.Scope
	events   *p2p.Subscription
	network  *netmon.Subscription
	moved    time.Time // when the node was last carried to another network

	mu      sync.Mutex
	term    *term
	left    map[*endpoint]struct{} // endpoints of previous networks that still have connections
	leaving sync.WaitGroup
}

// A term is the time with one veil, or without one.
type term struct {
	ended  chan struct{} // closed when it has to end
	closed chan struct{} // closed when it has ended completely
	once   sync.Once
}

func newTerm() *term { return &term{ended: make(chan struct{}), closed: make(chan struct{})} }

func (t *term) end() { t.once.Do(func() { close(t.ended) }) }

// Run listens and serves until ctx is done.
func (l *Listener) Run(ctx context.Context, s *p2p.Scope) error {
	if l.err != nil {
		return l.err
	}
	r := &run{listener: l, scope: s, left: map[*endpoint]struct{}{}}
	l.mu.Lock()
	if l.run != nil {
		l.mu.Unlock()
		return errors.New("quic: a listener serves one node at a time")
	}
	l.run = r
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.run = nil
		l.mu.Unlock()
	}()
	r.events = s.Node().Subscribe()
	defer r.events.Close()
	r.network = l.cfg.monitor.Subscribe()
	defer r.network.Close()
	for ctx.Err() == nil {
		if err := r.take(ctx); err != nil {
			return err
		}
	}
	return nil
}

// end ends the term, and waits until it has ended completely.
func (r *run) end() {
	r.mu.Lock()
	t := r.term
	r.mu.Unlock()
	if t != nil {
		t.end()
		<-t.closed
	}
}

// begin begins a term.
func (r *run) begin() (*term, junction.Veil) {
	l, t := r.listener, newTerm()
	l.mu.Lock()
	defer l.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.term = t
	return t, l.veil
}

// take runs one term: it serves until ctx is done or the term ends.
func (r *run) take(ctx context.Context) error {
	t, veil := r.begin()
	defer func() {
		r.leave()
		close(t.closed)
	}()
	for again := true; again; {
		e, err := newEndpoint(r.listener, r.scope, veil)
		if err != nil {
			return err
		}
		again = r.serve(ctx, e, t)
	}
	return nil
}

// leave closes the endpoints of previous networks.
func (r *run) leave() {
	r.mu.Lock()
	for e := range r.left {
		e.abandon()
	}
	r.mu.Unlock()
	r.leaving.Wait()
}

// install makes e the endpoint of the listener; nil means none.
func (l *Listener) install(e *endpoint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endpoint = e
	if e == nil {
		return
	}
	e.announce(l.disabled)
	if l.router != nil {
		l.router.hear(e)
	}
}

// serve serves with an endpoint, and reports whether the term continues with
// another one.
func (r *run) serve(ctx context.Context, e *endpoint, t *term) (again bool) {
	l := r.listener
	l.install(e)
	var manual sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		if again {
			r.drain(e)
		} else {
			l.install(nil)
			if e.veil != nil {
				e.veil.contacts.Listens(junction.Socket{})
			}
			e.unannounce()
			defer e.close()
		}
		cancel()
		manual.Wait()
	}()
	if e.veil == nil {
		manual.Go(func() { l.manual.run(ctx, e) })
	} else {
		l.hides().listens(e)
	}
	e.attend(r.network)
	r.scope.Ready()
	place := e.site(r.moved.Add(moveRate))
	defer place.stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-t.ended:
			return false
		case <-place.left():
			if place.moved() {
				r.moved = time.Now()
				place.leave(e)
				return true
			}
		case <-e.told:
			place.tell()
		case change := <-r.network.C:
			place.look() // first, so that no connection says goodbye in another network
			for _, e := range l.endpoints() {
				e.networkChanged(change)
			}
			l.manual.networkChanged()
		case event, ok := <-r.events.C:
			if !ok {
				return false
			}
			for _, e := range l.endpoints() {
				e.heed(event)
			}
		}
	}
}

// A site detects that the network is no longer the one in which an endpoint
// began.
type site interface {
	look()                  // checks whether the network has changed
	tell()                  // records that it has changed
	left() <-chan time.Time // signals when to call moved
	moved() bool            // reports whether it has changed
	leave(*endpoint)        // ends what cannot continue elsewhere
	stop()
}

// site returns the site of an endpoint. An endpoint that hides nothing is at
// home anywhere.
func (e *endpoint) site(next time.Time) site {
	if e.veil == nil {
		return anywhere{}
	}
	return e.listener.hides().whereabouts(e, next)
}

// anywhere is a site that is never left.
type anywhere struct{}

func (anywhere) look()                  {}
func (anywhere) tell()                  {}
func (anywhere) left() <-chan time.Time { return nil }
func (anywhere) moved() bool            { return false }
func (anywhere) leave(*endpoint)        {}
func (anywhere) stop()                  {}

// drain keeps an endpoint until its last connection ends.
func (r *run) drain(e *endpoint) {
	r.mu.Lock()
	r.left[e] = struct{}{}
	r.mu.Unlock()
	r.leaving.Go(func() {
		e.drain()
		r.mu.Lock()
		delete(r.left, e)
		r.mu.Unlock()
	})
}

// endpoints returns all endpoints, the present one first.
func (l *Listener) endpoints() (all []*endpoint) {
	l.mu.Lock()
	e, r := l.endpoint, l.run
	l.mu.Unlock()
	if e != nil {
		all = append(all, e)
	}
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		for e := range r.left {
			all = append(all, e)
		}
	}
	return all
}
