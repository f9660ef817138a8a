package contact

import (
	"context"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/tunnel"
)

// FromLibraries returns a function for [Config.Also] that makes all nodes on
// which members of the libraries live contacts, such as the user's other
// devices.
func FromLibraries(libraries *library.Libraries) func() []identity.RemoteIdentity {
	return func() (all []identity.RemoteIdentity) {
		for _, l := range libraries.All() {
			for _, m := range l.Members() {
				all = append(all, m.Member.Node)
			}
		}
		return all
	}
}

// Run finds contacts until ctx is done. It fails if the contacts that were set
// cannot be this node's.
func (c *Contacts) Run(ctx context.Context, s *p2p.Scope) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := c.begin(ctx, s); err != nil {
		return err
	}
	defer c.end()
	events := s.Node().Subscribe()
	defer events.Close()
	var looking sync.WaitGroup
	defer looking.Wait()
	defer cancel()
	s.Ready()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-c.wake:
		case e, ok := <-events.C:
			if !ok {
				return nil
			}
			switch e.(type) {
			case p2p.TrackedModified, p2p.Resync:
				c.again()
			default:
				continue
			}
		}
		c.part()
		c.turnEpoch()
		now := time.Now()
		next := c.review(now, func(f func()) { looking.Go(f) })
		c.mu.Lock()
		_, wait := c.overdue(now)
		c.mu.Unlock()
		if !next.IsZero() {
			wait = min(wait, next.Sub(now))
		}
		timer.Reset(max(wait, 0))
	}
}

// begin begins a run.
func (c *Contacts) begin(ctx context.Context, s *p2p.Scope) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	if c.scope != nil {
		c.mu.Unlock()
		return errRuns
	}
	c.scope, c.ctx = s, ctx
	c.credential = tunnel.NewCredentialFor(purpose, s.Identity(), [32]byte{})
	given := c.given
	c.mu.Unlock()
	err := c.replace(given)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.forget()
		return err
	}
	if c.veiled {
		c.show()
	}
	return nil
}

// end ends a run.
func (c *Contacts) end() {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	all := c.set.Contacts()
	c.shown.Key = identity.RemoteIdentity{}
	c.showOther()
	c.forget()
	ends := c.parting
	c.parting = nil
	c.mu.Unlock()
	for _, id := range all {
		c.listener.Cut(id)
	}
	for _, end := range ends {
		end()
	}
}

// context returns the context of the run.
func (c *Contacts) context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ctx
}

// again updates the contacts that follow from Also.
func (c *Contacts) again() {
	if c.cfg.Also == nil {
		return
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	given, log := c.given, c.scope.Logger()
	c.mu.Unlock()
	if err := c.replace(given); err != nil {
		log.Warn("the contacts stay as they are", "cause", err)
	}
}

// turnEpoch begins another epoch if it is time.
func (c *Contacts) turnEpoch() {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	due, _ := c.overdue(time.Now())
	c.mu.Unlock()
	if due {
		c.rotate(true)
	}
}
