package dnssd

import (
	"errors"
	"fmt"
	"time"

	"github.com/sdp2p/p2p/internal/backoff"
)

// A socket is the state of the socket of one family.
type socket struct {
	family  Family
	conn    Conn          // nil while it could not be opened
	stop    chan struct{} // closed when conn is being closed, so that its receiver does not wait for the engine
	opened  time.Time
	failing bool // and the log says so
	retry   timer
	wait    time.Duration // until it is opened again after the next failure
	backoff backoff.Backoff
}

// A failure reports that a socket stopped receiving.
type failure struct {
	socket *socket
	conn   <-chan struct{} // its stop channel, which distinguishes one opening of a socket from the next
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
			e.log.Debug("multicast DNS without a family", "family", f, "cause", err)
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

// socketFailed closes a socket that can no longer receive, and schedules its
// reopening: at once, or after 1, 2, 4 s … a minute if it fails again.
func (e *Engine) socketFailed(f failure) {
	s := f.socket
	if s.conn == nil || f.conn != s.stop {
		return // it was replaced in the meantime
	}
	s.close()
	if !s.failing {
		s.failing = true
		e.log.Warn("multicast DNS socket failed; opening it again", "family", s.family, "cause", f.err)
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
	for _, l := range e.ranked() {
		l.join()
		l.announceAgain()
	}
	e.reportDeaf()
}
