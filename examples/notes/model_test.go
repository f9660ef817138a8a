package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/identity"
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

// reference says what operations come to, in the plainest way, whatever their order is.
func reference(founder Author, ops map[string]Op) map[string]string {
	counts := func(o Op) bool {
		for _, r := range ops {
			if r.Kind == revoke && r.Author == founder && r.Who == o.Author && o.Number > r.Count {
				return false
			}
		}
		return true
	}
	stamp := func(o Op, e Edit) Stamp {
		s := o.Stamp
		for _, m := range ops {
			if m.Kind == shift && m.Author == o.Author && m.First <= o.Number && o.Number < m.Number && counts(m) {
				s = s.Shift(m.MS)
			}
		}
		return max(s, e.Over+1)
	}
	type best struct {
		stamp Stamp
		by    Op
		at    int
	}
	winners := map[string]best{}
	result := map[string]string{}
	for _, o := range ops {
		if o.Kind != edit || !counts(o) {
			continue
		}
		for i, e := range o.Edits {
			key := fmt.Sprint(e.Note, e.Field)
			w, ok := winners[key]
			s := stamp(o, e)
			order := bytes.Compare(o.Author[:], w.by.Author[:])
			if !ok || s > w.stamp || s == w.stamp && (order > 0 || order == 0 && (o.Number > w.by.Number || o.Number == w.by.Number && i > w.at)) {
				winners[key], result[key] = best{s, o, i}, e.Value
			}
		}
	}
	return result
}

// state is what a replica shows, as reference has it.
func (r *replica) state() map[string]string {
	state := map[string]string{}
	for id, n := range r.notes {
		for i, v := range n {
			if v.number > 0 {
				state[fmt.Sprint(id, Field(i+1))] = v.text
			}
		}
	}
	return state
}

// Whatever devices write, whomever they meet, wherever that is cut, however wrong their clocks are, and when they are started
// again: those that have met have the same notes, which are what the operations say; and what is then written wins.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		folder, err := os.MkdirTemp("", "notes-model-")
		require.NoError(t, err)
		defer os.RemoveAll(folder)
		offs := []time.Duration{0, 0, time.Second, -time.Second, 10 * time.Minute, -10 * time.Minute, 1e6 * time.Hour}
		off := rapid.SampledFrom(offs)
		founder := identity.New()
		var all []*replica
		for i := range rapid.IntRange(2, 4).Draw(t, "devices") {
			id := founder
			if i > 0 {
				id = identity.New()
			}
			r := &replica{
				folder: fmt.Sprint(folder, "/", i), id: id, library: Founded(founder.Remote()), wall: newHand(off.Draw(t, "off")), group: &all,
			}
			require.NoError(t, os.Mkdir(r.folder, 0o700))
			r.openModel(t)
			defer func() { r.Close() }()
			all = append(all, r)
		}
		device := rapid.Custom(func(t *rapid.T) *replica { return rapid.SampledFrom(all).Draw(t, "device") })
		note := rapid.Custom(func(t *rapid.T) uuid.UUID { return uuid.UUID{rapid.Byte().Draw(t, "note") % 3} })
		knows := func(r, of *replica) bool { return r.history(of.author()).counts != math.MaxUint64 }
		write := func(t *rapid.T, r *replica) {
			var changes []Change
			want := map[string]string{}
			for range rapid.IntRange(1, 3).Draw(t, "changes") {
				c := Change{note.Draw(t, "note"), Field(rapid.IntRange(1, 3).Draw(t, "field")), rapid.StringN(0, 3, -1).Draw(t, "value")}
				changes = append(changes, c)
				want[fmt.Sprint(c.Note, c.Field)] = c.Value
			}
			if knows(r, r) {
				require.ErrorIs(t, r.Set(changes...), ErrRevoked)
				return
			}
			require.NoError(t, r.Set(changes...))
			for key, value := range want {
				require.Equal(t, value, r.state()[key], "what one has just written is what one sees")
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) { write(t, device.Draw(t, "who")) },
			"get": func(t *rapid.T) {
				to, from := device.Draw(t, "to"), device.Draw(t, "from")
				if to != from && !knows(to, from) && !knows(from, to) {
					to.get(t, from, rapid.IntRange(1, 2000).Draw(t, "step"), rapid.IntRange(0, 5000).Draw(t, "cut"))
				}
			},
			"hear": func(t *rapid.T) {
				if r, from := device.Draw(t, "who"), device.Draw(t, "from"); r != from && !knows(r, from) && !knows(r, r) {
					r.hear(t, from)
				}
			},
			"restart": func(t *rapid.T) {
				r := device.Draw(t, "who")
				before := r.Digest()
				require.NoError(t, r.Close())
				r.openModel(t)
				require.Equal(t, before, r.Digest())
			},
			"time": func(t *rapid.T) {
				pass(time.Duration(rapid.IntRange(0, 300_000).Draw(t, "ms"))*time.Millisecond, all...)
			},
			"clock": func(t *rapid.T) { device.Draw(t, "whose").wall.move(off.Draw(t, "by")) },
			"revoke": func(t *rapid.T) {
				if who := device.Draw(t, "who"); who != all[0] && rapid.IntRange(0, 3).Draw(t, "rarely") == 0 {
					require.NoError(t, all[0].Revoke(who.author()))
				}
			},
			"": func(t *rapid.T) {
				r := device.Draw(t, "whose")
				ops := map[string]Op{}
				for _, o := range r.all(t) {
					ops[fmt.Sprint(o.Author, o.Number)] = o
				}
				require.Equal(t, reference(all[0].author(), ops), r.state())
			},
		})
		var left []*replica
		for _, r := range all {
			if !knows(all[0], r) {
				left = append(left, r)
			}
		}
		meet(t, left...)
		pass(time.Second, all...)
		last := rapid.SampledFrom(left).Draw(t, "last")
		write(t, last)
		want := last.state()
		meet(t, left...)
		for _, r := range left {
			require.Equal(t, want, r.state())
		}
	})
}

func (r *replica) openModel(t *rapid.T) {
	var err error
	r.Store, _, err = OpenStore(r.folder, r.library, r.id, r.wall.now)
	require.NoError(t, err)
}

func (r *replica) GoString() string { return fmt.Sprint("device ", filepath.Base(r.folder)) }
