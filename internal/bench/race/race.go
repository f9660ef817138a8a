// Package race lets things that are compared take turns, so that whatever else
// a machine does disturbs all of them alike.
package race

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/sdp2p/p2p/internal/bench/report"
)

// A Contender does something n times, and tells how long that took.
type Contender struct {
	Name   string
	Run    func(n int) (time.Duration, error)
	Before func() error // if not nil: prepares each call of Run, and is not measured
}

// turn prepares and runs.
func (c Contender) turn(n int) (took, cpu time.Duration, err error) {
	if c.Before != nil {
		if err := c.Before(); err != nil {
			return 0, 0, err
		}
	}
	runtime.GC()
	before := used()
	took, err = c.Run(n)
	return took, used() - before, err
}

// Repeat is a contender that calls f.
func Repeat(name string, f func() error) Contender {
	return Contender{Name: name, Run: func(n int) (time.Duration, error) {
		began := time.Now()
		for range n {
			if err := f(); err != nil {
				return 0, err
			}
		}
		return time.Since(began), nil
	}}
}

// A Race is what contenders have in common.
type Race struct {
	Rounds int
	Length time.Duration // of a round of one contender, about
	Times  int           // that each does it in a round; 0: as often as there is time for
	Cores  int           // that run Go; 0: as many as it would
}

// Run lets the contenders take turns, and returns the nanoseconds that each
// took once, in each round.
func (r Race) Run(ctx context.Context, contenders ...Contender) ([]report.Sample, error) {
	wall, _, err := r.RunCPU(ctx, contenders...)
	return wall, err
}

// RunCPU is Run that also returns the nanoseconds that all cores together
// computed for each contender, in the kernel too. They are 0 where the
// operating system does not tell.
func (r Race) RunCPU(ctx context.Context, contenders ...Contender) (wall, cpu []report.Sample, err error) {
	if r.Cores > 0 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(r.Cores))
	}
	times := make([]int, len(contenders)) // in a round
	for i, c := range contenders {
		if times[i], err = r.rehearse(ctx, c); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	wall, cpu = make([]report.Sample, len(contenders)), make([]report.Sample, len(contenders))
	for range r.Rounds {
		for i, c := range contenders {
			if err := ctx.Err(); err != nil {
				return nil, nil, err
			}
			took, computed, err := c.turn(times[i])
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			once := float64(times[i])
			wall[i] = append(wall[i], float64(took.Nanoseconds())/once)
			cpu[i] = append(cpu[i], float64(computed.Nanoseconds())/once)
		}
	}
	return wall, cpu, nil
}

// rehearse warms a contender up, and returns how often it does what it does in
// a round.
func (r Race) rehearse(ctx context.Context, c Contender) (int, error) {
	n := r.Times
	if n == 0 {
		n = 16
	}
	for ; ; n *= 2 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		took, _, err := c.turn(n)
		if err != nil {
			return 0, err
		}
		if r.Times > 0 {
			return n, nil
		}
		if took >= r.Length/2 {
			return max(1, int(float64(n)*float64(r.Length)/float64(took))), nil
		}
	}
}
