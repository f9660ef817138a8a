package p2p

import (
	"context"
	"errors"
	"time"
)

const (
	gateTime = 2 * time.Second // how long Config.Allow may take
	maxGates = 256             // calls of Config.Allow at one time
)

// A gate calls Config.Allow, which may be slow, and bounds how many calls run at
// a time.
type gate struct {
	allow  func(context.Context, Request) error // may be nil
	places chan struct{}
}

func newGate(cfg Config) *gate {
	return &gate{allow: cfg.Allow, places: make(chan struct{}, maxGates)}
}

// ask calls Config.Allow, and waits for it no longer than allowed. A call that
// does not return keeps its place.
func (n *P2P) ask(ctx context.Context, r Request) error {
	ctx, cancel := context.WithTimeoutCause(ctx, gateTime, errors.New("no answer in 2 s"))
	select {
	case n.gate.places <- struct{}{}:
	default:
		cancel()
		return errors.New("too many questions wait for an answer")
	}
	if !n.streams.hold() {
		cancel()
		<-n.gate.places
		return ErrClosed
	}
	stop := context.AfterFunc(n.streams.ctx, cancel) // at shutdown
	answer := make(chan error, 1)
	go func() {
		defer stop()
		defer n.streams.handlers.Done()
		defer func() { <-n.gate.places }()
		defer cancel()
		err := errExited
		defer func() { answer <- err }()
		err = protect(func() error { return n.gate.allow(ctx, r) })
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-answer: // it has just come
		return err
	default:
		return context.Cause(ctx)
	}
}
