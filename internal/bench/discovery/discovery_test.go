package discovery

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/bench/report"
)

const app = "bench"

func TestMain(m *testing.M) {
	flag.Parse()
	// Measurements that mostly wait run in parallel, whatever the number of
	// processors.
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestDiscovery measures everything and writes the table. First come the
// measurements that need real time, in parallel except for those that would
// disturb each other; then those that keep the processors busy.
func TestDiscovery(t *testing.T) {
	file := os.Getenv(report.File)
	if file == "" {
		t.Skip("set " + report.File + " to the file to write the table to")
	}
	r := &results{samples: map[string]report.Sample{}}
	defer func() {
		b, err := json.Marshal(r.table())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, b, 0o644))
	}()
	inNamespaces(t, r)
	t.Run("simulated", func(t *testing.T) {
		simulateIdle(t, r)
		simulateCrash(t, r)
	})
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

// took adds a duration in seconds.
func (r *results) took(name string, d time.Duration) { r.add(name, d.Seconds()) }

// without records why something is not measured.
func (r *results) without(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if why := fmt.Sprintf(format, args...); !slices.Contains(r.missing, why) {
		r.missing = append(r.missing, why)
	}
}

func (r *results) table() report.Table {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := report.Table{Title: "Discovery", Note: note, Columns: report.Columns}
	if len(r.missing) > 0 {
		slices.Sort(r.missing)
		t.Note += "\n**Not everything was measured:** " + strings.Join(r.missing, "; ") + ".\n"
	}
	for _, row := range rows() {
		row.Theirs, row.Ours = r.samples[row.theirs], r.samples[row.ours]
		t.Add(row.Figure)
	}
	return t
}

// count returns how often a measurement is repeated.
func count(n int) int {
	if testing.Short() {
		return min(n, 2)
	}
	return n
}
