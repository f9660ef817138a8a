// Package page has the tests of package debugpage print what its page costs a
// browser and a node, with a thousand peers.
package page

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
	root    = "../../debugpage" // seen from this module
	timeout = 10 * time.Minute
)

// A row is one of the table: the first group of each match of a pattern.
type row struct {
	figure  report.Figure
	pattern string
	per     float64 // what the number is divided by
}

var rows = []row{
	{report.Figure{What: "a frame, while all peers change five times a second", Unit: "ms", Digits: 1, Goal: 17}, `frames, ms: median (\S+),`, 1},
	{report.Figure{What: "… 99 % of them", Unit: "ms", Digits: 1, Goal: 34}, `99 % (\S+),`, 1},
	{report.Figure{What: "… the longest", Unit: "ms", Digits: 1, Goal: 100}, `longest (\S+)\n`, 1},
	{report.Figure{What: "elements of the document", Goal: 1500, Worst: true}, `(\d+) elements\n`, 1},
	{report.Figure{What: "changes of the document for an event", Goal: 200, Worst: true}, `(\d+) changes of the document`, 1},
	{report.Figure{What: "a look at the state of the node, for a page", Unit: "ms", Digits: 1, Goal: 20}, `BenchmarkLook\S*\s+\d+\s+(\d+) ns/op`, 1e6},
}

const note = `
The page of package debugpage about a node that has 1,000 peers, in headless Chromium at 60 Hz, on a processor without graphics. The
test renames all peers 20 times, as fast as the page shows that, while it walks through the table by keyboard:
"SDP2P_NETTEST=1 go test -v -run '^TestThousandPeers$' ." in debugpage/browsertest, as root. The page has the node looked at
once a second, and five times while something happens: "go test -run '^$' -bench '^BenchmarkLook$' ./debugpage".
`

// Compare measures it all.
func Compare(ctx context.Context, short bool) (report.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	count := "5"
	if short {
		count = "1"
	}
	t := report.Table{Title: "The debugging page", Note: note, Columns: []string{"what", "ours", "goal", "reached"}}
	said, err := run(ctx, ".", "-run", "^$", "-bench", "^BenchmarkLook$", "-count", count)
	if os.Geteuid() == 0 { // a namespace of its own needs that
		seen, failed := run(ctx, "browsertest", "-v", "-run", "^TestThousandPeers$", "-count", count)
		said, err = append(said, seen...), errors.Join(err, failed)
	}
	for _, r := range rows {
		r.figure.Ours = values(said, r.pattern, r.per)
		ours, goal, reached := r.figure.Cells()
		t.Rows = append(t.Rows, []string{r.figure.What, ours, goal, reached})
	}
	return t, err
}

// run returns what tests in a folder print.
func run(ctx context.Context, folder string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test"}, append(args, ".")...)...)
	cmd.Dir, cmd.Env = root+"/"+folder, append(os.Environ(), "SDP2P_NETTEST=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", folder, err, bytes.TrimSpace(out))
	}
	return out, err
}

// values returns the numbers in a text that a pattern matches.
func values(text []byte, pattern string, per float64) (all report.Sample) {
	for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
		if v, err := strconv.ParseFloat(string(m[1]), 64); err == nil {
			all = append(all, v/per)
		}
	}
	return all
}
