package library_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

const day = 24 * time.Hour

// sameSecret wants devices to have the same secret and number.
func sameSecret(t testing.TB, devices ...*device) {
	t.Helper()
	for _, d := range devices[1:] {
		require.True(t, devices[0].lib.Record().Secret == d.lib.Record().Secret)
		require.Equal(t, devices[0].lib.Record().Number, d.lib.Record().Number)
	}
}

// with returns the device with another secret, as it had it at another time.
func (d *device) with(t testing.TB, to *device, s library.Secret) error {
	_, session := d.stream(t, to.id.Remote())
	c, err := tunnel.Open(t.Context(), session, tunnel.NewCredential(d.lib.ID(), d.instance, s),
		tunnel.Member{Instance: to.instance.Remote(), Node: to.id.Remote()})
	if err != nil {
		return err
	}
	if _, err := c.Write([]byte("\x04echo")); err != nil {
		return err
	}
	return talk(c, "hello")
}

// exchange opens a tunnel to where secrets are exchanged.
func (d *device) exchange(t testing.TB, to *device) *tunnel.Conn {
	c := d.raw(t, to, nil)
	_, err := c.Write([]byte("\x0csdp2p/secret"))
	require.NoError(t, err)
	return c
}

// push does what a member may do that does not keep to this implementation: it tells another one what the secret is. It returns
// what is answered.
func (d *device) push(t testing.TB, to *device, message []byte) ([]byte, error) {
	pass(time.Second) // five a second are too many
	c := d.exchange(t, to)
	defer c.Close()
	if _, err := c.Write(message); err != nil {
		return nil, err
	}
	if err := c.CloseWrite(); err != nil {
		return nil, err
	}
	return io.ReadAll(c)
}

func saying(number uint64, s library.Secret) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, number), s[:]...)
}

// A new secret reaches the members that are there at once, others when they come; until then the former one lets them in,
// and lets nobody in who was removed, or has the new one. Tunnels that are open stay so.
func TestRotate(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c, removed := newDevice(), newDevice(), newDevice(), newDevice()
		r := library.Record{ID: uuid.New(), Secret: library.NewSecret()}
		running(t, network, r, a, b, removed)
		require.NoError(t, a.lib.AddMember(c.member()))
		require.NoError(t, b.lib.AddMember(c.member()))
		require.NoError(t, a.lib.RemoveMember(removed.instance.Remote()))
		require.NoError(t, b.lib.RemoveMember(removed.instance.Remote()))
		open := b.open(t, a)
		touch(t, open)
		require.NoError(t, a.lib.Rotate())
		pass(time.Second)
		rotated := a.lib.Record()
		require.NotEqual(t, r.Secret, rotated.Secret)
		require.EqualValues(t, 1, rotated.Number)
		sameSecret(t, a, b)
		require.Equal(t, []identity.RemoteIdentity{c.instance.Remote()}, rotated.Former[0].Members)
		require.True(t, rotated.Secret == b.records()[len(b.records())-1].Secret)
		require.True(t, rotated.Secret == a.records()[len(a.records())-1].Secret)
		touch(t, open)
		require.NoError(t, a.echo(t, b))
		require.NoError(t, b.echo(t, a))
		require.ErrorIs(t, b.with(t, a, r.Secret), tunnel.ErrHandshake, "b has the new one")
		require.ErrorIs(t, removed.with(t, a, r.Secret), tunnel.ErrHandshake)
		require.ErrorIs(t, removed.with(t, a, rotated.Secret), tunnel.ErrHandshake)
		require.ErrorIs(t, removed.with(t, b, r.Secret), tunnel.ErrHandshake)
		require.True(t, r.Secret == removed.lib.Record().Secret)

		pass(6 * day)
		require.NoError(t, b.echo(t, a))
		c.start(t, network, p2p.Config{})
		c.add(t, r, a, b)
		pass(2 * time.Minute)
		sameSecret(t, a, b, c)
		for _, d := range []*device{a, b, c} {
			require.Nil(t, d.lib.Record().Former, "all have it")
		}
		require.NoError(t, c.echo(t, b))
		require.NoError(t, a.echo(t, c))
		require.ErrorIs(t, removed.with(t, c, r.Secret), tunnel.ErrHandshake)
	})
}

// The former secret is accepted for 7 days, and not a second longer.
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
			require.True(t, before == c.lib.Record().Secret, "it has to be paired again")
			require.Nil(t, a.lib.Record().Former, "it is not kept")
			require.Equal(t, a.lib.Record(), a.records()[len(a.records())-1])
		})
	}
}

// Two members make a new secret at the same time, and meet later: all end up with the same.
func TestRotateTogether(t *testing.T) {
	for range 8 { // whichever is the greater one
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			a, b, c := newDevice(), newDevice(), newDevice()
			running(t, network, library.Record{ID: uuid.New(), Secret: library.NewSecret()}, a, b, c)
			for _, pair := range [][2]*device{{a, b}, {a, c}, {b, c}} {
				network.Link(pair[0].id.Remote(), pair[1].id.Remote()).Cut()
			}
			pass(time.Second)
			require.NoError(t, a.lib.Rotate())
			pass(time.Hour)
			require.NoError(t, b.lib.Rotate())
			greater := a.lib.Record().Secret
			if s := b.lib.Record().Secret; bytes.Compare(s[:], greater[:]) > 0 {
				greater = s
			}
			for _, pair := range [][2]*device{{a, b}, {a, c}, {b, c}} {
				pass(time.Minute)
				network.Link(pair[0].id.Remote(), pair[1].id.Remote()).Restore()
			}
			pass(5 * time.Minute)
			sameSecret(t, a, b, c)
			require.True(t, greater == a.lib.Record().Secret)
			for _, d := range []*device{a, b, c} {
				require.Nil(t, d.lib.Record().Former)
			}
			require.NoError(t, a.echo(t, b))
			require.NoError(t, b.echo(t, c))
			require.NoError(t, c.echo(t, a))
		})
	}
}

// What a member says counts only if it is newer: a greater number, or of equal ones the greater secret.
func TestOldSecrets(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		first := a.lib.Record().Secret
		for range 3 {
			require.NoError(t, a.lib.Rotate())
			pass(2 * time.Minute)
		}
		sameSecret(t, a, b)
		at := a.lib.Record()
		require.EqualValues(t, 3, at.Number)
		less, more := at.Secret, at.Secret
		less[31]--
		more[31]++
		kept := len(a.records())
		for name, message := range map[string][]byte{
			"of old": saying(0, first), "an old number": saying(2, more), "less": saying(3, less), "the same": saying(3, at.Secret),
			"none": saying(3, library.Secret{}),
		} {
			answer, err := b.push(t, a, message)
			require.NoError(t, err, name)
			require.Equal(t, saying(3, at.Secret), answer, name)
			require.True(t, at.Secret == a.lib.Record().Secret, name)
		}
		for name, message := range map[string][]byte{
			"no secret": saying(4, library.Secret{}), "too far": saying(1<<40, more), "the last": saying(1<<64-1, more), "nothing": nil, "half": saying(4, more)[:39],
		} {
			_, err := b.push(t, a, message)
			require.ErrorIs(t, err, p2p.ErrHandlerFailed, name)
			require.True(t, at.Secret == a.lib.Record().Secret, name)
		}
		require.Len(t, a.records(), kept)

		_, err := b.push(t, a, saying(3, more))
		require.NoError(t, err)
		require.True(t, more == a.lib.Record().Secret)
		require.Len(t, a.records(), kept+1)
		require.ErrorIs(t, a.echo(t, b), tunnel.ErrHandshake, "b has said that it has the new one")
	})
}

// A member that opens an exchange and says nothing has 10 s. Meanwhile others are served.
func TestExchangeStalls(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		c := b.exchange(t, a)
		began := time.Now()
		synctest.Wait() // a has accepted it, with the secret of before
		require.NoError(t, a.lib.Rotate())
		pass(time.Second)
		sameSecret(t, a, b)
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrHandlerFailed)
		require.Equal(t, 10*time.Second, time.Since(began))
	})
}

// A deaf is a member that gives tunnels, and says nothing.
type deaf struct {
	d  *device
	to tunnel.Member
}

func (m deaf) Credentials() []*tunnel.Credential { return []*tunnel.Credential{m.d.credential()} }

func (m deaf) Member(*tunnel.Credential, [32]byte) (tunnel.Member, bool) { return m.to, true }

func (m deaf) Knows(identity.RemoteIdentity) bool { return true }

func (m deaf) Allow(context.Context, uuid.UUID, tunnel.Member) bool { return true }

// A member that does not take the secret keeps the others waiting for no longer than 10 s.
func TestHandOutStalls(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, stalls := newDevice(), newDevice(), newDevice()
		r := library.Record{ID: uuid.New(), Secret: library.NewSecret()}
		a.start(t, network, p2p.Config{})
		b.start(t, network, p2p.Config{})
		b.add(t, r, a)
		stalls.hook()
		stalls.add(t, r, a)
		responder := tunnel.NewResponder(deaf{stalls, tunnel.Member{Instance: a.instance.Remote(), Node: a.id.Remote()}}, tunnel.Limits{})
		opened := 0
		var mux p2p.Mux
		mux.HandleFunc(library.Route, p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
			session, err := library.Session(stalls.P2P, s)
			require.NoError(t, err)
			c, err := responder.Accept(ctx, session)
			if err != nil {
				return err
			}
			opened++
			_, err = io.Copy(io.Discard, c)
			<-ctx.Done()
			return err
		})
		stalls.P2P = network.Start(t, p2p.Config{Identity: stalls.id, Handler: &mux})
		pass(time.Second)
		a.add(t, r, stalls, b)
		require.NoError(t, a.lib.Rotate())
		pass(11 * time.Second)
		require.Equal(t, 1, opened)
		sameSecret(t, a, b)
	})
}

// Changed is called by one goroutine at a time, however long it takes.
func TestChangedAlone(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		var calls, busy atomic.Int32
		a.cfg.Changed = func(library.Record) {
			calls.Add(1)
			if busy.Add(1) > 1 {
				t.Error("two at a time")
			}
			for range 1000 {
				runtime.Gosched()
			}
			busy.Add(-1)
		}
		running(t, network, library.Record{ID: uuid.New()}, a, b, c)
		network.Link(b.id.Remote(), c.id.Remote()).Cut()
		require.NoError(t, b.lib.Rotate())
		require.NoError(t, c.lib.Rotate())
		pass(5 * time.Minute)
		sameSecret(t, a, b, c)
		require.GreaterOrEqual(t, calls.Load(), int32(2))
	})
}

// An exchange that the network cuts is made up for when the member is back.
func TestExchangeCut(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		link := network.Link(a.id.Remote(), b.id.Remote())
		require.NoError(t, a.echo(t, b))
		for delay := time.Duration(0); delay < 8; delay++ {
			link.SetDelay(time.Second)
			pass(time.Minute)
			require.NoError(t, a.lib.Rotate())
			time.Sleep(delay*time.Second + 500*time.Millisecond)
			link.Cut()
			pass(time.Minute)
			link.Restore()
			link.SetDelay(0)
			pass(3 * time.Minute)
			sameSecret(t, a, b)
			require.NoError(t, a.echo(t, b))
			require.NoError(t, b.echo(t, a))
			require.Nil(t, a.lib.Record().Former)
			require.Nil(t, b.lib.Record().Former)
		}
	})
}

// Changed gets every change in order: the last record that it had is the library's, and no earlier one is newer.
func TestChanged(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		running(t, network, library.Record{ID: uuid.New()}, a, b, c)
		for i := range 12 {
			require.NoError(t, []*device{a, b, c}[i%3].lib.Rotate())
			pass(2 * time.Minute)
		}
		pass(5 * time.Minute)
		sameSecret(t, a, b, c)
		for _, d := range []*device{a, b, c} {
			kept := d.records()
			require.NotEmpty(t, kept)
			require.Equal(t, d.lib.Record(), kept[len(kept)-1])
			for i, r := range kept[1:] {
				require.GreaterOrEqual(t, r.Number, kept[i].Number)
				if r.Secret == kept[i].Secret {
					require.LessOrEqual(t, pending(r), pending(kept[i]))
				}
			}
		}
	})
}

// What was kept is enough to go on with, whenever the device goes off.
func TestKept(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		r := library.Record{ID: uuid.New(), Secret: library.NewSecret()}
		a.start(t, network, p2p.Config{})
		b.start(t, network, p2p.Config{})
		a.add(t, r, b, c)
		b.add(t, r, a, c)
		pass(time.Second)
		require.NoError(t, a.lib.Rotate())
		pass(time.Second)
		sameSecret(t, a, b)
		a.stop(t)
		b.stop(t)
		kept := b.records()[len(b.records())-1]
		b.start(t, network, p2p.Config{}) // after its end
		b.load(t, kept)
		c.start(t, network, p2p.Config{})
		c.add(t, r, a, b)
		pass(2 * time.Minute)
		sameSecret(t, b, c)
		require.Equal(t, []identity.RemoteIdentity{a.instance.Remote()}, c.lib.Record().Former[0].Members, "who knows what a has")
		kept = a.records()[len(a.records())-1]
		a.start(t, network, p2p.Config{})
		a.load(t, kept)
		pass(5 * time.Minute)
		require.NoError(t, a.echo(t, b))
		require.NoError(t, c.echo(t, a))
		for _, d := range []*device{a, b, c} {
			require.Nil(t, d.lib.Record().Former)
		}
	})
}

// pending counts who may use a former secret.
func pending(r library.Record) (n int) {
	for _, f := range r.Former {
		n += len(f.Members)
	}
	return n
}
