package library_test

import (
	"fmt"
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
)

// A step is something that happens to devices, by their numbers.
type step struct {
	What string
	I, J int
	Wait time.Duration // after it
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
	return rapid.SliceOfN(one, 1, 12)
}

// A group is devices with one library on a network whose links are cut and restored.
type group struct {
	t       *testing.T
	network *p2ptest.Network
	id      uuid.UUID
	devices []*device
	kept    []library.Record // of each, as an app has it
	cut     map[*p2ptest.Link]bool
}

func newGroup(t *testing.T, size int) *group {
	g := &group{
		t: t, network: p2ptest.NewNetwork(p2ptest.Config{}), id: uuid.New(),
		kept: make([]library.Record, size), cut: map[*p2ptest.Link]bool{},
	}
	for range size {
		d := newDevice()
		d.cfg.Limits = plenty
		g.devices = append(g.devices, d)
	}
	secret := library.NewSecret()
	for i, d := range g.devices {
		var others []*device
		others = append(append(others, g.devices[:i]...), g.devices[i+1:]...)
		g.kept[i] = library.Record{ID: g.id, Secret: secret, Members: members(others...)}
		d.start(t, g.network, p2p.Config{})
		d.load(t, g.kept[i])
	}
	pass(time.Second)
	return g
}

func (g *group) link(i, j int) *p2ptest.Link {
	return g.network.Link(g.devices[i].id.Remote(), g.devices[j].id.Remote())
}

// do takes a step. Steps that make no sense are none.
func (g *group) do(s step) {
	d, o := g.devices[s.I], g.devices[s.J]
	_, has := d.libraries.Get(g.id)
	switch s.What {
	case "add":
		if !has {
			d.load(g.t, g.kept[s.I])
		}
	case "remove":
		if has {
			g.kept[s.I] = d.lib.Record()
			require.NoError(g.t, d.libraries.Remove(g.id))
		}
	case "add member", "add member elsewhere":
		m := o.member()
		if s.What != "add member" {
			m.Node = identity.New().Remote()
		}
		require.NoError(g.t, ignore(d.lib.AddMember(m), library.ErrRemoved))
	case "remove member":
		require.NoError(g.t, ignore(d.lib.RemoveMember(o.instance.Remote()), library.ErrRemoved, library.ErrNoMember))
	case "rotate":
		require.NoError(g.t, ignore(d.lib.Rotate(), library.ErrRemoved))
	case "cut":
		g.link(s.I, s.J).Cut()
		g.cut[g.link(s.I, s.J)] = true
	case "restore":
		g.link(s.I, s.J).Restore()
		g.cut[g.link(s.I, s.J)] = false
	case "restart":
		g.kept[s.I] = d.lib.Record()
		d.stop(g.t)
		d.start(g.t, g.network, p2p.Config{})
		d.load(g.t, g.kept[s.I])
	}
	pass(s.Wait)
}

// secrets returns what a record has for a member: the present secret, and former ones that the member may use.
func secrets(r library.Record, m identity.RemoteIdentity) map[library.Secret]bool {
	all := map[library.Secret]bool{r.Secret: true}
	for _, f := range r.Former {
		for _, pending := range f.Members {
			if pending == m && time.Now().Before(f.Until) {
				all[f.Secret] = true
			}
		}
	}
	return all
}

// expect reports whether i can have a tunnel to j: each lists the other, on its node, they share a secret, and the link is up.
func (g *group) expect(i, j int) bool {
	a, b := g.devices[i], g.devices[j]
	_, aHas := a.libraries.Get(g.id)
	_, bHas := b.libraries.Get(g.id)
	ra, rb := a.lib.Record(), b.lib.Record()
	atB, listed := ra.Member(b.instance.Remote())
	atA, listing := rb.Member(a.instance.Remote())
	shared := false
	for s := range secrets(ra, b.instance.Remote()) {
		shared = shared || secrets(rb, a.instance.Remote())[s]
	}
	return aHas && bHas && listed && listing && atB.Node == b.id.Remote() && atA.Node == a.id.Remote() && shared && !g.cut[g.link(i, j)]
}

// check tries each way, and says what is not as expected. Where the records change meanwhile, nothing is expected.
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

// An exchange succeeds if and only if both sides list each other with the right node, share a secret that counts, and can reach
// each other, whatever happened before.
func TestModel(t *testing.T) {
	waits := []time.Duration{0, time.Second, time.Minute, 5 * time.Minute}
	plan := steps(3, waits, "add", "remove", "add member", "add member", "add member elsewhere", "remove member", "rotate", "cut", "restore")
	rapid.Check(t, func(rt *rapid.T) {
		all := plan.Draw(rt, "steps")
		var failed error
		synctest.Test(t, func(t *testing.T) {
			g := newGroup(t, 3)
			for _, s := range all {
				g.do(s)
				if failed = g.check(); failed != nil {
					failed = fmt.Errorf("after %q: %w", s.What, failed)
					return
				}
			}
		})
		if failed != nil {
			rt.Fatal(failed)
		}
	})
}

// Whoever makes new secrets, while links are cut and devices are restarted: some minutes after all is well again, all have the
// same one, and all talk.
func TestConverge(t *testing.T) {
	plan := steps(4, []time.Duration{0, time.Second, time.Minute, time.Hour}, "rotate", "cut", "cut", "restore", "restart")
	rapid.Check(t, func(rt *rapid.T) {
		all := plan.Draw(rt, "steps")
		var failed error
		synctest.Test(t, func(t *testing.T) {
			g := newGroup(t, 4)
			rotations := 0
			for _, s := range all {
				if s.What == "rotate" {
					if rotations++; rotations > library.MaxFormer {
						continue
					}
				}
				g.do(s)
			}
			for i := range g.devices {
				for j := range i {
					g.link(i, j).Restore()
				}
			}
			clear(g.cut)
			pass(10 * time.Minute)
			first := g.devices[0].lib.Record()
			for i, d := range g.devices {
				r := d.lib.Record()
				if r.Secret != first.Secret || r.Number != first.Number {
					failed = fmt.Errorf("%d has number %d, and 0 has %d", i, r.Number, first.Number)
					return
				}
				if len(r.Former) > 0 {
					failed = fmt.Errorf("%d keeps %d former secrets", i, len(r.Former))
					return
				}
			}
			failed = g.check()
		})
		if failed != nil {
			rt.Fatal(failed)
		}
	})
}
