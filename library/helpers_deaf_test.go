package library_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

// A deaf is a member that accepts tunnels but never answers in them.
type deaf struct {
	d  *device
	to tunnel.Member
}

func (m deaf) Credentials() []*tunnel.Credential { return []*tunnel.Credential{m.d.credential()} }

func (m deaf) Member(*tunnel.Credential, [32]byte) (tunnel.Member, bool) { return m.to, true }

func (m deaf) Knows(identity.RemoteIdentity) bool { return true }

func (m deaf) Allow(context.Context, uuid.UUID, tunnel.Member) bool { return true }

// startDeaf starts a device that accepts tunnels from another one but never
// answers in them. It returns a counter of the tunnels.
func (d *device) startDeaf(t *testing.T, network *p2ptest.Network, r library.Record, to *device) *atomic.Int32 {
	d.hook()
	d.load(t, r)
	responder := tunnel.NewResponder(deaf{d, tunnel.Member{Instance: to.own(), Node: to.id.Remote()}}, tunnel.Limits{})
	var opened atomic.Int32
	var mux p2p.Mux
	mux.HandleFunc(library.Route, p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		session, err := library.Session(d.P2P, s)
		require.NoError(t, err)
		c, err := responder.Accept(ctx, session)
		if err != nil {
			return err
		}
		opened.Add(1)
		_, err = io.Copy(io.Discard, c)
		<-ctx.Done()
		return err
	})
	d.P2P = network.Start(t, p2p.Config{Identity: d.id, Handler: &mux})
	return &opened
}

// startAnswerer starts a device that answers in tunnels as a test wants.
func (d *device) startAnswerer(t *testing.T, network *p2ptest.Network, r library.Record, to *device, answer func(*tunnel.Conn)) {
	d.hook()
	d.load(t, r)
	responder := tunnel.NewResponder(deaf{d, tunnel.Member{Instance: to.own(), Node: to.id.Remote()}}, plenty)
	var mux p2p.Mux
	mux.HandleFunc(library.Route, p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		session, err := library.Session(d.P2P, s)
		if err != nil {
			return err
		}
		c, err := responder.Accept(ctx, session)
		if err != nil {
			return err
		}
		var route proto.Route
		if err := route.DecodeFrom(proto.NewDecoder(c)); err != nil {
			return err
		}
		answer(c)
		return nil
	})
	d.P2P = network.Start(t, p2p.Config{Identity: d.id, Handler: &mux})
}
