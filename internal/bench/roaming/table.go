package roaming

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"

	"github.com/sdp2p/p2p/internal/bench/report"
)

// fill adds the rows. It fails if a row that was run has no figure at all.
func fill(t *report.Table, figures map[string][]figure, short bool) error {
	var errs []error
	for _, r := range rows {
		took, failed := split(figures[r.name])
		f := report.Figure{What: r.what, Unit: "ms", Ours: took, Goal: r.goal, Worst: true}
		ours, goal, reached := f.Cells()
		lost := report.NotMeasured
		if n := len(took) + failed; n > 0 {
			lost = fmt.Sprintf("%d of %d", failed, n)
			if failed > 0 && goal != "–" {
				reached = "no"
			}
		}
		if len(took) == 0 && len(figures) > 0 && !short {
			errs = append(errs, fmt.Errorf("there is no figure of %q", r.name))
		}
		cells := []string{r.what, ours, lost, goal, reached}
		for _, peer := range peers {
			cells = append(cells, others(figures[nameOf(r.name, peer)]))
		}
		t.Rows = append(t.Rows, cells)
	}
	return errors.Join(errs...)
}

// split returns the times of runs in milliseconds, and how many runs failed.
func split(all []figure) (took report.Sample, failed int) {
	for _, f := range all {
		switch {
		case f.Failed:
			failed++
		case f.Seconds > 0: // or it was skipped
			took = append(took, f.Seconds*1e3)
		}
	}
	return took, failed
}

// others says what became of a peer's streams.
func others(all []figure) string {
	var ended, took report.Sample
	for _, f := range all {
		if f.Failed {
			ended = append(ended, f.Seconds*1e3)
		} else {
			took = append(took, f.Seconds*1e3)
		}
	}
	goesOn, _, _ := report.Figure{Unit: "ms", Ours: took}.Cells()
	ends, _, _ := report.Figure{Unit: "ms", Ours: ended}.Cells()
	switch {
	case len(all) == 0:
		return "–"
	case len(ended) == 0:
		return goesOn
	case len(took) == 0:
		return "ends: " + ends
	}
	return goesOn + "; ends: " + ends
}

var shareOf = regexp.MustCompile(`([0-9.]+) share`)

// socket returns the throughput on Sockets ÷ that on bare ones, several times.
func (m *measurement) socket(ctx context.Context) (shares report.Sample, err error) {
	args := []string{"test", "-run", "^$", "-bench", "^BenchmarkBulk$", "-benchtime", "3s", "-count", "7", "./internal/carrier"}
	if m.short {
		args = []string{"test", "-run", "^$", "-bench", "^BenchmarkBulk$", "./internal/carrier"}
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	for _, found := range shareOf.FindAllSubmatch(out, -1) {
		v, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil {
			return nil, err
		}
		shares = append(shares, v)
	}
	if len(shares) == 0 {
		return nil, fmt.Errorf("the benchmark says nothing: %s", bytes.TrimSpace(out))
	}
	return shares, nil
}

// leastShare is the goal of the socket's throughput.
const leastShare = 0.95

func addShare(t *report.Table, shares report.Sample) {
	ours, _, _ := report.Figure{Digits: 3, Ours: shares}.Cells()
	reached := "no"
	if shares.Median() >= leastShare {
		reached = "yes"
	}
	t.Rows = append(t.Rows, []string{"throughput on the socket ÷ on a bare one", ours, "–", fmt.Sprint("≥ ", leastShare), reached, "1", "–"})
}
