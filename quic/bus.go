package quic

import "github.com/libp2p/go-libp2p/core/event"

// A silentBus is the swarm's event bus, to which nobody listens. It is an emitter as well.
type silentBus struct {
	event.Bus // nil: nothing else is called
}

// Emitter returns one that emits nothing.
func (b silentBus) Emitter(any, ...event.EmitterOpt) (event.Emitter, error) { return b, nil }

// Emit does nothing.
func (silentBus) Emit(any) error { return nil }

// Close does nothing.
func (silentBus) Close() error { return nil }
