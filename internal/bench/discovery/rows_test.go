package discovery

import (
	"fmt"

	"github.com/sdp2p/p2p/internal/bench/report"
)

const note = `
Hosts are network namespaces of this machine on one link with IPv4 and IPv6; all clocks are the same. A start is when p2p.Start
is called, hashicorp/mdns's NewServer, or the program avahi-publish (in a daemon that runs already). A browser is avahi-browse
-r; it has found a node when it prints a resolved address, by IPv4 or IPv6, and misses it when both are gone. What it takes to start
it and to read its output is part of the time. A browser that starts with a node, or later, has a daemon that has just started, and
knows nothing. hashicorp/mdns does not ask whether its name is free (RFC 6762 §8.1), for which the others take 0.75 to 1 s.

Gone after a clean shutdown: from when Shutdown is called, or avahi-publish is interrupted. RFC 6762 §10.1 has anyone who hears a
goodbye keep the record for one more second, which avahi does: the second is its own. Our nodes ask the owner twice instead, and
keep it for 0.85 s. hashicorp/mdns says no goodbye, and is gone when its TTL of 120 s has passed.

The old browser has been there for 35 s or more, and asks at ever longer intervals. hashicorp/mdns announces nothing and is found
when the browser asks next: it was started when the browser was 35, 45 and 55 s old, which asks at 63 s.

A crash is a SIGKILL. A dial that fails has a node ask for the peer again, and it is gone if there is no answer in the 10 s of
RFC 6762 §10.4. Otherwise the records that say where it is run out 120 s after they were last heard. avahi-browse does not keep these,
and shows a peer that crashed for up to 75 min.

Idle, in real time: three hosts with one service each that all look for each other; what each sends to or from UDP port 5353, from
60 s after the start for 120 s, counted on its interface. All three labs ran at the same time. avahi-browse, see above, has less to
ask for. hashicorp/mdns has no browser: a program that wants to know who is there asks every so often, here every 10 s. Simulated:
an hour that begins 10 min after the start, in a network in memory and simulated time. Bytes are those of UDP payloads.

The flood: 3000 announcements a second of random valid identities from 80 addresses, for 33 s, to the sockets of a whole node
with discovery and QUIC. A node admits 50 new ones a second, so that its table is full for the last third. While the flood goes on,
real nodes start on a third host, one after the other. The heap is what is live after a collection, compared with before the flood.
Packets that are not worked on were dropped by the kernel, because the node did not take them in time.
`

// A row is a figure and the names of its samples.
type row struct {
	report.Figure
	theirs, ours string
}

const (
	avahi     = "avahi"
	hashicorp = "hashicorp/mdns"
)

// rows returns the rows of the table, in order.
func rows() []row {
	second := func(what string, goal float64) report.Figure {
		return report.Figure{What: what, Unit: "s", Digits: 2, Goal: goal}
	}
	against := func(f report.Figure, sample string, peers ...string) (rows []row) {
		for _, peer := range peers {
			f.Peer = peer
			rows = append(rows, row{f, sample + " " + peer, sample})
		}
		return rows
	}
	gone := second("gone after a clean shutdown, at the old avahi browser", 1)
	gone.Digits = 1
	goneHere := second("gone after a clean shutdown, at one of our nodes", 1)
	goneHere.Digits = 1
	dialed := second("gone after a crash, from the dial that failed", 10)
	dialed.Digits = 1
	expired := second("gone after a crash, without a dial", 120)
	expired.Digits, expired.Worst = 1, true
	simulated := expired
	simulated.What += ", simulated"

	all := against(second("found by an avahi browser that starts with it, from the start", 1), "fresh", avahi, hashicorp)
	all = append(all, against(second("found by an avahi browser that starts later, from the browser's start", 1), "late", avahi, hashicorp)...)
	all = append(all, against(second("found by an old avahi browser, from the start", 1.2), "old", avahi, hashicorp)...)
	all = append(all,
		row{second("… from when Start returned", 1.2), "", "old, ready"},
		row{second("two nodes know each other, from the start of the later one", 1.2), "", "each other"},
		row{second("… from when Start returned", 1.2), "", "each other, ready"},
	)
	all = append(all, against(gone, "gone", avahi, hashicorp)...)
	all = append(all,
		row{goneHere, "", "gone here"},
		row{dialed, "", "dialed"},
		row{second("… the dial itself took", 0), "", "dial"},
		row{expired, "", "expired"},
		row{simulated, "", "expired, simulated"},
	)
	found := second("… a real node is found, from its start", 5)
	found.Worst = true
	for _, unit := range []string{"packets", "bytes"} {
		f := report.Figure{What: unit + " sent while idle, a minute and node: 3 nodes", Digits: 2}
		if unit == "bytes" {
			f.Digits = 0
		}
		all = append(all, against(f, "idle "+unit, avahi, hashicorp)...)
		for _, nodes := range idleNodes {
			f.What = fmt.Sprintf("… number of nodes %d, simulated", nodes)
			f.Goal = 0
			if unit == "packets" && nodes == 10 {
				f.Goal = 3
			}
			all = append(all, row{f, "", idleName(unit, nodes)})
		}
	}
	all = append(all,
		row{report.Figure{What: "heap growth in a flood of 100,000 forged nodes", Unit: "MiB", Digits: 1, Goal: 32, Worst: true}, "", "flood heap"},
		row{report.Figure{What: "… peers known", Goal: 1024, Worst: true}, "", "flood peers"},
		row{found, "", "flood found"},
		row{report.Figure{What: "… of the packets are worked on", Unit: "%"}, "", "flood worked on"},
	)
	return all
}

// idleNodes are the numbers of nodes to simulate.
var idleNodes = []int{1, 2, 10, 50}

func idleName(unit string, nodes int) string { return fmt.Sprintf("idle %s %d", unit, nodes) }
