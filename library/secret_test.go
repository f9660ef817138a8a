package library_test

import (
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

const day = 24 * time.Hour

// sameSecret requires that devices have the same secret and number.
func sameSecret(t testing.TB, devices ...*device) {
	t.Helper()
	for _, d := range devices[1:] {
		require.True(t, devices[0].lib.Record().Secret == d.lib.Record().Secret)
		require.Equal(t, devices[0].lib.Record().Number, d.lib.Record().Number)
	}
}

// with opens a tunnel to another device with a given secret, such as one that
// this device had before.
func (d *device) with(t testing.TB, to *device, s library.Secret) error {
	_, session := d.stream(t, to.id.Remote())
	c, err := tunnel.Open(t.Context(), session, tunnel.NewCredential(d.lib.ID(), d.instance, s.Bytes()),
		tunnel.Member{Instance: to.own(), Node: to.id.Remote()})
	if err != nil {
		return err
	}
	if _, err := c.Write([]byte("\x04echo")); err != nil {
		return err
	}
	return talk(c, "hello")
}

// route opens a tunnel to one of the library's own routes, by hand.
func (d *device) route(t testing.TB, to *device, name string) *tunnel.Conn {
	t.Helper()
	c := d.raw(t, to, nil)
	t.Cleanup(func() { c.Abort(io.EOF) })
	_, err := c.Write(append([]byte{byte(len(name))}, name...))
	require.NoError(t, err)
	return c
}

// push sends another device a secret, as a member with a hostile implementation
// might. It returns the answer.
func (d *device) push(t testing.TB, to *device, message []byte) ([]byte, error) {
	pass(time.Second) // a member may open five tunnels a second
	c := d.route(t, to, "sdp2p/secret")
	if _, err := c.Write(message); err != nil {
		return nil, err
	}
	if err := c.CloseWrite(); err != nil {
		return nil, err
	}
	return io.ReadAll(c)
}

// pushSecret is push with a secret, which it also decodes.
func (d *device) pushSecret(t testing.TB, to *device, s library.Secret) (library.Secret, error) {
	b := s.Bytes()
	answer, err := d.push(t, to, b[:])
	if err == nil {
		require.Len(t, answer, len(b))
		s = library.SecretOf([32]byte(answer))
	}
	return s, err
}

// TestRotate: a new secret reaches the members that are available at once, and
// others when they come. Until then, the former secret lets them in, but no
// removed member. Open tunnels stay open.
func TestRotate(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c, removed := newDevice(), newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		for _, d := range []*device{b, c, removed} {
			of.join(d, library.RoleMember)
		}
		r := of.record()
		of.run(network, a, b, removed)
		open := b.open(t, a)
		touch(t, open)
		require.ErrorIs(t, b.lib.Rotate(), library.ErrNotAdmin)
		require.NoError(t, a.remove(removed))
		pass(time.Second)
		rotated := a.lib.Record()
		require.NotEqual(t, r.Secret, rotated.Secret)
		require.EqualValues(t, 2, rotated.Number)
		sameSecret(t, a, b)
		for _, d := range []*device{a, b} {
			require.True(t, rotated.Secret == d.records()[len(d.records())-1].Secret)
			require.Len(t, d.lib.Record().Former, 1)
			require.ErrorIs(t, removed.with(t, d, r.Secret), tunnel.ErrHandshake)
			require.ErrorIs(t, removed.with(t, d, rotated.Secret), tunnel.ErrHandshake)
		}
		touch(t, open)
		require.NoError(t, a.echo(t, b))
		require.NoError(t, b.echo(t, a))
		require.True(t, r.Secret == removed.lib.Record().Secret)

		pass(6 * day)
		require.NoError(t, b.echo(t, a))
		c.start(t, network, p2p.Config{})
		c.load(t, r)
		pass(2 * time.Minute)
		sameSecret(t, a, b, c)
		require.NoError(t, c.echo(t, b))
		require.NoError(t, a.echo(t, c))
		require.ErrorIs(t, removed.with(t, c, r.Secret), tunnel.ErrHandshake)
		pass(8 * day)
		for _, d := range []*device{a, b, c} {
			require.Nil(t, d.lib.Record().Former)
		}
	})
}

// TestRotateOnceADay: a device replaces the secret once in 24 hours, and once
// more within them after a removal. Any further attempt fails with ErrTooSoon,
// and nothing changes.
func TestRotateOnceADay(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice()
		a.start(t, network, p2p.Config{})
		others := newDevices(4)
		a.add(t, others...)
		number := func() uint64 { return a.lib.Record().Number }
		keep := library.RemoveOptions{KeepSecret: true}
		require.NoError(t, a.lib.Rotate())
		before := a.lib.Record()
		require.ErrorIs(t, a.lib.Rotate(), library.ErrTooSoon)
		require.Equal(t, before, a.lib.Record())
		require.NoError(t, a.lib.Remove(others[0].own(), keep))
		require.EqualValues(t, 2, number())
		require.NoError(t, a.lib.Rotate())
		require.EqualValues(t, 3, number())
		require.ErrorIs(t, a.lib.Rotate(), library.ErrTooSoon)
		require.NoError(t, a.lib.Remove(others[1].own(), keep))
		require.ErrorIs(t, a.lib.Rotate(), library.ErrTooSoon, "once more, not twice")
		time.Sleep(day - time.Second)
		require.ErrorIs(t, a.lib.Rotate(), library.ErrTooSoon)
		time.Sleep(time.Second)
		require.NoError(t, a.lib.Rotate())
		require.ErrorIs(t, a.lib.Rotate(), library.ErrTooSoon, "the removal was earlier")
		time.Sleep(day)
		require.NoError(t, a.lib.Rotate())
		require.NoError(t, a.remove(others[2]))
		require.EqualValues(t, 6, number())
	})
}

// TestRotateIsMadeUpFor: a removal that comes too soon after another one
// replaces the secret once it may, even after a restart; unless the user wants
// to keep the secret.
func TestRotateIsMadeUpFor(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice()
		a.start(t, network, p2p.Config{})
		others := newDevices(4)
		a.add(t, others...)
		require.NoError(t, a.lib.Rotate())
		require.NoError(t, a.remove(others[0]))
		require.EqualValues(t, 3, a.lib.Record().Number)
		require.NoError(t, a.remove(others[1]))
		require.EqualValues(t, 3, a.lib.Record().Number)
		r := a.lib.Record()
		a.stop(t)
		pass(time.Hour)
		a.start(t, network, p2p.Config{})
		a.load(t, r)
		pass(23*time.Hour - time.Second)
		require.EqualValues(t, 3, a.lib.Record().Number)
		pass(time.Second)
		require.EqualValues(t, 4, a.lib.Record().Number)
		require.NoError(t, a.lib.Remove(others[2].own(), library.RemoveOptions{KeepSecret: true}))
		pass(8 * day)
		require.EqualValues(t, 4, a.lib.Record().Number)
	})
}

// TestFormerTime: the former secret is accepted for 7 days, and not a second
// longer.
func TestFormerTime(t *testing.T) {
	for after, in := range map[time.Duration]bool{7*day - time.Second: true, 7 * day: false, 30 * day: false} {
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			a, c := pair(t, network)
			before := a.lib.Record().Secret
			link := network.Link(a.id.Remote(), c.id.Remote())
			link.Cut()
			pass(time.Second)
			require.NoError(t, a.lib.Rotate())
			time.Sleep(after)
			link.Restore()
			if in {
				synctest.Wait()
				require.NoError(t, c.echo(t, a))
				pass(500 * time.Millisecond)
				sameSecret(t, a, c)
				return
			}
			synctest.Wait()
			require.ErrorIs(t, c.echo(t, a), tunnel.ErrHandshake)
			require.ErrorIs(t, a.echo(t, c), tunnel.ErrHandshake)
			pass(time.Hour)
			require.True(t, before == c.lib.Record().Secret, "it never learned the new secret, and must be paired again")
			require.Nil(t, a.lib.Record().Former, "the former secret is not kept")
			require.Equal(t, a.lib.Record(), a.records()[len(a.records())-1])
		})
	}
}

// TestRotateTogether: two admins replace the secret at the same time, and meet
// later. All devices end up with the secret whose statement has the smaller
// hash, some of them a day later, and can talk all the time.
func TestRotateTogether(t *testing.T) {
	for range 4 { // so that each is the smaller one at times
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			a, b, c := newDevice(), newDevice(), newDevice()
			of := newCharter(t, a)
			of.join(b, library.RoleAdmin)
			of.join(c, library.RoleMember)
			of.run(network, a, b, c)
			links := [][2]*device{{a, b}, {a, c}, {b, c}}
			for _, pair := range links {
				network.Link(pair[0].id.Remote(), pair[1].id.Remote()).Cut()
			}
			pass(time.Second)
			require.NoError(t, a.lib.Rotate())
			pass(time.Hour)
			require.NoError(t, b.lib.Rotate())
			for _, pair := range links {
				pass(time.Minute)
				network.Link(pair[0].id.Remote(), pair[1].id.Remote()).Restore()
			}
			pass(10 * time.Minute)
			for _, pair := range links {
				require.NoError(t, pair[0].echo(t, pair[1]))
				require.NoError(t, pair[1].echo(t, pair[0]))
			}
			pass(26 * time.Hour)
			sameSecret(t, a, b, c)
			secrets := a.lib.Roster().Secrets
			require.Equal(t, secrets[len(secrets)-1].Hash, roster.HashSecret(c.lib.Record().Secret.Bytes()))
			require.Len(t, secrets, 3)
		})
	}
}

// TestSecretStays: a secret whose statement no longer counts stays in use until
// a statement with the next number counts; no member can take the device back
// to an older secret.
func TestSecretStays(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		of.join(c, library.RoleMember)
		first := of.copied().record()
		honest := of.roster.Last(b.own())
		of.rest.Former = []library.Former{{Secret: first.Secret, Until: time.Now().Add(6 * day)}}
		of.secret(b, library.NewSecret())
		of.run(network, a)
		require.NoError(t, a.lib.Remove(b.own(), library.RemoveOptions{Last: honest.Hash, KeepSecret: true}))
		require.Len(t, a.lib.Roster().Secrets, 1)
		c.start(t, network, p2p.Config{})
		c.load(t, first)
		streams := network.Link(a.Identity(), c.Identity()).Stats().Streams
		pass(2 * day)
		require.Less(t, network.Link(a.Identity(), c.Identity()).Stats().Streams, streams+2*60, "each side tries once an hour")
		require.True(t, of.rest.Secret == a.lib.Record().Secret)
		require.True(t, first.Secret == c.lib.Record().Secret)
		require.NoError(t, c.echo(t, a))
		require.NoError(t, a.lib.Rotate())
		pass(time.Minute)
		sameSecret(t, a, c)
		require.EqualValues(t, 2, c.lib.Record().Number)
	})
}

// TestUncountedSecrets: a secret from a member counts only together with a
// statement that counts.
func TestUncountedSecrets(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, admin := newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleMember)
		of.join(admin, library.RoleAdmin)
		first, second, present := of.rest.Secret, library.NewSecret(), library.NewSecret()
		of.secret(a, second)
		of.secret(admin, present)
		far, never := library.NewSecret(), library.NewSecret()
		of.sign(admin, roster.Secret{Number: 9, Hash: roster.HashSecret(far.Bytes())})
		of.sign(admin, roster.Secret{Number: 1<<64 - 1, Hash: roster.HashSecret(far.Bytes())})
		of.sign(admin, roster.Secret{Number: 0, Hash: roster.HashSecret(far.Bytes())})
		of.sign(b, roster.Secret{Number: 4, Hash: roster.HashSecret(never.Bytes())})
		of.run(network, a, b)
		require.EqualValues(t, 3, a.lib.Record().Number)
		kept := len(a.records())
		for name, s := range map[string]library.Secret{
			"of old": first, "the one before": second, "the same": present, "none": {}, "without a statement": library.NewSecret(),
			"too far": far, "of a member": never,
		} {
			answer, err := b.pushSecret(t, a, s)
			require.NoError(t, err, name)
			require.True(t, present == answer, name)
			require.True(t, present == a.lib.Record().Secret, name)
			b.pushSecret(t, a, present)
		}
		for name, message := range map[string][]byte{"nothing": nil, "half": make([]byte, 31)} {
			_, err := b.push(t, a, message)
			require.ErrorIs(t, err, p2p.ErrHandlerFailed, name)
		}
		require.Len(t, a.records(), kept)
	})
}

// TestExchangeStalls: a member that opens an exchange and stays silent is cut
// off after 10 s. Meanwhile, others are served.
func TestExchangeStalls(t *testing.T) {
	for _, route := range []string{"sdp2p/secret", "sdp2p/roster", "sdp2p/ask"} {
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			a, b := pair(t, network)
			c := b.route(t, a, route)
			began := time.Now()
			synctest.Wait() // a has accepted it, with the previous secret
			require.NoError(t, a.lib.Rotate())
			pass(time.Second)
			sameSecret(t, a, b)
			_, err := c.Read(make([]byte, 1))
			require.ErrorIs(t, err, p2p.ErrHandlerFailed)
			require.Equal(t, 10*time.Second, time.Since(began))
		})
	}
}

// TestChangedAlone: only one goroutine at a time calls Changed, however long it
// takes.
func TestChangedAlone(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		var calls, busy atomic.Int32
		a.cfg.Changed = func(library.Record) error {
			calls.Add(1)
			if busy.Add(1) > 1 {
				t.Error("Changed was called twice at the same time")
			}
			for range 1000 {
				runtime.Gosched()
			}
			busy.Add(-1)
			return nil
		}
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		of.join(c, library.RoleAdmin)
		of.run(network, a, b, c)
		network.Link(b.id.Remote(), c.id.Remote()).Cut()
		require.NoError(t, b.lib.Rotate())
		require.NoError(t, c.lib.Rotate())
		pass(26 * time.Hour)
		sameSecret(t, a, b, c)
		require.GreaterOrEqual(t, calls.Load(), int32(3))
	})
}

// TestExchangeCut: an exchange that the network cuts is made up for when the
// member is back.
func TestExchangeCut(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		link := network.Link(a.id.Remote(), b.id.Remote())
		require.NoError(t, a.echo(t, b))
		for after := time.Duration(0); after < 20; after++ {
			link.SetDelay(300 * time.Millisecond)
			pass(time.Minute)
			require.NoError(t, a.lib.Rotate())
			time.Sleep(after*300*time.Millisecond + 150*time.Millisecond)
			link.Cut()
			pass(time.Minute)
			link.Restore()
			link.SetDelay(0)
			pass(3 * time.Minute)
			sameSecret(t, a, b)
			require.NoError(t, a.echo(t, b))
			require.NoError(t, b.echo(t, a))
			pass(day)
		}
	})
}

// TestChanged: Changed gets every change in order: the last record that it gets
// is the library's, and numbers never go down.
func TestChanged(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		of.join(c, library.RoleAdmin)
		of.run(network, a, b, c)
		for i := range 12 {
			require.NoError(t, []*device{a, b, c}[i%3].lib.Rotate())
			pass(25 * time.Hour)
		}
		sameSecret(t, a, b, c)
		for _, d := range []*device{a, b, c} {
			kept := d.records()
			require.GreaterOrEqual(t, len(kept), 12)
			require.Equal(t, d.lib.Record(), kept[len(kept)-1])
			for i, r := range kept[1:] {
				require.GreaterOrEqual(t, r.Number, kept[i].Number)
				require.GreaterOrEqual(t, len(r.Statements), len(kept[i].Statements))
			}
		}
	})
}

// TestKept: a device can go on from its stored record, at whatever moment it
// stopped.
func TestKept(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleMember)
		of.join(c, library.RoleMember)
		of.run(network, a, b)
		require.NoError(t, a.lib.Rotate())
		pass(time.Second)
		sameSecret(t, a, b)
		a.stop(t)
		b.stop(t)
		kept := b.records()[len(b.records())-1]
		b.start(t, network, p2p.Config{}) // after the time limit
		b.load(t, kept)
		c.start(t, network, p2p.Config{})
		c.load(t, of.record())
		pass(2 * time.Minute)
		sameSecret(t, b, c)
		kept = a.records()[len(a.records())-1]
		a.start(t, network, p2p.Config{})
		a.load(t, kept)
		pass(5 * time.Minute)
		require.NoError(t, a.echo(t, b))
		require.NoError(t, c.echo(t, a))
	})
}
