package people

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/bench/report"
)

// TestPeople measures everything, and writes the table. With -short it takes
// few measurements.
func TestPeople(t *testing.T) {
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

// results holds the measurements so far.
type results struct {
	samples map[string]report.Sample
	missing []string // reasons why something was not measured
}

// add adds to the sample of a name.
func (r *results) add(name string, value float64) {
	r.samples[name] = append(r.samples[name], value)
}

// without records why something is not measured.
func (r *results) without(why string) {
	if !slices.Contains(r.missing, why) {
		r.missing = append(r.missing, why)
	}
}

const note = `
What people use instead, from the packages of this system, beside ours (package block, with Transfer and Transfers) in the same run: they take
turns. Each has two hosts, which are network namespaces of this machine, joined by a cable (veth); files are read and written in memory (tmpfs).
A time is that of the sender's process, from its start to its exit, connecting included; receivers (a node of ours, sshd, a TLS server in Go that
takes uploads and verifies nothing) run before. CPU is that of both ends, in the kernel too. MB are what both ends sent over the cable. rsync is
run as rsync -a, scp as scp -r, and curl uploads all files over one connection.

Ours is what an app gets that registers both listeners: streams of much go over TCP (package tcp), and those of the rows with QUIC over QUIC. The
receiver trusts the sender and keeps an index of what it has sent, which the rows of what is sent again are about.

Changed: a hundredth of the file, in ten places. Killed: the sender's process, by SIGKILL, once the receiver has half; the time is that of the
process that goes on (rsync -aP), and MB are those of both.

The first byte of examples/drop is that of a sender that names the receiver (--to NAME --yes), when it reports progress for the first time.

At a distance, a path (TUN, carried by the measuring process, MTU 1,500) takes half of the round trip in each direction and loses packets in both,
the same ones in each run; nothing limits its rate but the machine. The sender's TCP has BBR, also under ssh, or Reno where that is said. Our lanes
ask for BBR themselves.
`

// ours are the names of our samples, by the kind of connection. The first one
// is what an app gets that registers both listeners, like examples/drop.
var ours = []string{"lane", "quic"}

const (
	rsync = "rsync over ssh"
	scp   = "scp"
	curl  = "https upload"
	bbr   = "https upload, BBR"
	reno  = "https upload, Reno"
)

// A row is a quantity that was measured, for all contenders.
type row struct {
	what  string
	peers []string
	wall  map[string]float64 // goals: at most this ratio, ours ÷ theirs
	most  map[string]float64 // goals for ours, for " MB", " CPU" and " s"
}

var rows = []row{
	{what: "1 GiB", peers: []string{rsync, scp, curl}, wall: map[string]float64{rsync: 0.6}},
	{what: "10,000 × 4 KiB", peers: []string{rsync, scp, curl}, wall: map[string]float64{rsync: 0.45}},
	{what: "the same tree again", peers: []string{rsync}, most: map[string]float64{" MB": 0.5, " CPU": 0.33}},
	{what: "1 % of 1 GiB changed", peers: []string{rsync}, most: map[string]float64{" MB": 11.6, " s": 4}},
	{what: "killed at half, resumed", peers: []string{rsync}},
}

// A distance is a path with its round trip and losses.
type distance struct {
	trip int     // in ms
	loss float64 // in %
	mib  int     // size of the transfer
}

func (d distance) String() string {
	return fmt.Sprintf("%d MiB, %d ms, %g %% lost", d.mib, d.trip, d.loss)
}

var distances = []distance{{20, 0, 64}, {20, 0.1, 32}, {20, 1, 8}, {100, 0, 64}, {100, 0.1, 16}, {100, 1, 4}}

// table makes the table of the results.
func (r *results) table() report.Table {
	t := report.Table{Title: "What people use", Note: note, Columns: report.Columns}
	if load := r.samples["load"]; len(load) == 2 {
		t.Note += fmt.Sprintf("\nThe machine's load was %.1f before and %.1f after, on %d cores.\n", load[0], load[1], runtime.NumCPU())
	}
	if len(r.missing) > 0 {
		t.Note += "\n**Not everything was measured:** " + strings.Join(r.missing, "; ") + ".\n"
	}
	for _, way := range ours {
		for _, row := range rows {
			for _, peer := range row.peers {
				r.compare(&t, row, way, peer)
			}
		}
		for _, d := range distances {
			for _, peer := range []string{rsync, reno, bbr} {
				f := report.Figure{What: d.String() + by(way), Unit: "MB/s", Digits: 1, Peer: peer}
				f.Ours, f.Theirs = r.samples[d.String()+way], r.samples[d.String()+peer]
				if peer == bbr && d.loss > 0 && way == ours[0] {
					f.Ratio, f.Least = 0.8, true
				}
				t.Add(f)
			}
		}
	}
	t.Add(report.Figure{What: "examples/drop, first byte after both start", Unit: "s", Digits: 2, Ours: r.samples["first"], Goal: 1})
	t.Chart = r.chart()
	return t
}

// by names a kind of connection, unless it is the usual one.
func by(way string) string {
	if way == ours[0] {
		return ""
	}
	return ", " + strings.ToUpper(way)
}

// compare adds the lines of a row.
func (r *results) compare(t *report.Table, row row, way, peer string) {
	for _, unit := range []string{" s", " CPU", " MB"} {
		f := report.Figure{What: row.what + by(way), Unit: "s", Digits: 2, Peer: peer}
		if way == ours[0] {
			f.Goal = row.most[unit]
		}
		switch unit {
		case " s":
			if way == ours[0] {
				f.Ratio = row.wall[peer]
			}
		case " CPU":
			f.What += ", CPU"
		case " MB":
			if row.wall != nil { // everything was sent
				continue
			}
			f.What, f.Unit, f.Digits = f.What+", bytes", "MB", 1
		}
		f.Ours, f.Theirs = r.samples[row.what+unit+way], r.samples[row.what+unit+peer]
		t.Add(f)
	}
}

// chart returns the most important lines as a chart.
func (r *results) chart() report.Chart {
	c := report.Chart{Name: "people", Title: "What people use"}
	panel := func(title, key string, scale float64, names ...string) {
		p := report.Panel{Title: title}
		for _, name := range append(slices.Clone(ours), names...) {
			if s := r.samples[key+name]; len(s) > 0 {
				p.Names = append(p.Names, map[string]string{
					"lane": "ours", "quic": "ours, QUIC", rsync: "rsync", scp: "scp", curl: "https", bbr: "https, BBR", reno: "https, Reno",
				}[name])
				p.Values = append(p.Values, scale*s.Median())
			}
		}
		if len(p.Values) > 1 {
			c.Panels = append(c.Panels, p)
		}
	}
	panel("1 GiB, ms", "1 GiB s", 1000, rsync, scp, curl)
	panel("10,000 × 4 KiB, ms", "10,000 × 4 KiB s", 1000, rsync, scp, curl)
	panel("20 ms, 0.1 % lost, kB/s", distances[1].String(), 1000, rsync, reno, bbr)
	return c
}
