package dnssd

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/backoff"
)

// A socket is the state of the socket of one family.
type socket struct {
	family  Family
	conn    Conn          // nil while it could not be opened
	stop    chan struct{} // closed when conn is being closed, so that its receiver does not wait for the engine
	opened  time.Time
	failing bool // and said so
	retry   timer
	wait    time.Duration // until it is opened again after the next failure
	backoff backoff.Backoff
}

// A failure tells that a socket stopped receiving.
type failure struct {
	socket *socket
	conn   <-chan struct{} // its stop channel, which tells one opening of a socket from the next
	err    error
}

// openSockets opens the socket of each family. It fails only if all do.
func (e *Engine) openSockets() error {
	var errs []error
	for f := range Family(families) {
		s := &socket{family: f, backoff: backoff.Backoff{Min: time.Second, Max: time.Minute}}
		s.retry.fn = func() { e.reopen(s) }
		e.sockets[f] = s
		if err := e.open(s); err != nil {
			errs = append(errs, err)
			e.log.Debug("multicast DNS without a family", "family", f, "error", err)
		}
	}
	if len(errs) == families {
		return fmt.Errorf("dnssd: %w", errors.Join(errs...))
	}
	return nil
}

func (e *Engine) open(s *socket) error {
	stop := make(chan struct{})
	deliver := func(p Packet) {
		select {
		case e.packets <- received{p, s.family}:
		case <-stop:
		}
	}
	failed := func(err error) {
		select {
		case e.failures <- failure{s, stop, err}:
		case <-stop:
		}
	}
	conn, err := e.cfg.Network.Open(s.family, deliver, failed)
	if err != nil {
		return err
	}
	s.conn, s.stop, s.opened = conn, stop, e.now
	return nil
}

func (s *socket) close() {
	if s.conn != nil {
		close(s.stop)
		_ = s.conn.Close() // it was failing, or is no longer needed
		s.conn = nil
	}
}

func (e *Engine) closeSockets() {
	for _, s := range e.sockets {
		if s != nil {
			s.close()
		}
	}
}

// socketFailed closes a socket that cannot receive any more, and has it opened again: at once, or after 1, 2, 4 s … a
// minute if that does not last.
func (e *Engine) socketFailed(f failure) {
	s := f.socket
	if s.conn == nil || f.conn != s.stop {
		return // it was replaced in the meantime
	}
	s.close()
	if !s.failing {
		s.failing = true
		e.log.Warn("multicast DNS socket failed; opening it again", "family", s.family, "error", f.err)
	}
	if e.now.Sub(s.opened) > time.Minute {
		s.wait = 0
		s.backoff.Reset()
	}
	for _, l := range e.links {
		l.joined[s.family] = false
	}
	e.timers.set(&s.retry, e.now.Add(s.wait))
}

func (e *Engine) reopen(s *socket) {
	s.wait = s.backoff.Next()
	if err := e.open(s); err != nil {
		e.timers.set(&s.retry, e.now.Add(s.wait))
		return
	}
	if s.failing {
		s.failing = false
		e.log.Info("multicast DNS socket works again", "family", s.family)
	}
	for _, l := range e.links {
		l.join()
		l.announceAgain()
	}
}

// sleepTime is by how much a look at the interfaces comes too late if the computer, or this process, was suspended.
const sleepTime = 30 * time.Second

// pollInterfaces follows the interfaces: what appeared gets a link, what vanished or moved to another network loses it,
// and with it all that was learnt there. It also notices, by the wall clock, that the computer was suspended.
func (e *Engine) pollInterfaces() {
	defer e.timers.set(&e.poll, e.now.Add(e.cfg.PollInterval))
	slept := !e.polled.IsZero() && e.now.Round(0).Sub(e.polled) > e.cfg.PollInterval+sleepTime
	e.polled = e.now.Round(0)
	found, err := e.cfg.Network.Interfaces()
	if err != nil {
		if e.listing == nil {
			e.log.Warn("cannot list network interfaces", "error", err)
		}
		e.listing = err
		return
	}
	e.listing = nil
	usable := make(map[int]Interface)
	for _, ifc := range found {
		if e.usable(&ifc) && len(usable) < maxLinks {
			usable[ifc.Index] = ifc
		}
	}
	for index, l := range e.links {
		ifc, ok := usable[index]
		switch {
		case !ok || !l.ifc.sameNetwork(&ifc):
			l.close()
		case !l.ifc.equal(&ifc):
			l.ifc = ifc
			l.join()
			for _, p := range slices.Clone(l.pubs) {
				l.changed(p.entry)
			}
			l.publishMissing()
		case l.join(): // which failed the last time
			l.restart()
		}
		if slept && e.links[index] == l {
			l.resume()
		}
	}
	for index, ifc := range usable {
		if e.links[index] == nil {
			e.openLink(ifc)
		}
	}
	e.heedSilence(found)
}

// resume makes up for a time in which the engine did not run: others have let what we announced expire, and would not ask
// for it for up to an hour; and what is cached may have gone without our hearing of it.
func (l *link) resume() {
	for _, s := range l.seen {
		l.suspect(s)
	}
	l.restart()
}

// usable reports whether an interface is one to announce and browse on.
func (e *Engine) usable(ifc *Interface) bool {
	if !ifc.Up || len(ifc.Addrs) == 0 {
		return false
	}
	if len(e.cfg.Interfaces) > 0 {
		return slices.Contains(e.cfg.Interfaces, ifc.Name)
	}
	return ifc.Multicast && !ifc.Loopback && !ifc.PointToPoint
}
