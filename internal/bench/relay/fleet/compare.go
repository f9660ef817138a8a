package fleet

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/bench/report"
)

const note = `
What a device costs a relay is measured with package relay/server in a process of its own, on loopback: nodes with package relay
come, show a token, make a reservation and stay. CPU is that of the relay's process, also on a machine that is busy with other
things.

%s
With these costs, %s devices are placed at %d relays in %d zones, so that each relay has about %s reservations: by the rule of
package relay, three relays of each device by rendezvous hashing, in two zones at least, and of these the nearest two that are in
different zones. A zone is as near to a device as chance has it.

%s
Then relays die. A client notices within 15 s, since it asks an idle relay every 14 s whether it is there. It comes back within 60 s,
fails after 5 s to connect, and tries again after 1, 2, 4 … 60 s, spread by half of the wait. When it has failed, its third relay
takes the place, and what is not needed any more is let go of. A relay has one core, and serves in turn those who come. An attempt
that is not answered within 5 s was in vain, and costs as much. Simulated for half an hour.
`

const (
	perRelay = 20_000 // reservations
	seed     = 19
)

// A plan is how much is measured and simulated.
type plan struct {
	rounds, clients        int
	idle                   time.Duration
	devices, zones, relays int
}

func planned(short bool) plan {
	p := plan{rounds: 2, clients: 150, idle: 2 * pingIdle * time.Second, devices: 1_000_000, zones: 5}
	if short {
		p = plan{rounds: 1, clients: 10, idle: 100 * time.Millisecond, devices: 20_000, zones: 2}
	}
	p.relays = (reservations*p.devices + perRelay - 1) / perRelay
	if short {
		p.relays = 10
	}
	return p
}

func faults(p plan, zone func(int32) int) []fault {
	never := math.Inf(1)
	one := func(relay int32) bool { return relay == 0 }
	several := func(relay int32) bool { return zone(relay) == 0 }
	all := func(int32) bool { return true }
	return []fault{
		{name: "a relay is killed, for good", dead: one, back: never},
		{name: "a relay is killed, and back after 2 s", dead: one, back: 2},
		{name: "a relay leaves, and is back after 32 s", dead: one, back: leaveTime + 2, leave: true},
		{name: "a zone is killed, and back after 10 min", dead: several, back: 600},
		{name: "all relays are killed, and back after 2 s", dead: all, back: 2},
	}
}

var columns = []string{
	"what", "devices that lose a reservation", "both", "two again: half, 99 %, all", "one again", "attempts a second at a relay",
	"work that waits there", "answered too late", "reservations at a relay, later",
}

// Compare measures what a device costs, and simulates a million of them.
func Compare(ctx context.Context, short bool) (report.Table, error) {
	t := report.Table{Title: "Relays: a million devices, simulated", Columns: columns}
	p := planned(short)
	c, err := measure(ctx, p)
	if err != nil {
		return t, err
	}
	w := newWorld(seed, p.devices, p.relays, p.zones)
	placed := w.placed()
	mean := reservations * p.devices / p.relays
	t.Note = fmt.Sprintf(note, c.table(p).Body(), thousands(p.devices), p.relays, p.zones, thousands(mean), placed.table(c, w).Body())
	plot := report.Plot{Name: "relay-herd", Title: "Attempts at the relay with the most", X: "s after the fault", Y: "attempts a second"}
	for i, f := range faults(p, w.zone) {
		if err := ctx.Err(); err != nil {
			return t, err
		}
		o := w.simulate(seed+uint64(i), f, c.take.Median())
		t.Rows = append(t.Rows, o.row(f))
		plot.Curves = append(plot.Curves, o.curve(f.name))
	}
	t.Plots = []report.Plot{plot}
	return t, nil
}

// table has what was measured.
func (c costs) table(p plan) report.Table {
	t := report.Table{Columns: []string{fmt.Sprintf("measured, for each of %d", p.clients), ""}}
	add := func(what, unit string, digits int, s report.Sample) {
		text, _, _ := report.Figure{Unit: unit, Digits: digits, Ours: s}.Cells()
		t.Rows = append(t.Rows, []string{what, text})
	}
	add("CPU to take one: handshake, token, reservation", "ms", 2, c.take.Scaled(1e3))
	add("CPU of an idle one", "µs/s", 1, c.idle.Scaled(1e6))
	add("heap", "KiB", 1, c.heap.Scaled(1.0/1024))
	add("stacks", "KiB", 1, c.stacks.Scaled(1.0/1024))
	add("resident", "KiB", 1, c.resident.Scaled(1.0/1024))
	add("goroutines", "", 1, c.goroutines)
	return t
}

// table has what follows for a relay.
func (p placement) table(c costs, w *world) report.Table {
	t := report.Table{Columns: []string{"placed", ""}}
	add := func(what, format string, values ...any) {
		t.Rows = append(t.Rows, []string{what, fmt.Sprintf(format, values...)})
	}
	mean := float64(reservations*len(w.devices)) / float64(len(w.relays))
	least, most := slices.Min(p.reservations), slices.Max(p.reservations)
	add("reservations at a relay", "%s to %s", thousands(least), thousands(most))
	add("the most ÷ mean", "%.3f", float64(most)/mean)
	add("devices whose relays are all in one zone", "%.1f %%", 100*p.oneZone)
	full := float64(most)
	add("memory of the fullest: resident", "%.2f GB", full*c.resident.Median()/1e9)
	add("CPU of the fullest while all is quiet", "%.0f %% of a core", 100*full*c.idle.Median())
	add("CPU to take all of its reservations", "%.0f s", full*c.take.Median())
	return t
}

func (o outcome) row(f fault) []string {
	most := slices.Max(o.after)
	return []string{
		f.name, thousands(o.affected), thousands(o.cut), times(o.whole), times(o.out), thousands(o.peak),
		fmt.Sprintf("%.1f s", o.queue), fmt.Sprintf("%.0f %%", 100*float64(o.late)/float64(max(o.attempts, 1))), thousands(most) + " at most",
	}
}

// times describes sorted times: of half, of 99 %, of all.
func times(s []float64) string {
	if len(s) == 0 {
		return "–"
	}
	text := ""
	for i, v := range []float64{s[len(s)/2], s[len(s)*99/100], s[len(s)-1]} {
		if i > 0 {
			text += ", "
		}
		if math.IsInf(v, 1) {
			text += "never"
			continue
		}
		text += fmt.Sprintf("%.0f", v)
	}
	return text + " s"
}

func (o outcome) curve(name string) *report.Curve {
	c := &report.Curve{Name: name}
	for second, n := range o.busiest {
		if n > 0 && second < 120 {
			c.X = append(c.X, float64(second+1))
			c.Y = append(c.Y, float64(n))
		}
	}
	return c
}

// thousands prints a number with commas.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
