package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
)

// all returns every operation in a replica's log.
func (r *replica) all(t require.TestingT) (all []Op) {
	var d proto.Decoder
	_, err := r.log.Read(logHeader, r.end, func(_ int64, content []byte) error {
		var o Op
		all = append(all, o)
		return decode(&d, &all[len(all)-1], content)
	})
	require.NoError(t, err)
	return all
}

// A naive computes the effect of operations in the plainest way, whatever their
// order is.
type naive struct {
	view *roster.View
	ops  []Op
}

// words returns each admin's first word about somebody who was removed.
func (n naive) words(who Author) (words []Op) {
	for _, removal := range n.view.Removals {
		for _, o := range n.ops {
			first := !slices.ContainsFunc(n.ops, func(p Op) bool {
				return p.Kind == revoke && p.Author == o.Author && p.Removal == o.Removal && p.Number < o.Number
			})
			if author(removal.Instance) == who && o.Kind == revoke && o.Removal == removal.Hash && o.Author != who && first {
				words = append(words, o)
			}
		}
	}
	return words
}

// limits returns, for each author of whom not all operations count, how many
// do.
func (n naive) limits() map[Author]uint64 {
	limits, members, admins := map[Author]uint64{}, map[Author]bool{}, map[Author]bool{}
	for _, m := range n.view.Members {
		members[author(m.Instance)] = true
		admins[author(m.Instance)] = n.view.Admin(m.Instance)
	}
	for _, o := range n.ops {
		if !members[o.Author] {
			limits[o.Author] = 0
		}
	}
	for _, r := range n.view.Removals {
		limits[author(r.Instance)] = math.MaxUint64
		admins[author(r.Instance)] = n.view.WasAdmin(r.Instance)
	}
	settled := map[Author]bool{}
	for who := range limits {
		for _, o := range n.words(who) {
			if members[o.Author] && admins[o.Author] {
				limits[who], settled[who] = min(limits[who], o.Count), true
			}
		}
	}
	for _, r := range n.view.Removals {
		who := author(r.Instance)
		if settled[who] {
			continue
		}
		settled[who] = true
		for _, o := range n.words(who) {
			if !members[o.Author] && admins[o.Author] && o.Number <= limits[o.Author] {
				limits[who] = min(limits[who], o.Count)
			}
		}
	}
	return limits
}

// shifts returns the shifts of an author that have an effect: among shifts that
// move the same operation, only the first one has.
func (n naive) shifts(by Author) (all []Op) {
	for number := uint64(1); number <= uint64(len(n.ops)); number++ {
		for _, o := range n.ops {
			moved := slices.ContainsFunc(all, func(before Op) bool { return o.First <= before.Number })
			if o.Kind == shift && o.Author == by && o.Number == number && o.MS != 0 && o.First < o.Number && !moved {
				all = append(all, o)
			}
		}
	}
	return all
}

// state returns the value that each field shows.
func (n naive) state() map[string]string {
	type written struct {
		Edit
		by    Op
		at    int
		stamp Stamp
	}
	limits := n.limits()
	counts := func(o Op) bool { limit, limited := limits[o.Author]; return !limited || o.Number <= limit }
	fields := map[string][]written{}
	for _, o := range n.ops {
		if o.Kind != edit || !counts(o) {
			continue
		}
		stamp := o.Stamp
		for _, m := range n.shifts(o.Author) {
			if m.First <= o.Number && o.Number < m.Number && counts(m) {
				stamp = stamp.Shift(m.MS)
			}
		}
		for i, e := range o.Edits {
			key := fmt.Sprint(e.Note, e.Field)
			fields[key] = append(fields[key], written{e, o, i, stamp})
		}
	}
	result := map[string]string{}
	for key, all := range fields {
		var best *written
		for i, w := range all {
			gone := slices.ContainsFunc(all, func(o written) bool {
				later := o.by.Author == w.by.Author && (o.by.Number > w.by.Number || o.by.Number == w.by.Number && o.at > w.at)
				return later || slices.Contains(o.Over, w.by.mark())
			})
			if !gone && (best == nil || w.stamp > best.stamp || w.stamp == best.stamp && bytes.Compare(w.by.Author[:], best.by.Author[:]) > 0) {
				best = &all[i]
			}
		}
		if best != nil {
			result[key] = best.Value
		}
	}
	return result
}

// state returns what a replica shows, in the form of naive's state.
func (r *replica) state() map[string]string {
	r.Notes()
	state := map[string]string{}
	for id, n := range r.notes {
		for i := range n {
			if v := n[i].now(); v.number > 0 {
				state[fmt.Sprint(id, Field(i+1))] = v.text
			}
		}
	}
	return state
}

func (r *replica) in(of *replica) bool {
	_, ok := of.lib.Roster().Member(r.id.Remote())
	return ok
}

// A world holds the replicas on which the model's actions work.
type world struct{ all []*replica }

var offs = []time.Duration{0, 0, time.Second, -time.Second, 10 * time.Minute, -10 * time.Minute, 1e6 * time.Hour}

func (w *world) device(t *rapid.T, label string) *replica {
	return rapid.SampledFrom(w.all).Draw(t, label)
}

func note1(t *rapid.T) uuid.UUID { return uuid.UUID{rapid.Byte().Draw(t, "note") % 3} }

// write lets a device write something, and checks that the device then shows
// it.
func (w *world) write(t *rapid.T, r *replica) {
	var changes []Change
	want := map[string]string{}
	for range rapid.IntRange(1, 3).Draw(t, "changes") {
		c := Change{note1(t), Field(rapid.IntRange(1, 3).Draw(t, "field")), rapid.StringN(0, 3, -1).Draw(t, "value")}
		changes = append(changes, c)
		want[fmt.Sprint(c.Note, c.Field)] = c.Value
	}
	if !r.in(r) {
		require.ErrorIs(t, r.Set(changes...), library.ErrNotMember)
		return
	}
	require.NoError(t, r.Set(changes...))
	for key, value := range want {
		require.Equal(t, value, r.state()[key], "a device must show what it has just written")
	}
}

// lie lets a device write something that the rules do not provide for.
func (w *world) lie(t *rapid.T, r *replica) {
	if !r.in(r) {
		return
	}
	o := Op{Kind: rapid.SampledFrom([]Kind{edit, edit, revoke, shift}).Draw(t, "kind")}
	number := rapid.SampledFrom([]uint64{0, 1, 2, 3, 5, math.MaxUint64})
	o.Stamp = Stamp(rapid.SampledFrom([]uint64{0, 1, 1 << 63, math.MaxUint64}).Draw(t, "stamp"))
	switch o.Kind {
	case edit:
		known := r.all(t)
		e := Edit{Note: note1(t), Field: Title, Value: "a lie"}
		for range rapid.IntRange(0, 3).Draw(t, "over") {
			if i := rapid.IntRange(0, len(known)).Draw(t, "which"); i < len(known) {
				e.Over = append(e.Over, known[i].mark())
			}
		}
		o.Edits = []Edit{e}
	case revoke:
		removals := r.lib.Roster().Removals
		if len(removals) == 0 {
			return
		}
		o.Removal, o.Count = rapid.SampledFrom(removals).Draw(t, "removal").Hash, number.Draw(t, "count")
	case shift:
		o.First, o.MS = number.Draw(t, "first"), rapid.Int64Range(-MaxShift, MaxShift).Draw(t, "ms")
	}
	require.NoError(t, r.Store.write(func() []Op { return []Op{o} }))
}

// change changes who belongs to the library, as far as the device is allowed
// to.
func (w *world) change(t *rapid.T, r *replica) {
	who := w.device(t, "who")
	if who == w.all[0] || r.lib.Role() != library.RoleAdmin || rapid.IntRange(0, 2).Draw(t, "rarely") > 0 {
		return
	}
	if rapid.Bool().Draw(t, "promote") {
		// Only the founder's call has an effect.
		_ = r.lib.Promote(who.id.Remote(), library.RecoveryKey{})
		return
	}
	var last roster.Hash
	for _, s := range r.lib.Record().Statements {
		if s.Signer == who.id.Remote() && rapid.Bool().Draw(t, "later") {
			last = s.Hash()
		}
	}
	// Among admins, only the founder's call has an effect.
	_ = r.lib.Remove(who.id.Remote(), library.RemoveOptions{KeepSecret: true, Last: last})
	if rapid.IntRange(0, 3).Draw(t, "at once") > 0 {
		r.settle(t)
	}
}

// Devices write, lie, meet, are cut off and started again, have wrong clocks
// and remove each other. Devices that have met have the same notes, which
// follow from the operations and the roster; and anything written afterwards
// wins.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		root, err := os.MkdirTemp("", "notes-model-")
		require.NoError(t, err)
		defer os.RemoveAll(root)
		off := rapid.SampledFrom(offs)
		var clocks []time.Duration
		for range rapid.IntRange(2, 5).Draw(t, "devices") {
			clocks = append(clocks, off.Draw(t, "off"))
		}
		w := &world{group(t, func() string {
			folder, err := os.MkdirTemp(root, "")
			require.NoError(t, err)
			return folder
		}, clocks...)}
		defer func() {
			for _, r := range w.all {
				r.Close()
			}
		}()
		t.Repeat(w.actions(off))

		statements(t, w.all...)
		var left []*replica
		for _, r := range w.all {
			if r.in(w.all[0]) {
				left = append(left, r)
			}
		}
		meet(t, left...)
		pass(time.Second, w.all...)
		last := rapid.SampledFrom(left).Draw(t, "last")
		w.write(t, last)
		want := last.state()
		meet(t, left...)
		for _, r := range left {
			require.Equal(t, want, r.state())
		}
	})
}

func (w *world) actions(off *rapid.Generator[time.Duration]) map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"write": func(t *rapid.T) { w.write(t, w.device(t, "who")) },
		"lie":   func(t *rapid.T) { w.lie(t, w.device(t, "who")) },
		"get": func(t *rapid.T) {
			to, from := w.device(t, "to"), w.device(t, "from")
			if to != from && to.in(from) && from.in(to) {
				to.get(t, from, rapid.IntRange(1, 2000).Draw(t, "step"), rapid.IntRange(0, 5000).Draw(t, "cut"))
			}
		},
		"hear": func(t *rapid.T) {
			if r, from := w.device(t, "who"), w.device(t, "from"); r != from && r.in(r) && from.in(r) {
				r.hear(t, from)
			}
		},
		"restart": func(t *rapid.T) {
			r := w.device(t, "who")
			before := r.Digest()
			require.NoError(t, r.Close())
			r.open(t)
			require.Equal(t, before, r.Digest())
		},
		"time": func(t *rapid.T) {
			pass(time.Duration(rapid.IntRange(0, 300_000).Draw(t, "ms"))*time.Millisecond, w.all...)
		},
		"clock":      func(t *rapid.T) { w.device(t, "whose").wall.move(off.Draw(t, "by")) },
		"change":     func(t *rapid.T) { w.change(t, w.device(t, "admin")) },
		"statements": func(t *rapid.T) { statements(t, w.device(t, "one"), w.device(t, "other")) },
		"": func(t *rapid.T) {
			r := w.device(t, "whose")
			require.Equal(t, naive{r.lib.Roster(), r.all(t)}.state(), r.state())
		},
	}
}

func (r *replica) GoString() string { return fmt.Sprint("device ", filepath.Base(r.folder)) }
