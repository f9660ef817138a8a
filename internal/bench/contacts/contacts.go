// Package contacts has the tests and benchmarks of the mode contacts-only print
// what it costs, and how long contacts take to find each other.
package contacts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/sdp2p/p2p/internal/bench/report"
)

const (
	root    = "../.." // of the SDK's module, seen from this one
	timeout = 40 * time.Minute
)

// A source is what prints figures: tests of a package, and benchmarks.
type source struct {
	pkg, test, bench string
	count            int
	lab              bool // it makes network namespaces, which only root may
}

func (s source) String() string {
	if s.bench != "" && s.test == "" {
		return s.bench + " of " + s.pkg
	}
	return s.test + " of " + s.pkg
}

// The sources. What the tests do longer with SDP2P_SOAK is measured.
var (
	found     = source{pkg: "internal/nettest", test: "TestContactFound", lab: true}
	moves     = source{pkg: "internal/nettest", test: "TestContactMoves", lab: true, count: 5}
	forged    = source{pkg: "internal/nettest", test: "TestContactFoundAmongForged", lab: true}
	strangers = source{pkg: "internal/nettest", test: "TestContactsCost", lab: true}
	epoch     = source{pkg: "contact", bench: "BenchmarkEpoch", count: 5}
	footprint = source{pkg: "contact", test: "TestFootprint", count: 5}
	minute    = source{pkg: "internal/tags", bench: "BenchmarkMinute", count: 5}
	packets   = source{pkg: "mdns", test: "TestManyContacts"}
)

// A row is one of the table: what a source says in each match of a pattern.
type row struct {
	figure  report.Figure
	from    source
	pattern string
}

var rows = []row{
	{report.Figure{What: "a contact is found after both are up", Unit: "ms", Goal: 2000, Worst: true}, found, `found after (\S+)\n`},
	{report.Figure{What: "… after both have come into another network, by another interface", Unit: "ms", Goal: 3000, Worst: true}, moves, `after a move, interface: (\S+)\n`},
	{report.Figure{What: "… by another prefix", Unit: "ms", Goal: 3000, Worst: true}, moves, `after a move, prefix: (\S+)\n`},
	{report.Figure{What: "… by another router alone", Unit: "ms", Goal: 3000, Worst: true}, moves, `after a move, router: (\S+)\n`},
	{report.Figure{What: "… among 1,000 forged instances a minute, with 50 silent connections", Unit: "ms", Goal: 30000, Worst: true}, forged, `found after (\S+); CPU`},
	{report.Figure{What: "an epoch, with 123 contacts", Unit: "ms", Digits: 2, Goal: 1}, epoch, `BenchmarkEpoch\S*\s+\d+\s+(\d+) ns/op`},
	{report.Figure{What: "the largest packet, with 123 contacts", Unit: "bytes", Goal: 1200, Worst: true}, packets, `123 contacts: (\d+) bytes`},
	{report.Figure{What: "heap of a node in the mode, as a whole", Unit: "KiB", Goal: 300}, footprint, `in the open; (\d+) KiB`},
	{report.Figure{What: "goroutines more than in the open", Goal: 10}, footprint, `goroutines, (-?\d+) more`},
	{report.Figure{What: "200 instances of strangers a minute, with 1,000 contacts: of a core", Unit: "%", Digits: 2, Goal: 1}, minute, `([0-9.]+) %core`},
	{report.Figure{What: "… with 984, all of the node, received in a network", Unit: "%", Digits: 2, Goal: 1}, strangers, `200 instances \S+: (-?[0-9.]+) % of a core`},
}

const note = `
Tests and benchmarks of the SDK's module print these figures, each that which its row names:
"go test -v -run '^TestFootprint$' ./contact", "go test -run '^$' -bench '^BenchmarkEpoch$' ./contact". Those of internal/nettest need
root and SDP2P_NETTEST=1, and with SDP2P_SOAK=1 do it all as often as here. Their nodes are processes in network namespaces
of this machine. A move takes both contacts from a network into another one, and ends when each is connected with the other at its new port.
`

// Compare measures it all.
func Compare(ctx context.Context, short bool) (report.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t := report.Table{Title: "Contacts only", Note: note, Columns: []string{"what", "ours", "goal", "reached", "printed by"}}
	said := map[source][]byte{}
	var errs []error
	for _, r := range rows {
		if _, done := said[r.from]; !done && (!r.from.lab || os.Geteuid() == 0) {
			out, err := r.from.run(ctx, short)
			said[r.from], errs = out, append(errs, err)
		}
		var err error
		if r.figure.Ours, err = values(said[r.from], r.pattern); err != nil {
			errs = append(errs, err)
		}
		ours, goal, reached := r.figure.Cells()
		t.Rows = append(t.Rows, []string{r.figure.What, ours, goal, reached, r.from.String()})
	}
	return t, errors.Join(errs...)
}

// run returns what the source prints.
func (s source) run(ctx context.Context, short bool) ([]byte, error) {
	name := func(s string) string { return "^" + s + "$" }
	args := []string{"test", "-v", "-timeout", timeout.String(), "-run", name(s.test), "-count", strconv.Itoa(max(1, s.count))}
	if s.bench != "" {
		args = append(args, "-bench", name(s.bench))
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+s.pkg)...)
	cmd.Dir, cmd.Env = root, os.Environ()
	if s.lab {
		cmd.Env = append(cmd.Env, "SDP2P_NETTEST=1")
	}
	if !short {
		cmd.Env = append(cmd.Env, "SDP2P_SOAK=1")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%v: %w: %s", s, err, bytes.TrimSpace(out))
	}
	return out, err
}

// values returns the numbers in a text that a pattern matches; times in
// milliseconds.
func values(text []byte, pattern string) (all report.Sample, err error) {
	for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
		v, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			d, err := time.ParseDuration(string(m[1]))
			if err != nil {
				return nil, err
			}
			v = d.Seconds() * 1e3
		} else if bytes.HasSuffix(m[0], []byte("ns/op")) {
			v /= 1e6
		}
		all = append(all, v)
	}
	return all, nil
}
