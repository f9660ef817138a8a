package fleet

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The rules of package relay are simulated: if one of these constants changes,
// the simulation must change as well.
func TestConstants(t *testing.T) {
	for file, constants := range map[string][]string{
		"choose.go": {`shortList = 8`, `hashed    = 3`, `return all\[:hashed\]`, `all\[hashed-1\] = all\[i\]`, `sha256\.Sum256\(append\(relay\[:\], node\[:\]\.\.\.\)\)`},
		"relay.go":  {`Reservations = 2`},
		"link.go":   {`pingIdle = 14 \* time\.Second`, `pongIn   = 500 \* time\.Millisecond`, `leaveJitter = 30 \* time\.Second`},
		"server.go": {
			`answerIn = 5 \* time\.Second`, `refusedFirst = 30 \* time\.Second`, `failedFirst  = time\.Second`, `failedMost   = time\.Minute`,
			`refusedMost  = 10 \* time\.Minute`, `comeBack = time\.Minute`, `many \|\| c\.callable`, `return d/2 \+ rand\.N\(d\)`,
		},
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "relay", file))
		require.NoError(t, err)
		for _, c := range constants {
			require.Regexp(t, regexp.MustCompile(c), string(text), "%s has changed", file)
		}
	}
}

// The same seed leads to the same world and the same course; another seed to
// others.
func TestSeeded(t *testing.T) {
	a, b := newWorld(1, 10_000, 20, 3), newWorld(1, 10_000, 20, 3)
	require.Equal(t, a, b)
	require.NotEqual(t, a, newWorld(2, 10_000, 20, 3))
	f := faults(plan{}, a.zone)[1]
	require.Equal(t, fmt.Sprint(a.simulate(1, f, 0.002)), fmt.Sprint(b.simulate(1, f, 0.002)))
}

// Whatever happens, every device has its reservations again in the end, if
// there are enough relays, and the relays' records agree with the devices'.
func TestFaults(t *testing.T) {
	w := newWorld(4, 5000, 10, 2)
	for i, f := range faults(plan{}, w.zone) {
		o := w.simulate(uint64(i), f, 0.0001)
		require.Positive(t, o.affected, f.name)
		require.Len(t, o.whole, o.affected)
		require.Len(t, o.out, o.cut)
		require.Zero(t, o.late, "relays have hardly any work")
		if !math.IsInf(f.back, 1) {
			require.False(t, math.IsInf(o.whole[len(o.whole)-1], 1), f.name)
		}
		sum := 0
		for _, n := range o.after {
			sum += n
		}
		require.GreaterOrEqual(t, sum, 2*5000*9/10)
		require.LessOrEqual(t, sum, 3*5000)
	}
	killed := w.simulate(1, faults(plan{}, w.zone)[0], 0.0001)
	require.Zero(t, killed.after[0])
	require.Less(t, killed.whole[len(killed.whole)-1], pingIdle+2*pongIn+comeBack+answerIn+1)
	require.Greater(t, killed.whole[0], 2*pongIn+answerIn)
}

// A relay with more work than it can do is late, and more so the more often it
// is asked again.
func TestOverload(t *testing.T) {
	w := newWorld(5, 5000, 10, 2)
	f := faults(plan{}, w.zone)[1]
	o := w.simulate(1, f, 0.1) // 1,000 attempts in 20 s, of which it can answer 200
	require.Positive(t, o.late)
	require.Greater(t, o.queue, answerIn)
	require.Less(t, w.simulate(1, f, 0.01).late, o.late)
}

// Events come in the order of their times.
func TestEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h events
		var now float64
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(h) > 0 && rapid.Bool().Draw(t, "pop") {
				e := h.pop()
				require.GreaterOrEqual(t, e.at, now)
				for _, o := range h {
					require.GreaterOrEqual(t, o.at, e.at)
				}
				now = e.at
				continue
			}
			h.push(event{at: now + rapid.Float64Range(0, 10).Draw(t, "after")})
		}
	})
}
