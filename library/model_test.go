package library_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
)

// A step is an operation on devices, which are given by number.
type step struct {
	What string
	I, J int
	Wait time.Duration // after the operation
}

func steps(devices int, waits []time.Duration, what ...string) *rapid.Generator[[]step] {
	one := rapid.Custom(func(t *rapid.T) step {
		i := rapid.IntRange(0, devices-1).Draw(t, "i")
		return step{
			What: rapid.SampledFrom(what).Draw(t, "what"), I: i,
			J:    (i + rapid.IntRange(1, devices-1).Draw(t, "to")) % devices,
			Wait: rapid.SampledFrom(waits).Draw(t, "wait"),
		}
	})
	return rapid.SliceOfN(one, 1, 16)
}

// A group is a set of devices with one library, on a network whose links are
// cut and restored. The first device has founded the library, and the second
// one is also an admin.
type group struct {
	t       *testing.T
	network *p2ptest.Network
	devices []*device
	cut     map[*p2ptest.Link]bool
}

func newGroup(t *testing.T, size int) *group {
	g := &group{
		t: t, network: p2ptest.NewNetwork(p2ptest.Config{}), devices: newDevices(size), cut: map[*p2ptest.Link]bool{},
	}
	c := newCharter(t, g.devices[0])
	for i, d := range g.devices {
		d.cfg.Limits = plenty
		if i > 0 {
			c.join(d, []library.Role{1: library.RoleAdmin, 2: library.RoleMember}[min(i, 2)])
		}
	}
	c.run(g.network, g.devices...)
	return g
}

func (g *group) link(i, j int) *p2ptest.Link {
	return g.network.Link(g.devices[i].id.Remote(), g.devices[j].id.Remote())
}

// do takes a step. A step that makes no sense does nothing.
func (g *group) do(s step) {
	d, o := g.devices[s.I], g.devices[s.J]
	var err error
	switch s.What {
	case "join again":
		g.rejoin(d, o)
	case "remove":
		if s.J != 0 { // the founder stays: the others are compared with it
			err = d.remove(o)
		}
	case "promote":
		err = d.lib.Promote(o.own(), library.RecoveryKey{})
	case "endorse", "decline":
		for _, r := range d.lib.Requests() {
			switch {
			case s.What == "decline":
				d.lib.Decline(r)
			case r.Instance != g.devices[0].own():
				err = d.lib.Endorse(r)
			}
		}
	case "leave":
		if s.I != 0 {
			err = d.lib.Leave()
		}
	case "block":
		err = d.lib.Block(o.own())
	case "unblock":
		err = d.lib.Unblock(o.own())
	case "rotate":
		err = d.lib.Rotate()
	case "cut", "restore":
		if s.What == "cut" {
			g.link(s.I, s.J).Cut()
		} else {
			g.link(s.I, s.J).Restore()
		}
		g.cut[g.link(s.I, s.J)] = s.What == "cut"
	case "restart":
		r := d.lib.Record()
		d.stop(g.t)
		d.start(g.t, g.network, p2p.Config{})
		d.load(g.t, r)
	}
	require.NoError(g.t, ignore(err, library.ErrAsked, library.ErrNoMember, library.ErrNotAdmin, library.ErrNotMember, library.ErrTooSoon))
	pass(s.Wait)
}

// rejoin has a device that is not a member join again through an admin, under a
// new key.
func (g *group) rejoin(admin, d *device) {
	_, member := admin.lib.Roster().Member(d.own())
	if member || admin.lib.Role() != library.RoleAdmin || d.lib.Role() == library.RoleAdmin {
		return
	}
	require.NoError(g.t, d.libraries.Remove(d.lib.ID()))
	d.instance = identity.New()
	d.join(g.t, admin, library.RoleMember)
}

// lists reports whether a device would accept a tunnel from another one.
func (d *device) lists(o *device) bool {
	m, ok := d.lib.Roster().Member(o.own())
	return ok && d.lib.Role() != 0 && m.Node == o.id.Remote() && !slices.Contains(d.lib.Record().Blocked, o.own())
}

// secrets returns the secrets that a record holds and still accepts.
func secrets(r library.Record) map[library.Secret]bool {
	all := map[library.Secret]bool{r.Secret: true}
	for _, f := range r.Former {
		if time.Now().Before(f.Until) {
			all[f.Secret] = true
		}
	}
	return all
}

// expect reports whether i can have a tunnel to j: each lists the other, they
// share a secret, and the link is up.
func (g *group) expect(i, j int) bool {
	a, b := g.devices[i], g.devices[j]
	shared := false
	for s := range secrets(a.lib.Record()) {
		shared = shared || secrets(b.lib.Record())[s]
	}
	return a.lists(b) && b.lists(a) && shared && !g.cut[g.link(i, j)]
}

// check opens a tunnel in each direction, and returns an error if the result is
// not as expected. If the records change meanwhile, either result is right.
func (g *group) check() error {
	for i, a := range g.devices {
		for j, b := range g.devices {
			if i == j {
				continue
			}
			want := g.expect(i, j)
			err := a.echo(g.t, b)
			synctest.Wait()
			if want == g.expect(i, j) && want != (err == nil) {
				return fmt.Errorf("from %d to %d: %v is expected, and there is %w", i, j, want, err)
			}
		}
	}
	return nil
}

// heal restores all links, undoes the blocks, which apply only to one device,
// and waits until all devices have told each other what they know.
func (g *group) heal() {
	for i, d := range g.devices {
		for j := range i {
			g.link(i, j).Restore()
		}
		for _, id := range d.lib.Record().Blocked {
			require.NoError(g.t, d.lib.Unblock(id))
		}
	}
	clear(g.cut)
	pass(2 * time.Hour)
}

// agree returns an error if a device that is a member according to the founder
// knows anything else than the founder, or if any other device is let in.
func (g *group) agree(secretsToo bool) error {
	founder := g.devices[0].lib
	for i, d := range g.devices {
		if _, member := founder.Roster().Member(d.own()); !member {
			if founder.Roster().WasAdmin(d.own()) && d.lib.Role() != 0 {
				return fmt.Errorf("%d was an admin, and does not know that it was removed", i)
			}
			continue
		}
		if got, want := names(d.members()), names(g.devices[0].members()); !slices.Equal(got, want) {
			return fmt.Errorf("%d has the members %v, 0 has %v", i, got, want)
		}
		if !slices.Equal(d.lib.Roster().Secrets, founder.Roster().Secrets) {
			return fmt.Errorf("%d knows of other secrets than 0", i)
		}
		if r := d.lib.Record(); secretsToo && (r.Secret != founder.Record().Secret || r.Number != founder.Record().Number) {
			return fmt.Errorf("%d has number %d, 0 has %d", i, r.Number, founder.Record().Number)
		}
		for j, o := range g.devices {
			if _, member := founder.Roster().Member(o.own()); !member && (d.lists(o) || o.with(g.t, d, o.lib.Record().Secret) == nil) {
				return fmt.Errorf("%d was removed, and not by %d", j, i)
			}
		}
	}
	return g.check()
}

// runSteps takes random steps in new groups of several sizes, and checks them
// after each step and at the end.
func runSteps(t *testing.T, sizes *rapid.Generator[int], each, end func(*group) error, waits []time.Duration, what ...string) {
	rapid.Check(t, func(rt *rapid.T) {
		size := sizes.Draw(rt, "size")
		all := steps(size, waits, what...).Draw(rt, "steps")
		var failed error
		synctest.Test(t, func(t *testing.T) {
			g := newGroup(t, size)
			for _, s := range all {
				g.do(s)
				if failed = each(g); failed != nil {
					failed = fmt.Errorf("after %q: %w", s.What, failed)
					return
				}
			}
			failed = end(g)
		})
		if failed != nil {
			rt.Fatal(failed)
		}
	})
}

func nothing(*group) error { return nil }

// TestModel: whatever happened before, a tunnel opens if and only if both sides
// list each other with the right node, share a secret that is accepted, and can
// reach each other.
func TestModel(t *testing.T) {
	waits := []time.Duration{0, time.Second, time.Minute, time.Hour, 25 * time.Hour}
	runSteps(t, rapid.Just(3), (*group).check, nothing, waits,
		"join again", "remove", "promote", "endorse", "leave", "block", "block", "unblock", "rotate", "cut", "restore", "restart")
}

// TestConverge: devices add, remove, promote, agree, leave and replace secrets,
// while links are cut and devices are restarted. Some time after the network
// works again, the members agree on who they are, have the same secret, unless
// a device still has to wait for a day to pass, and talk; others cannot.
func TestConverge(t *testing.T) {
	waits := []time.Duration{0, time.Second, time.Minute, time.Hour, 25 * time.Hour}
	end := func(g *group) error {
		g.heal()
		if err := g.agree(false); err != nil {
			return err
		}
		pass(49 * time.Hour)
		return g.agree(true)
	}
	runSteps(t, rapid.IntRange(3, 6), nothing, end, waits,
		"join again", "join again", "remove", "remove", "promote", "promote", "endorse", "endorse", "decline", "leave",
		"block", "rotate", "cut", "cut", "cut", "restore", "restart")
}
