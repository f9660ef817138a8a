package block

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/internal/bench/race"
	"github.com/sdp2p/p2p/internal/bench/report"
)

// again is block for a sender that is known and trusted, whose files replace
// those that it has sent before.
var again = way{"again", sendBlock, receiveAgain}

func receiveAgain(ctx context.Context, s stream, to string) error {
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	_, err = block.Receive(ctx, s, nil, root, block.ReceiveOptions{From: "bench", Trusted: true, Existing: block.Replace})
	return err
}

// A counted stream counts the bytes of both directions.
type counted struct {
	stream
	bytes *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.stream.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.stream.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// repeat sends again what the other end has, once change has run, and returns
// megabytes, seconds, and seconds of CPU.
func (p *pair) repeat(ctx context.Context, rounds int, from string, change func() error) (crossed, wall, cpu report.Sample, err error) {
	open, bytes := p.bare(again), new(atomic.Int64)
	send := func() error {
		return over(ctx, open, func(s stream) error {
			_, err := block.Send(ctx, counted{s, bytes}, block.Paths(from), block.SendOptions{})
			return err
		})
	}
	c := race.Contender{Name: "block"}
	c.Before = func() error { // what one sender may have copied in an hour has a limit, which an empty folder forgets
		if err := p.empty(); err != nil {
			return err
		}
		if err := send(); err != nil {
			return err
		}
		p.settle()
		return change()
	}
	c.Run = func(int) (time.Duration, error) {
		bytes.Store(0)
		began := time.Now()
		err := send()
		took := time.Since(began)
		p.settle()
		crossed = append(crossed, float64(bytes.Load())/1e6)
		return took, err
	}
	walls, cpus, err := run(ctx, rounds, c)
	if err != nil {
		return nil, nil, nil, err
	}
	return crossed[len(crossed)-len(walls[0]):], walls[0], cpus[0], nil
}

// twice measures what it costs to send again what is there, or most of it.
func twice(ctx context.Context, b *bench) error {
	p, err := newPair(ctx, b.dir, 0)
	if err != nil {
		return err
	}
	defer p.close()
	tree := filepath.Join(b.dir, "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		return err
	}
	for i := range treeFolders {
		if err := writeMany(filepath.Join(tree, fmt.Sprint("folder ", i)), b.tree/treeFolders, treeSize); err != nil {
			return err
		}
	}
	rounds := min(b.rounds, 3)
	crossed, _, cpu, err := p.repeat(ctx, rounds, tree, func() error { return nil })
	if err != nil {
		return err
	}
	what := fmt.Sprintf("an unchanged tree of %d files of 10.6 kB again: ", b.tree/treeFolders*treeFolders)
	b.table.Add(report.Figure{What: what + "both directions", Unit: "MB", Digits: 2, Goal: treeWire, Ours: crossed})
	b.table.Add(report.Figure{What: "… CPU", Unit: "s", Digits: 2, Goal: treeCPU, Ours: cpu})
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	version := byte(0)
	crossed, wall, cpu, err := p.repeat(ctx, rounds, b.file, func() error {
		version++
		return alter(b.file, b.large, version)
	})
	if err != nil {
		return err
	}
	what = "1 % of " + sized(b.large) + " changed in ten places: "
	perGiB := float64(1<<30) / float64(b.large)
	b.table.Add(report.Figure{What: what + "both directions, for 1 GiB", Unit: "MB", Digits: 1, Goal: changedWire, Ours: crossed.Scaled(perGiB)})
	b.table.Add(report.Figure{What: "… time, for 1 GiB", Unit: "s", Digits: 2, Goal: changedTime, Ours: wall.Scaled(perGiB)})
	b.table.Add(report.Figure{What: "… CPU, for 1 GiB", Unit: "s", Digits: 2, Ours: cpu.Scaled(perGiB)})
	return p.empty()
}

// alter changes 1 % of a file, in ten places.
func alter(path string, size int64, version byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	content := make([]byte, size/1000)
	random := rand.NewChaCha8([32]byte{version})
	for i := range int64(10) {
		random.Read(content)
		if _, err := f.WriteAt(content, i*size/10+random64(random, size/10-size/1000)); err != nil {
			return err
		}
	}
	return nil
}

func random64(r *rand.ChaCha8, n int64) int64 { return int64(r.Uint64() % uint64(n)) }
