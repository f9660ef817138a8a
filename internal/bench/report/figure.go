package report

import (
	"fmt"
	"slices"
	"strconv"
)

// A Sample is a number of measurements of one thing, in the order in which they
// were made.
type Sample []float64

// Median returns the median of a sample that is not empty.
func (s Sample) Median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	return (sorted[(len(s)-1)/2] + sorted[len(s)/2]) / 2
}

// Scaled returns the measurements multiplied by a factor.
func (s Sample) Scaled(by float64) Sample {
	scaled := make(Sample, len(s))
	for i, v := range s {
		scaled[i] = v * by
	}
	return scaled
}

// Speeds makes MB/s of nanoseconds for so many bytes.
func (s Sample) Speeds(bytes float64) Sample {
	speeds := make(Sample, len(s))
	for i, ns := range s {
		speeds[i] = bytes * 1e3 / ns
	}
	return speeds
}

// A Figure is a row of the usual table: what was measured of ours and of one
// peer, and what it ought to be.
type Figure struct {
	What   string
	Unit   string
	Digits int // after the decimal point

	Peer   string // "": there is none to compare with
	Theirs Sample // an empty sample was not measured
	Ours   Sample

	Goal  float64 // if not zero: what our median, as it is printed, is at most
	Worst bool    // each measurement is, and not just the median
	Never bool    // Goal is zero
	Ratio float64 // if not zero: what ours ÷ theirs is at most, in place of Goal
	Least bool    // Goal or Ratio is what is reached at least, and not at most
}

// Columns are those of a table of figures.
var Columns = []string{"what", "peer", "theirs", "ours", "ours ÷ theirs", "goal", "reached"}

const (
	// NotMeasured stands for a figure that there is none of.
	NotMeasured = "not measured"

	none = "–"
)

// Add adds the figure to the table.
func (t *Table) Add(f Figure) {
	row := []string{f.What, none, none, f.text(f.Ours), none, none, none}
	if f.Peer != "" {
		row[1], row[2] = f.Peer, f.text(f.Theirs)
	}
	if ratio, ok := f.ratio(); ok {
		row[4] = decimal(ratio, 2)
	}
	goal, reached, ok := f.judge()
	if goal != "" {
		row[5], row[6] = goal, NotMeasured
		if ok {
			row[6] = map[bool]string{true: "yes", false: "no"}[reached]
		}
	}
	t.Rows = append(t.Rows, row)
}

// Cells returns what the usual table has of the figure, for one with other
// columns: ours, the goal and whether it was reached.
func (f Figure) Cells() (ours, goal, reached string) {
	t := Table{}
	t.Add(f)
	row := t.Rows[0]
	return row[3], row[5], row[6]
}

// judge returns the goal in words, and whether it was reached if that was
// measured.
func (f Figure) judge() (goal string, reached, ok bool) {
	sign, worst := "≤ ", slices.Max[Sample]
	within := func(v, goal float64) bool { return v <= goal }
	if f.Least {
		sign, worst = "≥ ", slices.Min[Sample]
		within = func(v, goal float64) bool { return v >= goal }
	}
	if f.Ratio > 0 {
		ratio, ok := f.ratio()
		return "ratio " + sign + decimal(f.Ratio, -1), within(ratio, f.Ratio), ok
	}
	if f.Goal == 0 && !f.Never {
		return "", false, false
	}
	goal = f.withUnit(sign + decimal(f.Goal, -1))
	if f.Worst {
		goal += ", always"
	}
	if len(f.Ours) == 0 {
		return goal, false, false
	}
	v := f.Ours.Median()
	if f.Worst {
		v = worst(f.Ours)
	}
	printed, _ := strconv.ParseFloat(decimal(v, f.Digits), 64)
	return goal, within(printed, f.Goal), true
}

// ratio is the median of each round's own ratio where both took turns, which a
// noisy machine disturbs least, and otherwise the ratio of the medians.
func (f Figure) ratio() (ratio float64, ok bool) {
	switch {
	case len(f.Ours) == 0 || len(f.Theirs) == 0 || slices.Contains(f.Theirs, 0):
		return 0, false
	case len(f.Ours) != len(f.Theirs):
		return f.Ours.Median() / f.Theirs.Median(), true
	}
	ratios := make(Sample, len(f.Ours))
	for i := range ratios {
		ratios[i] = f.Ours[i] / f.Theirs[i]
	}
	return ratios.Median(), true
}

// text is the median, with the extremes and the number of measurements if there
// are several.
func (f Figure) text(s Sample) string {
	switch len(s) {
	case 0:
		return NotMeasured
	case 1:
		return f.withUnit(decimal(s[0], f.Digits))
	}
	low, high := decimal(slices.Min(s), f.Digits), decimal(slices.Max(s), f.Digits)
	return fmt.Sprintf("%s (%s to %s, n %d)", f.withUnit(decimal(s.Median(), f.Digits)), low, high, len(s))
}

func (f Figure) withUnit(number string) string {
	if f.Unit == "" {
		return number
	}
	return number + " " + f.Unit
}

// decimal prints v with so many digits after the point, -1 for as many as it
// has.
func decimal(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }
