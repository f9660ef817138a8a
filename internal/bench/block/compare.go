package block

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sdp2p/p2p/internal/bench/report"
)

const note = `
Both ends are on this machine and talk over QUIC on loopback, from node to node, on one connection; what is compared takes turns,
after one to warm up. A time is from the opening of the stream until the sender knows that all has arrived: block then has verified
it, synced it and given it its name, and of the others only the last byte has been written. CPU is that of both ends together, in
the kernel too.

Files are read and written %s. On the disk is where temporary files are.

A copy reads 256 KiB from the file and writes them to the stream, and the other end does the reverse, or throws them away. With
BLAKE3, both ends hash what they copy, and compare the hashes in the end: so much slower that alone makes it, where both cores are
busy with the copy. The goals are 0.9 of a copy's speed, 1.11 of its time, and
in a tunnel 0.75 of the speed of the copy outside of one, 1.33 of its time.

The ancestor's way is that of the SDK's first implementation: a stream for each file, with a header and blocks of 128 KiB, and
after each of them a byte of the receiver, for which the sender waits. Names are written to directly, and nothing is verified or
synced; where it is said, each file is, before its last byte is acknowledged. The header leaves with the first block.

At 20 ms, a relay between the two ends passes each datagram on 10 ms after it came.

Memory is measured in a process for each end, once a millisecond while the file is sent: bytes of the heap, with garbage that
is not collected yet, above what there was after a collection just before. What is live is what collections in between
found. QUIC's buffers are part of it.

Sent again: the receiver's process is killed (SIGKILL) when it has said that it has half, and a new one goes on. What counts is all
that the sender gave to the two streams, above the size of the file.

Sending again what the same sender has sent before, to a receiver that trusts it: bytes are those that both sides gave to the stream.
The goals are what rsync takes for the same, and for the time of the large file what Syncthing takes.
`

// The goals, as what ours may take of the time that theirs takes, and others.
const (
	copyRatio   = 1.11 // 0.9 of the speed
	tunnelRatio = 1.33 // 0.75 of the speed
	smallRatio  = 0.2  // 5 times the speed

	transferHeap = 8 // MiB, each side
	sentAgain    = 1 // % of the file

	treeWire    = 0.5  // MB: rsync 0.3
	treeCPU     = 0.33 // s: rsync
	changedWire = 11.6 // MB: rsync
	changedTime = 4    // s: Syncthing
)

const (
	mib         = 1 << 20
	roundTrip   = 20 * time.Millisecond
	smallSize   = 4 << 10 // bytes
	treeSize    = 10_600  // likewise, about as in Go's source
	treeFolders = 6
)

// A plan is how much is measured.
type plan struct {
	rounds  int
	large   int64 // bytes of a file; also of that for memory and interruptions
	distant int64 // of one through the relay
	memory  int   // rounds
	kills   int
	small   int // files
	disks   int // files that are small, and not in memory
	tree    int // files of a tree that is sent again
}

var (
	full = plan{
		rounds: 7, large: 1 << 30, distant: 8 * mib, memory: 5, kills: 5, small: 10_000, disks: 1000, tree: 11_478,
	}
	short = plan{rounds: 1, large: 128 * mib, distant: mib, memory: 1, kills: 1, small: 300, disks: 20, tree: 300}
)

// A bench is where it is measured.
type bench struct {
	plan
	dir, disk string // folders, in memory if there is room, and where temporary files are
	file      string // the large one
	side      string // the program, if it was built
	table     *report.Table
}

// Compare measures all that the package is about, and reports a part of it when
// ctx ends.
func Compare(ctx context.Context, quick bool) (table report.Table, err error) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Minute)
	defer cancel()
	b := &bench{plan: full, table: &report.Table{Title: "Files", Columns: report.Columns}}
	if quick {
		b.plan = short
	}
	if b.dir, err = scratch(2*b.large + int64(b.small)*4*smallSize); err != nil {
		return *b.table, err
	}
	defer os.RemoveAll(b.dir)
	b.file = filepath.Join(b.dir, "large")
	if err := write(b.file, b.large); err != nil {
		return *b.table, err
	}
	if b.disk, err = os.MkdirTemp("", "bench"); err != nil {
		return *b.table, err
	}
	defer os.RemoveAll(b.disk)
	where := "in the folder for temporary files"
	if strings.HasPrefix(b.dir, shared) {
		where = "in memory (tmpfs), where a sync does nothing"
	}
	b.table.Note = fmt.Sprintf(note, where)
	for _, part := range []func(context.Context, *bench) error{large, lanes, memory, small, distant, resume, twice} {
		if err := part(ctx, b); err != nil {
			return *b.table, err
		}
	}
	return *b.table, nil
}
