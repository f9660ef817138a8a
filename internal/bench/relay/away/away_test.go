package away

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/bench/report"
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}

// TestAway measures everything, and writes the table. With -short it takes few
// measurements.
func TestAway(t *testing.T) {
	file := os.Getenv(report.File)
	if file == "" && !testing.Short() {
		t.Skip("set " + report.File + " to the file to write the table to")
	}
	r := &results{samples: map[string]report.Sample{}}
	defer func() {
		table := r.table()
		t.Log(table.Markdown())
		if file == "" {
			return
		}
		b, err := json.Marshal(table)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, b, 0o644))
	}()
	inNamespaces(t, r)
}

// results holds the measurements so far. It may be used concurrently.
type results struct {
	mu      sync.Mutex
	samples map[string]report.Sample
	missing []string // reasons why something was not measured
}

// add adds to the sample of a name.
func (r *results) add(name string, values ...float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples[name] = append(r.samples[name], values...)
}

// without records why something is not measured.
func (r *results) without(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.missing, why) {
		r.missing = append(r.missing, why)
	}
}

// table makes the table of the results.
func (r *results) table() report.Table {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := report.Table{Title: "Relay", Note: note, Columns: report.Columns}
	if load := r.samples["load"]; len(load) == 2 {
		t.Note += fmt.Sprintf("\nThe machine's load was %.1f before and %.1f after, on %d cores.\n", load[0], load[1], runtime.NumCPU())
	}
	if len(r.missing) > 0 {
		t.Note += "\n**Not everything was measured:** " + strings.Join(r.missing, "; ") + ".\n"
	}
	r.fill(&t)
	return t
}

// count returns how often a measurement is repeated.
func count(n int) int {
	if testing.Short() {
		return 1
	}
	return n
}
