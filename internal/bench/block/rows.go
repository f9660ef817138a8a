package block

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sdp2p/p2p/internal/bench/race"
	"github.com/sdp2p/p2p/internal/bench/report"
)

// The names of what block is compared with.
const (
	copyName    = "copy through the stream"
	hashedName  = ", BLAKE3 at both ends"
	discardName = "stream, thrown away"
	tunnelName  = "copy through the tunnel"
	waitName    = "ancestor's way"
)

// contender moves once what is at a path.
func (p *pair) contender(ctx context.Context, name string, w way, open opener, from string) race.Contender {
	return race.Contender{Name: name, Before: p.empty, Run: func(int) (time.Duration, error) {
		began := time.Now()
		err := w.send(ctx, open, from)
		took := time.Since(began)
		p.settle()
		return took, err
	}}
}

// sized is a size in words.
func sized(bytes int64) string {
	if bytes >= 1<<30 {
		return fmt.Sprintf("%d GiB", bytes>>30)
	}
	return fmt.Sprintf("%d MiB", bytes/mib)
}

// run has contenders take turns, and returns what each took, in seconds.
func run(ctx context.Context, rounds int, contenders ...race.Contender) (wall, cpu []report.Sample, err error) {
	wall, cpu, err = race.Race{Rounds: rounds, Times: 1}.RunCPU(ctx, contenders...)
	for i := range wall {
		wall[i], cpu[i] = wall[i].Scaled(1e-9), cpu[i].Scaled(1e-9)
	}
	return wall, cpu, err
}

// large measures one large file, outside of a tunnel and in one.
func large(ctx context.Context, b *bench) error {
	p, err := newPair(ctx, b.dir, 0)
	if err != nil {
		return err
	}
	defer p.close()
	from := b.file
	const (
		ours = iota
		oursInTunnel
		theirs
		theirsHashed
		nowhere
		theirsInTunnel
		hashedInTunnel
		ancestors
	)
	contenders := []race.Contender{
		ours:           p.contender(ctx, "block", blocks, p.bare(blocks), from),
		oursInTunnel:   p.contender(ctx, "block in a tunnel", blocks, p.tunneled(blocks), from),
		theirs:         p.contender(ctx, copyName, copied, p.bare(copied), from),
		theirsHashed:   p.contender(ctx, copyName+hashedName, hashed, p.bare(hashed), from),
		nowhere:        p.contender(ctx, discardName, discarded, p.bare(discarded), from),
		theirsInTunnel: p.contender(ctx, tunnelName, copied, p.tunneled(copied), from),
		hashedInTunnel: p.contender(ctx, tunnelName+hashedName, hashed, p.tunneled(hashed), from),
		ancestors:      p.contender(ctx, waitName, waiting, p.bare(waiting), from),
	}
	wall, cpu, err := run(ctx, b.rounds, contenders...)
	if err != nil {
		return err
	}
	what := "a file of " + sized(b.large)
	perGiB := float64(1<<30) / float64(b.large)
	for _, row := range []struct {
		what       string
		ours, peer int
		goal       float64
	}{
		{what, ours, theirs, copyRatio},
		{what, ours, theirsHashed, 0},
		{what, ours, nowhere, 0},
		{what + ", in a tunnel", oursInTunnel, theirs, tunnelRatio},
		{what + ", in a tunnel", oursInTunnel, theirsInTunnel, 0},
		{what + ", in a tunnel", oursInTunnel, hashedInTunnel, 0},
		{what, ours, ancestors, 0},
	} {
		f := report.Figure{What: row.what, Unit: "s", Digits: 2, Peer: contenders[row.peer].Name, Ratio: row.goal}
		f.Ours, f.Theirs = wall[row.ours], wall[row.peer]
		b.table.Add(f)
		f.What, f.Unit, f.Digits, f.Ratio = "… as a speed", "MB/s", 0, 0
		f.Ours, f.Theirs = f.Ours.Scaled(1e9).Speeds(float64(b.large)), f.Theirs.Scaled(1e9).Speeds(float64(b.large))
		b.table.Add(f)
		f.What, f.Unit, f.Digits = "… CPU for 1 GiB", "s", 2
		f.Ours, f.Theirs = cpu[row.ours].Scaled(perGiB), cpu[row.peer].Scaled(perGiB)
		b.table.Add(f)
	}
	return p.empty()
}

// distant measures a file at a distance.
func distant(ctx context.Context, b *bench) error {
	p, err := newPair(ctx, b.dir, roundTrip/2)
	if err != nil {
		return err
	}
	defer p.close()
	from := filepath.Join(b.dir, "distant")
	if err := write(from, b.distant); err != nil {
		return err
	}
	wall, _, err := run(ctx, b.rounds,
		p.contender(ctx, "block", blocks, p.bare(blocks), from),
		p.contender(ctx, waitName, waiting, p.bare(waiting), from),
		p.contender(ctx, copyName, copied, p.bare(copied), from))
	if err != nil {
		return err
	}
	for i, name := range []string{waitName, copyName} {
		b.table.Add(report.Figure{
			What: "a file of " + sized(b.distant) + " at 20 ms", Unit: "s", Digits: 2, Peer: name, Ours: wall[0], Theirs: wall[i+1],
		})
	}
	return p.empty()
}

// small measures many small files, in memory and on the disk.
func small(ctx context.Context, b *bench) error {
	atOnce := fmt.Sprintf("%s, %d at a time", waitName, openers)
	if err := smallIn(ctx, b, b.dir, "", b.small, []string{waitName, atOnce}, waiting, hasty); err != nil {
		return err
	}
	return smallIn(ctx, b, b.disk, "on the disk, ", b.disks, []string{waitName, waitName + ", fsync of each"}, waiting, synced)
}

func smallIn(ctx context.Context, b *bench, dir, where string, files int, names []string, ways ...way) error {
	p, err := newPair(ctx, dir, 0)
	if err != nil {
		return err
	}
	defer p.close()
	from := filepath.Join(dir, "small")
	if err := writeMany(from, files, smallSize); err != nil {
		return err
	}
	contenders := []race.Contender{p.contender(ctx, "block", blocks, p.bare(blocks), from)}
	for i, w := range ways {
		contenders = append(contenders, p.contender(ctx, names[i], w, p.bare(w), from))
	}
	wall, cpu, err := run(ctx, b.rounds, contenders...)
	if err != nil {
		return err
	}
	for i, name := range names {
		f := report.Figure{What: fmt.Sprintf("%s%d files of 4 KiB", where, files), Unit: "s", Digits: 2, Peer: name}
		f.Ours, f.Theirs = wall[0], wall[i+1]
		if i == 0 && where == "" {
			f.Ratio = smallRatio
		}
		b.table.Add(f)
		f.What, f.Ratio, f.Ours, f.Theirs = "… CPU", 0, cpu[0], cpu[i+1]
		b.table.Add(f)
	}
	if err := p.empty(); err != nil {
		return err
	}
	return os.RemoveAll(from)
}
