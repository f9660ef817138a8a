package p2ptest

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"github.com/sdp2p/p2p"
)

// testGate: a listener asks the node about inbound connections, and about no
// others. A refused peer gets neither a connection nor a stream.
func (h HookTest) testGate(t *testing.T) {
	var asked, served atomic.Int32
	refusal := errors.New("not today")
	d := h.newDuoWith(t, p2p.Config{Allow: func(_ context.Context, r p2p.Request) error {
		if r.Action == p2p.Connect {
			t.Error("the dialing node is asked")
		}
		return nil
	}}, p2p.Config{
		Handler: p2p.HandlerFunc(func(context.Context, *p2p.Stream) error {
			served.Add(1)
			return nil
		}),
		Allow: func(_ context.Context, r p2p.Request) error {
			if r.Action == p2p.Connect {
				asked.Add(1)
			}
			return refusal
		},
	})
	if r := d.a.Identity(); d.b.Revoked(r) {
		t.Errorf("%v is revoked", r)
	}
	s, err := d.ab.NewStream(soon(t))
	if err == nil { // the dialer may learn of it later
		defer s.Reset(p2p.ErrCanceled)
		err = exchange(s)
	}
	if err == nil || err == io.EOF {
		t.Errorf("a stream to a node that refuses the connection: %v", err)
	}
	until(t, d.a, "the connection is gone", func() bool { return !d.ab.Connected() })
	if asked.Load() == 0 {
		t.Error("the listener did not ask about an inbound connection")
	}
	if served.Load() > 0 || d.ba.Connected() {
		t.Error("a refused peer is connected")
	}
}

// testRevoke: a revoked peer loses its connection and its streams, and gets
// none until it is reinstated.
func (h HookTest) testRevoke(t *testing.T) {
	d := h.newDuo(t, echoes, echoes)
	s := newStream(t, d.ab)
	mustExchange(t, s)
	d.b.Revoke(d.a.Identity())
	if n, err := s.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("read from a peer that has revoked us: %d bytes, %v", n, err)
	}
	until(t, d.b, "the connection is gone", func() bool { return !d.ba.Connected() })
	until(t, d.a, "the connection is gone", func() bool { return !d.ab.Connected() })
	if _, err := d.ba.NewStream(soon(t)); !errors.Is(err, p2p.ErrRevoked) {
		t.Errorf("a stream to a peer that is revoked: %v; want %v", err, p2p.ErrRevoked)
	}
	if s, err := d.ab.NewStream(soon(t)); err == nil {
		if err := exchange(s); err == nil || err == io.EOF {
			t.Errorf("a stream from a peer that is revoked: %v", err)
		}
		s.Reset(p2p.ErrCanceled)
	}
	d.b.Reinstate(d.a.Identity())
	s, err := d.ba.NewStream(soon(t))
	if err != nil {
		t.Fatalf("a stream to a peer that was reinstated: %v", err)
	}
	defer s.Reset(p2p.ErrCanceled)
	mustExchange(t, s)
}
