package library_test

import (
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

// know wants each of the devices to have all the others as members, and nobody to be told of anything any more.
func know(t testing.TB, devices ...*device) {
	t.Helper()
	for _, d := range devices {
		r := d.lib.Record()
		require.Len(t, r.Members, len(devices)-1)
		for _, o := range devices {
			if o != d {
				m, ok := r.Member(o.instance.Remote())
				require.True(t, ok)
				require.Equal(t, o.id.Remote(), m.Node)
			}
		}
		require.Empty(t, r.Untold)
	}
}

// Whoever is added by one member is known to all, over tunnels, and whoever comes later hears of it then.
func TestIntroduced(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, late, c := newDevice(), newDevice(), newDevice(), newDevice()
		r := library.Record{ID: uuid.New(), Secret: library.NewSecret()}
		running(t, network, r, a, b, late)
		late.stop(t)

		c.start(t, network, p2p.Config{Metadata: map[string]string{"name": "Carol's"}})
		c.load(t, a.lib.RecordFor(c.member()))
		added := c.member()
		added.Name = "Carol's"
		require.NoError(t, a.lib.AddMember(added))
		pass(time.Second)
		r = b.lib.Record()
		got, ok := r.Member(c.instance.Remote())
		require.True(t, ok)
		require.Equal(t, "Carol's", got.Name)
		require.Equal(t, time.Now().Unix()-1, got.Since)
		require.NoError(t, b.echo(t, c))
		require.NoError(t, c.echo(t, b))
		require.Contains(t, a.lib.Record().Untold, late.instance.Remote())

		late.start(t, network, p2p.Config{})
		late.add(t, r, a, b)
		pass(5 * time.Minute) // some were tried too early
		know(t, a, b, late, c)
		require.NoError(t, late.echo(t, c))
	})
}

// Who was removed here is not brought back by those who still have it, whichever way it was removed.
func TestRemovedStays(t *testing.T) {
	for name, remove := range map[string]func(t *testing.T, d *device, m library.Member){
		"RemoveMember": func(t *testing.T, d *device, m library.Member) {
			require.NoError(t, d.lib.RemoveMember(m.Instance))
		},
		"Update": func(t *testing.T, d *device, m library.Member) {
			r := d.lib.Record()
			r.Members = r.Members[:1]
			require.NotEqual(t, m, r.Members[0])
			require.NoError(t, d.lib.Update(r))
			require.NoError(t, d.lib.Update(library.Record{ID: r.ID, Members: r.Members})) // an app that keeps members only
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *p2ptest.Network) {
				a, b, lost, c := newDevice(), newDevice(), newDevice(), newDevice()
				r := library.Record{ID: uuid.New(), Secret: library.NewSecret()}
				running(t, network, r, a, b, lost)
				remove(t, a, lost.member())
				c.start(t, network, p2p.Config{})
				c.add(t, r, a, b, lost)
				require.NoError(t, b.lib.AddMember(c.member()))
				pass(time.Minute)
				r = a.lib.Record()
				_, ok := r.Member(c.instance.Remote())
				require.True(t, ok)
				_, ok = r.Member(lost.instance.Remote())
				require.False(t, ok)
				require.Equal(t, []identity.RemoteIdentity{lost.instance.Remote()}, a.lib.Record().Removed)
				require.Error(t, lost.echo(t, a))
				require.Empty(t, a.lib.Record().Untold)

				require.NoError(t, a.lib.AddMember(lost.member())) // the user wants it back
				require.Empty(t, a.lib.Record().Removed)
				pass(time.Minute)
				require.NoError(t, lost.echo(t, a))
			})
		})
	}
}

// A node that has a new instance is known by that one; by the later one, whoever is told first.
func TestNewInstance(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		r := library.Record{ID: uuid.New(), Secret: library.NewSecret()}
		running(t, network, r, a, b, c)
		before := c.member()
		require.NoError(t, c.libraries.Remove(r.ID))
		c.instance = identity.New()
		c.add(t, r, a, b)
		require.NoError(t, a.lib.AddMember(c.member()))
		pass(time.Minute)
		know(t, a, b, c)
		for _, d := range []*device{a, b} {
			require.Equal(t, []identity.RemoteIdentity{before.Instance}, d.lib.Record().Removed)
		}
		require.NoError(t, b.echo(t, c))
	})
}

// say opens the route for lists by hand, and writes there.
func (d *device) say(t *testing.T, to *device, b []byte) *tunnel.Conn {
	t.Helper()
	c := d.raw(t, to, nil)
	t.Cleanup(func() { c.Abort(io.EOF) })
	const route = "sdp2p/members"
	_, err := c.Write(append(append([]byte{byte(len(route))}, route...), b...))
	require.NoError(t, err)
	return c
}

// tell has an exchange by hand, and wants it to be done in order.
func (d *device) tell(t *testing.T, to *device, members ...library.Member) {
	t.Helper()
	c := d.say(t, to, list(members...))
	var said library.MemberList
	require.NoError(t, said.DecodeFrom(proto.NewDecoder(c)))
	_, err := c.Write([]byte{1})
	require.NoError(t, err)
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

// minus returns the key that the tunnel takes for the same.
func minus(t *testing.T, id identity.RemoteIdentity) identity.RemoteIdentity {
	b := id.Bytes()
	b[31] ^= 0x80
	other, err := identity.FromBytes(b[:])
	require.NoError(t, err)
	return other
}

// A member may say what it likes of who the members are: the list stays one that is valid, what was known before stays, and so
// does who was removed.
func TestHostileLists(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.cfg.Limits = plenty
		running(t, network, library.Record{ID: uuid.New(), Secret: library.NewSecret()}, a, b)
		removed, other := stranger(), stranger()
		for _, m := range []library.Member{removed, other} {
			require.NoError(t, a.lib.AddMember(m))
		}
		require.NoError(t, a.lib.RemoveMember(removed.Instance))
		pass(time.Minute)
		before := a.lib.Record()
		own, node := a.instance.Remote(), identity.New().Remote()
		for name, m := range map[string]library.Member{
			"our instance":             {Instance: own, Node: node},
			"our node":                 {Instance: node, Node: a.id.Remote()},
			"our instance's twin":      {Instance: minus(t, own), Node: node},
			"a member's twin":          {Instance: minus(t, other.Instance), Node: node},
			"a member elsewhere":       {Instance: other.Instance, Node: node, Since: 1 << 40},
			"a member's new name":      {Instance: other.Instance, Node: other.Node, Since: 1 << 40, Name: "Eve's"},
			"an older instance":        {Instance: node, Node: other.Node, Since: other.Since - 1},
			"another one as old":       {Instance: node, Node: other.Node, Since: other.Since},
			"removed":                  removed,
			"removed, elsewhere later": {Instance: removed.Instance, Node: node, Since: 1 << 62},
		} {
			b.tell(t, a, m)
			require.Equal(t, before, a.lib.Record(), name)
			pass(time.Second)
		}

		// Of twins in one list, the first counts.
		m := stranger()
		b.tell(t, a, m, library.Member{Instance: minus(t, m.Instance), Node: node}, m)
		r := a.lib.Record()
		require.Equal(t, append(before.Members, m), r.Members)

		full := make([]library.Member, library.MaxMembers+1)
		for i := range full {
			full[i] = stranger()
		}
		b.tell(t, a, full...)
		r = a.lib.Record()
		require.Len(t, r.Members, library.MaxMembers)
		require.NoError(t, r.Validate(own, a.id.Remote()))
		require.Equal(t, before.Removed, r.Removed)
		require.NoError(t, a.echo(t, b))

		for i, bad := range [][]byte{{0xff, 0xff}, {2, 4}, {1, 0, 1, 2}} {
			before := a.lib.Record()
			c := b.say(t, a, bad)
			if i == 2 {
				require.NoError(t, c.CloseWrite())
			}
			_, err := c.Read(make([]byte, 1))
			require.ErrorIs(t, err, p2p.ErrHandlerFailed)
			require.Equal(t, before, a.lib.Record())
			pass(time.Second)
		}
	})
}

// An exchange that breaks off, at whichever byte, changes nothing but by a list that came whole; and who has not said that it
// has our list is told again.
func TestListsBreakOff(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.cfg.Limits = plenty
		running(t, network, library.Record{ID: uuid.New(), Secret: library.NewSecret()}, a, b)
		before := a.lib.Record()
		m := stranger()
		whole := list(m)
		for i := range whole {
			c := b.say(t, a, whole[:i])
			synctest.Wait()
			if i%2 == 0 {
				require.NoError(t, c.CloseWrite())
			} else {
				c.Abort(io.EOF)
			}
			pass(time.Second)
			require.Equal(t, before, a.lib.Record())
		}

		c := b.say(t, a, whole)
		synctest.Wait()
		c.Abort(io.EOF) // it has not heard
		pass(0)
		require.Equal(t, append(before.Members, m), a.lib.Record().Members)

		network.Link(a.id.Remote(), b.id.Remote()).SetDelay(time.Second)
		require.NoError(t, a.lib.AddMember(stranger()))
		require.Contains(t, a.lib.Record().Untold, b.instance.Remote())
		c = b.say(t, a, list())
		c.CloseWrite()
		pass(5 * time.Second)
		c.Abort(io.EOF)
		pass(time.Hour)
		require.NotContains(t, a.lib.Record().Untold, b.instance.Remote())
		require.Len(t, b.lib.Record().Members, 3)
	})
}

// A link that is cut at whichever moment of an exchange only delays it.
func TestListsCut(t *testing.T) {
	for at := 25 * time.Millisecond; at < 600*time.Millisecond; at += 50 * time.Millisecond {
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			a, b := pair(t, network)
			link := network.Link(a.id.Remote(), b.id.Remote())
			link.SetDelay(50 * time.Millisecond)
			m := stranger()
			require.NoError(t, a.lib.AddMember(m))
			pass(at)
			link.Cut()
			pass(time.Second)
			link.Restore()
			pass(5 * time.Minute)
			require.Contains(t, b.lib.Record().Members, m)
			require.NotContains(t, a.lib.Record().Untold, b.instance.Remote())
			require.NotContains(t, b.lib.Record().Untold, a.instance.Remote())
		})
	}
}

// What was told is not told again and again.
func TestToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		link := network.Link(a.id.Remote(), b.id.Remote())
		streams := link.Stats().Streams
		require.NoError(t, a.lib.AddMember(stranger()))
		pass(time.Second)
		require.Len(t, b.lib.Record().Members, 2)
		require.Equal(t, streams+1, link.Stats().Streams)
		records := len(a.records()) + len(b.records())
		pass(48 * time.Hour)
		require.Equal(t, streams+1, link.Stats().Streams)
		require.Equal(t, records, len(a.records())+len(b.records()))
	})
}

// Who has yet to be told survives in what the app keeps.
func TestUntoldIsKept(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		b.stop(t)
		pass(time.Second)
		m := stranger()
		require.NoError(t, a.lib.AddMember(m))
		kept := a.records()
		text, err := json.Marshal(kept[len(kept)-1])
		require.NoError(t, err)
		require.Contains(t, string(text), fmt.Sprintf(`"untold":["%v","%v"]`, b.instance.Remote(), m.Instance))
		a.stop(t)

		r := b.lib.Record()
		b.start(t, network, p2p.Config{})
		b.load(t, r)
		var back library.Record
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, kept[len(kept)-1], back)
		a.start(t, network, p2p.Config{})
		a.load(t, back)
		pass(time.Minute)
		require.Contains(t, b.lib.Record().Members, m)
	})
}

// Whoever adds and removes members, while links are cut and devices are restarted: in the end all devices know whoever was
// removed by none, and no device knows whom it has removed.
func TestMembersConverge(t *testing.T) {
	plan := steps(4, []time.Duration{0, time.Second, time.Minute, time.Hour}, "introduce", "introduce", "expel", "cut", "cut", "restore", "restart")
	rapid.Check(t, func(rt *rapid.T) {
		all := plan.Draw(rt, "steps")
		var failed error
		synctest.Test(t, func(t *testing.T) {
			g := newGroup(t, 4)
			var introduced []library.Member
			gone := map[identity.RemoteIdentity]bool{}
			expelled := map[int][]identity.RemoteIdentity{}
			for _, s := range all {
				switch d := g.devices[s.I]; {
				case s.What == "introduce":
					m := stranger()
					introduced = append(introduced, m)
					require.NoError(t, d.lib.AddMember(m))
				case s.What == "expel" && len(introduced) > 0:
					m := introduced[(s.I+s.J)%len(introduced)].Instance
					if d.lib.RemoveMember(m) == nil {
						gone[m] = true
						expelled[s.I] = append(expelled[s.I], m)
					}
				}
				g.do(s)
			}
			for i := range g.devices {
				for j := range i {
					g.link(i, j).Restore()
				}
			}
			pass(3 * time.Hour)
			for i, d := range g.devices {
				r := d.lib.Record()
				for _, m := range introduced {
					if got, ok := r.Member(m.Instance); !gone[m.Instance] && (!ok || got != m) {
						failed = fmt.Errorf("%d does not know %v", i, m)
					}
				}
				for _, instance := range expelled[i] {
					if _, ok := r.Member(instance); ok {
						failed = fmt.Errorf("%d knows %v again", i, instance)
					}
				}
				for _, o := range g.devices {
					if o != d && len(r.Untold) > 0 && r.Untold[0] == o.instance.Remote() {
						failed = fmt.Errorf("%d has something to tell still", i)
					}
				}
			}
		})
		if failed != nil {
			rt.Fatal(failed)
		}
	})
}
