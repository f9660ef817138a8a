package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// In whatever order values of different authors come in, the same value is
// shown.
func TestFieldOrder(t *testing.T) {
	type written struct {
		value
		over []Mark
	}
	rapid.Check(t, func(t *rapid.T) {
		var all []written
		var marks []Mark
		for i := range rapid.IntRange(1, 8).Draw(t, "values") {
			author := Author{rapid.Byte().Draw(t, "author") % 3}
			w := written{value: value{
				author: author, number: uint64(i), stamp: Stamp(rapid.IntRange(0, 2).Draw(t, "stamp")), mark: Mark{byte(i), 1},
			}}
			if i > 0 {
				w.over = rapid.SliceOfNDistinct(rapid.SampledFrom(marks), 0, 2, rapid.ID[Mark]).Draw(t, "over")
			}
			marks = append(marks, w.mark)
			all = append(all, w)
		}
		var first, second field
		for _, w := range all {
			first.set(w.value, w.over)
		}
		queues := map[Author][]written{}
		for _, w := range all {
			queues[w.author] = append(queues[w.author], w)
		}
		for len(queues) > 0 {
			a := Author{rapid.Byte().Draw(t, "next") % 3}
			if q := queues[a]; len(q) > 0 {
				second.set(q[0].value, q[0].over)
				queues[a] = q[1:]
			}
			if len(queues[a]) == 0 {
				delete(queues, a)
			}
		}
		require.Equal(t, first.values, second.values)
	})
}

// An edit that has seen a value wins over it, also if the value arrives after
// the edit or has the greater stamp.
func TestFieldReplaces(t *testing.T) {
	old := value{text: "old", author: Author{9}, number: 1, stamp: 1 << 63, mark: Mark{1}}
	next := value{text: "new", author: Author{1}, number: 1, stamp: 1, mark: Mark{2}}
	var f, g field
	f.set(old, nil)
	f.set(next, f.others(next.author))
	require.Equal(t, "new", f.now().text)
	g.set(next, []Mark{old.mark})
	g.set(old, nil)
	require.Equal(t, "new", g.now().text)
	require.Empty(t, f.others(next.author))
	require.Equal(t, []Mark{next.mark}, f.others(old.author))
	g.set(value{text: "apart", author: Author{5}, number: 1, stamp: 2, mark: Mark{3}}, nil)
	require.Equal(t, "apart", g.now().text)
	require.Equal(t, []Mark{{3}, {2}}, g.others(old.author), "the mark of the shown value must come first")
}
