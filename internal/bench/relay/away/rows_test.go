package away

import (
	"fmt"

	"github.com/sdp2p/p2p/internal/bench/report"
)

const note = `
Relays, callers and callees are processes of their own in network namespaces of this machine, without latency. Ours over our
relay (package relay/server, with tokens and accounts); ours over go-libp2p's relay; and go-libp2p's client (circuit v2, Noise, yamux, its
hole punching) over its relay, whose host is composed as in "Transport", without limits. They take turns in one run, and CPU is
that of the process named. Both relays have buffers of 32 KiB for a circuit, unless 2 KiB are said, which is go-libp2p's default.

The first byte: a node that has a reservation, and has never talked to the other one, opens a stream, and a byte is back. Direct: routers
are namespaces that translate addresses with nftables; cone, symmetric and full are the words of RFC 3489. The time is from the
call, which begins with CONNECT, until both sides have a direct path; nodes have learned their addresses before. On a stream a byte goes there and
back, and 1 ms later again: what is longest between two echoes, until 0.3 s after the move, is its gap. go-libp2p makes a second connection and
moves no stream: an open one stays at the relay, which by default ends each circuit after 2 minutes or 128 KiB; only new streams are
direct.

A relay dies while both nodes have reservations at two. It is killed, or stopped by SIGSTOP. Noticed is when the caller's log says so.
go-libp2p's stream ends; the application has to make another one. Moves: a router drops the direct path, and the connection goes back to
the relay; then the path is there again.

The CPU for a GiB and the throughput are of 96 MiB each, in one direction. What a reservation costs is measured with nodes of package
relay at both relays, 1,000 each, after a collection; CPU while idle, at both at the same time for a minute. The client: examples/hello with
and without it, stripped.

Beside: a node gets 96 MiB over a direct connection, while another one sends to it at full speed through a relay, which is on the same two
cores, as both senders are; or directly. The byte there and back is of the direct connection, while the other one sends.
`

// These are the sides of the comparisons.
const (
	theirClient  = "go-libp2p's client and relay"
	theirRelay   = "go-libp2p's relay"
	theirDefault = "go-libp2p's relay, 2 KiB"
)

// pairs are the ways in which the routers of a caller and a callee translate
// addresses.
var pairs = []struct {
	name          string
	direct, quick bool // direct: a path exists; quick: measured with -short
}{
	{"cone calls cone", true, true},
	{"full calls symmetric", true, false},
	{"symmetric calls full", true, false},
	{"symmetric calls symmetric", false, true},
	{"symmetric calls cone", false, false},
}

// fill adds the rows. The caller holds mu.
func (r *results) fill(t *report.Table) {
	r.firstRows(t)
	r.punchRows(t)
	r.failoverRows(t)
	r.relayRows(t)
	r.reservationRows(t)
	r.besideRows(t)
}

// figure completes a row and adds it.
func (r *results) figure(t *report.Table, f report.Figure, ours, theirs string) {
	f.Ours, f.Theirs = r.samples[ours], r.samples[theirs]
	t.Add(f)
}

func (r *results) firstRows(t *report.Table) {
	f := report.Figure{What: "the first byte through a relay", Unit: "ms", Digits: 1, Peer: theirClient, Goal: 10}
	r.figure(t, f, "ours first", "go-libp2p first")
	f.What = "… our client at go-libp2p's relay"
	r.figure(t, f, "ours, stock first", "go-libp2p first")
}

// share returns a share of runs; the sample has a 1 or a 0 for each run.
func share(s report.Sample) string {
	if len(s) == 0 {
		return report.NotMeasured
	}
	sum := 0.0
	for _, v := range s {
		sum += v
	}
	return fmt.Sprintf("%.0f of %d", sum, len(s))
}

// shares adds a row of two shares; all tells whether ours should be all, or
// none.
func shares(t *report.Table, what string, ours, theirs report.Sample, all, goal bool) {
	row := []string{what, theirClient, share(theirs), share(ours), "–", "–", "–"}
	if goal {
		row[5], row[6] = map[bool]string{true: "all", false: "none"}[all], report.NotMeasured
		if len(ours) > 0 {
			want := 0.0
			if all {
				want = 1
			}
			row[6] = "yes"
			for _, v := range ours {
				if v != want {
					row[6] = "no"
				}
			}
		}
	}
	t.Rows = append(t.Rows, row)
}

func (r *results) punchRows(t *report.Table) {
	for _, row := range pairs {
		key := ", " + row.name
		if !row.direct {
			shares(t, row.name+": direct", r.samples["ours"+key+", direct"], r.samples["go-libp2p"+key+", direct"], false, true)
			continue
		}
		shares(t, row.name+": direct", r.samples["ours"+key+", direct"], r.samples["go-libp2p"+key+", direct"], true, true)
		f := report.Figure{What: "… from the call until both sides are direct", Unit: "ms", Digits: 1, Peer: theirClient, Goal: 30}
		r.figure(t, f, "ours"+key+", after", "go-libp2p"+key+", after")
		f.What, f.Goal = "… longest gap of the stream that was open; theirs stays relayed", 20
		r.figure(t, f, "ours"+key+", longest", "go-libp2p"+key+", longest")
	}
	shares(t, "streams that run directly once the peers do", r.samples["ours moved"], r.samples["go-libp2p moved"], true, true)
	shares(t, "streams that ended meanwhile", r.samples["ours ended"], r.samples["go-libp2p ended"], false, true)
	t.Add(report.Figure{What: "moves of one connection, to the relay and back", Goal: 20, Least: true, Ours: r.samples["moves"]})
}

func (r *results) failoverRows(t *report.Table) {
	for _, how := range []string{"killed", "stopped"} {
		f := report.Figure{What: "relay " + how + ": the stream goes on; go-libp2p's ends", Unit: "s", Digits: 2, Peer: theirClient, Goal: 5, Worst: true}
		r.figure(t, f, how, how+", go-libp2p")
		f = report.Figure{What: "… from when the caller had noticed", Unit: "s", Digits: 2, Goal: 0.5}
		r.figure(t, f, how+", noticed", "")
	}
}

func (r *results) relayRows(t *report.Table) {
	off := report.Sample{}
	for i, charged := range r.samples["charged"] {
		off = append(off, charged-r.samples["relayed"][i])
		f := report.Figure{What: "bytes that an account is charged; by the relay's own metrics", Peer: theirRelay, Unit: "bytes"}
		f.Ours, f.Theirs = report.Sample{charged}, report.Sample{r.samples["relayed"][i]}
		t.Add(f)
	}
	t.Add(report.Figure{What: "… difference", Unit: "bytes", Never: true, Worst: true, Ours: off})
	f := report.Figure{What: "relay's CPU for a GiB", Unit: "s", Digits: 2, Peer: theirRelay, Ratio: 1.1}
	r.figure(t, f, "ours relay CPU", "ours, stock relay CPU")
	f.Peer, f.Ratio = theirDefault, 0
	r.figure(t, f, "ours relay CPU", "ours, small relay CPU")
	f.Peer = theirClient
	r.figure(t, f, "ours relay CPU", "go-libp2p relay CPU")
	f.What = "CPU of both ends for a GiB"
	r.figure(t, f, "ours ends CPU", "go-libp2p ends CPU")
	f = report.Figure{What: "relayed throughput", Unit: "MB/s", Digits: 1, Peer: theirRelay, Ratio: 0.9, Least: true}
	r.figure(t, f, "ours speed", "ours, stock speed")
	f.Peer, f.Ratio = theirDefault, 0
	r.figure(t, f, "ours speed", "ours, small speed")
	f.Peer = theirClient
	r.figure(t, f, "ours speed", "go-libp2p speed")
}

func (r *results) reservationRows(t *report.Table) {
	for _, row := range []struct {
		key, what, unit string
		digits          int
	}{
		{"take", "relay's CPU to take a reservation", "ms", 2},
		{"heap", "relay's memory for a reservation: heap", "KiB", 1},
		{"stacks", "… stacks", "KiB", 1},
		{"resident", "… resident", "KiB", 1},
		{"goroutines", "… goroutines", "", 1},
		{"idle", "relay's CPU while 1,000 reservations are idle", "% of a core", 2},
	} {
		f := report.Figure{What: row.what, Unit: row.unit, Digits: row.digits, Peer: theirRelay}
		r.figure(t, f, "metered "+row.key, "stock "+row.key)
	}
	t.Add(report.Figure{What: "what the client adds to a program with QUIC and discovery", Unit: "KB", Goal: 100, Ours: r.samples["size"]})
}

func (r *results) besideRows(t *report.Table) {
	f := report.Figure{What: "a direct transfer beside a relayed one at full speed", Unit: "MB/s", Digits: 1, Peer: "alone", Ratio: 0.5, Least: true}
	r.figure(t, f, "beside relayed", "beside nothing")
	f.Peer, f.Ratio = "beside another direct one", 0
	r.figure(t, f, "beside relayed", "beside direct")
	more := report.Sample{}
	for i, v := range r.samples["ping, relayed"] {
		more = append(more, v-r.samples["ping, nothing"][i])
	}
	f = report.Figure{What: "a byte of it there and back, beside that", Unit: "ms", Digits: 1, Peer: "alone"}
	r.figure(t, f, "ping, relayed", "ping, nothing")
	f.Peer = "beside a direct transfer"
	r.figure(t, f, "ping, relayed", "ping, direct")
	t.Add(report.Figure{What: "… longer than alone", Unit: "ms", Digits: 1, Goal: 10, Ours: more})
}
