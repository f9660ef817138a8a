package pairing_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
	"github.com/sdp2p/p2p/tunnel"
)

// A device has a node with libraries and pairing.
type device struct {
	*p2p.P2P
	id        identity.Identity
	instance  identity.Identity // in the library that it has stored last
	libraries *library.Libraries
	pairing   *pairing.Pairing
	lib       *library.Library
	asked     []pairing.Device
	kept      []library.Record
	busy      int          // number of streams to refuse as busy
	keeps     func() error // if not nil, called when a record is stored
}

func newDevice() *device { return &device{id: identity.New()} }

// start starts the device's node, with hooks that let it reach others.
func (d *device) start(t testing.TB, name string, hooks ...p2p.Hook) *device {
	t.Helper()
	d.libraries = library.New(library.Config{})
	d.pairing = pairing.New(pairing.Config{Libraries: d.libraries})
	var mux p2p.Mux
	mux.Handle(library.Route, p2p.Anyone, d.libraries)
	mux.HandleFunc(pairing.Route, p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		if d.busy > 0 {
			d.busy--
			return p2p.ErrBusy
		}
		return d.pairing.ServeStream(ctx, s)
	})
	mux.Handle(pairing.CodeRoute, p2p.Anyone, d.pairing)
	var err error
	d.P2P, err = p2p.Start(t.Context(), p2p.Config{
		App: "pairing", Name: name, Identity: d.id, Handler: &mux, Logger: slog.New(slog.DiscardHandler),
		Hooks: append([]p2p.Hook{d.libraries, d.pairing}, hooks...),
	})
	require.NoError(t, err)
	t.Cleanup(func() { d.Shutdown(context.Background()) })
	return d
}

// create has the device found a library.
func (d *device) create(t testing.TB) *device {
	t.Helper()
	d.instance = identity.New()
	r := library.Record{ID: uuid.New(), Name: "Photos", Founder: d.instance.Remote(), Secret: library.NewSecret(), Number: 1}
	all := roster.New(r.ID, r.Founder)
	for _, body := range []roster.Body{
		roster.SignMove(d.id, r.Founder, r.ID, r.Founder, 1), roster.Secret{Number: 1, Hash: roster.HashSecret(r.Secret.Bytes())},
	} {
		_, err := all.Sign(d.instance, body, time.Now())
		require.NoError(t, err)
	}
	r.Statements = all.All()
	var err error
	d.lib, err = d.libraries.Add(r, d.instance)
	require.NoError(t, err)
	d.echo()
	return d
}

func (d *device) echo() {
	d.lib.Handle("echo", func(_ context.Context, c *tunnel.Conn) error {
		_, err := io.Copy(c, c)
		return err
	})
}

// yes acts as a user who agrees.
func (d *device) yes(_ context.Context, other pairing.Device) bool {
	d.asked = append(d.asked, other)
	return true
}

// no acts as a user who declines.
func (d *device) no(context.Context, pairing.Device) bool { return false }

// silent acts as a user who does not answer.
func (d *device) silent(ctx context.Context, _ pairing.Device) bool {
	<-ctx.Done()
	return true
}

func (d *device) keep(r library.Record, instance identity.Identity) error {
	if d.keeps != nil {
		if err := d.keeps(); err != nil {
			return err
		}
	}
	d.kept, d.instance = append(d.kept, r), instance
	return nil
}

// joining returns the device's configuration for joining.
func (d *device) joining(confirm pairing.ConfirmFunc) pairing.JoinConfig {
	return pairing.JoinConfig{Confirm: confirm, Keep: d.keep}
}

func (d *device) join(ctx context.Context, ticket pairing.Ticket, confirm pairing.ConfirmFunc) (err error) {
	d.lib, err = d.pairing.Join(ctx, ticket, d.joining(confirm))
	if err == nil {
		d.echo()
	}
	return err
}

// joinByCode joins by code, while another device's user invites.
func (d *device) joinByCode(t testing.TB, to *device, confirm pairing.ConfirmFunc) (err error) {
	t.Helper()
	peer, ok := d.Peer(to.Identity())
	require.True(t, ok)
	d.lib, err = d.pairing.JoinByCode(t.Context(), peer, d.joining(confirm))
	if err == nil {
		d.echo()
	}
	return err
}

// invite makes an invitation to which the user agrees.
func (d *device) invite(t testing.TB, cfg pairing.InviteConfig) *pairing.Invitation {
	t.Helper()
	if cfg.Confirm == nil {
		cfg.Confirm = d.yes
	}
	i, err := d.pairing.Invite(d.lib, cfg)
	require.NoError(t, err)
	return i
}

// talks requires that a device can open tunnels to another one.
func (d *device) talks(t testing.TB, to *device) {
	t.Helper()
	c, err := d.lib.Open(t.Context(), to.lib.Instance(), "echo")
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	b, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "hello", string(b))
}

// members requires that the devices are all members of one library, and that
// each of them knows it.
func members(t testing.TB, devices ...*device) {
	t.Helper()
	for _, d := range devices {
		r, first := d.lib.Record(), devices[0].lib.Record()
		require.Equal(t, first.ID, r.ID)
		require.Equal(t, first.Name, r.Name)
		require.True(t, first.Secret == r.Secret)
		require.Equal(t, first.Number, r.Number)
		view := d.lib.Roster()
		require.Len(t, view.Members, len(devices))
		for _, o := range devices {
			m, ok := view.Member(o.lib.Instance())
			require.True(t, ok)
			require.Equal(t, o.id.Remote(), m.Node)
			if o != devices[0] { // the founder was not added
				require.Equal(t, o.Metadata()["name"], m.Name)
			}
		}
	}
}

func bubble(t *testing.T, f func(t *testing.T, network *p2ptest.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, p2ptest.NewNetwork(p2ptest.Config{})) })
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// two starts a device with a library and one without.
func two(t testing.TB, network *p2ptest.Network) (a, b *device) {
	t.Helper()
	a = newDevice().start(t, "Alice's", network.Hooks()...).create(t)
	b = newDevice().start(t, "Bob's", network.Hooks()...)
	pass(time.Second)
	return a, b
}

// later calls a function after a time, before the test ends.
func later(t testing.TB, d time.Duration, f func()) {
	done := make(chan struct{})
	time.AfterFunc(d, func() { defer close(done); f() })
	t.Cleanup(func() { <-done })
}

// slowly acts as a user who agrees after a time.
func (d *device) slowly(after time.Duration) pairing.ConfirmFunc {
	return func(ctx context.Context, other pairing.Device) bool {
		select {
		case <-time.After(after):
			return d.yes(ctx, other)
		case <-ctx.Done():
			return true
		}
	}
}

// nothing requires that one device has joined nothing, and that the other one
// has admitted nobody.
func nothing(t testing.TB, a, b *device) {
	t.Helper()
	require.Empty(t, b.libraries.All())
	require.Len(t, a.lib.Roster().Members, 1)
}
