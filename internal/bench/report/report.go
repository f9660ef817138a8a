// Package report writes the tables of bench/RESULTS.md. Its layout depends on
// the figures as little as can be, so that a difference between two reports is
// one of figures.
package report

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Table is what one subject has to say.
type Table struct {
	Title   string
	Note    string // paragraphs: how it was measured, and what to make of it
	Columns []string
	Rows    [][]string
	Plots   []Plot
	Chart   Chart // none if it has no panels
}

// File is the environment variable that names the file to which a test writes
// its table, as JSON.
const File = "SDP2P_BENCH_TABLE"

// Markdown renders the table under a heading.
func (t Table) Markdown() string {
	text := "## " + t.Title + "\n\n"
	if note := strings.TrimSpace(t.Note); note != "" {
		text += note + "\n\n"
	}
	text += t.Body()
	for _, p := range t.Plots {
		text += fmt.Sprintf("\n![%s](%s.svg)\n", p.Title, p.Name)
	}
	if len(t.Chart.Panels) > 0 {
		text += fmt.Sprintf("\n![%s](%s.svg)\n", t.Chart.Title, t.Chart.Name)
	}
	return text
}

// step is what the widths of columns are multiples of: a digit more in one cell
// seldom moves the others.
const step = 8

// Body renders the columns, aligned.
func (t Table) Body() string {
	if len(t.Columns) == 0 {
		return ""
	}
	widths := make([]int, len(t.Columns))
	for _, row := range append([][]string{t.Columns}, t.Rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], (utf8.RuneCountInString(escape(cell))+step-1)/step*step)
		}
	}
	var b strings.Builder
	line := func(cells []string) {
		for i, width := range widths {
			cell := escape(cells[i])
			fmt.Fprintf(&b, "| %s%s ", cell, strings.Repeat(" ", width-utf8.RuneCountInString(cell)))
		}
		b.WriteString("|\n")
	}
	line(t.Columns)
	for _, width := range widths {
		fmt.Fprintf(&b, "|%s", strings.Repeat("-", width+2))
	}
	b.WriteString("|\n")
	for _, row := range t.Rows {
		line(row)
	}
	return b.String()
}

func escape(cell string) string { return strings.ReplaceAll(cell, "|", `\|`) }

// A Plot shows curves, with a logarithmic scale on both axes.
type Plot struct {
	Name   string // of its file, without .svg
	Title  string
	X, Y   string // what the axes show
	Curves []*Curve
}

// A Curve is a line through points.
type Curve struct {
	Name string
	X, Y []float64
}

// A Chart shows bars, in panels side by side.
type Chart struct {
	Name   string // of its file, without .svg
	Title  string
	Panels []Panel
}

// A Panel has a bar for each contender, the first of which is ours.
type Panel struct {
	Title  string
	Names  []string
	Values []float64
}
