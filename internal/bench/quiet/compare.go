package quiet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/sdp2p/p2p/internal/bench/report"
)

const note = `
A process with one node, QUIC and Multicast DNS, that has nothing to do: how
often the system has it wait for something, and what CPU it takes, both as the
system counts them. It is alone; or it has dialed one peer or ten, which
discovery has found, and has a stream to each on which nothing is sent any more.
All is on the loopback interface of a network namespace, where there is one to
be had. A node that nobody hears announces itself for three minutes: it has run for
four when the count begins.
`

// A plan is how long is measured.
type plan struct{ settle, window time.Duration }

var (
	whole = plan{settle: 4 * time.Minute, window: 5 * time.Minute}
	short = plan{settle: 5 * time.Second, window: 20 * time.Second}
)

// idles are the numbers of connected peers, with the goals for switches a
// minute.
var idles = []struct {
	peers int
	goal  float64
}{{0, 20}, {1, 0}, {10, 300}}

// Compare measures all that the package is about.
func Compare(ctx context.Context, quick bool) (report.Table, error) {
	p := whole
	if quick {
		p = short
	}
	t := report.Table{Title: "Quiet", Note: note, Columns: report.Columns}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return t, err
	}
	defer os.RemoveAll(dir)
	side := filepath.Join(dir, "side")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", side, "github.com/sdp2p/p2p/internal/bench/quiet/side").CombinedOutput(); err != nil {
		return t, fmt.Errorf("go build: %w: %s", err, out)
	}
	results, errs := make([]usage, len(idles)), make([]error, len(idles))
	var measuring sync.WaitGroup
	for i, idle := range idles {
		measuring.Go(func() { results[i], errs[i] = measure(ctx, side, idle.peers, p) })
	}
	measuring.Wait()
	minutes := p.window.Minutes()
	for i, idle := range idles {
		if errs[i] != nil {
			continue
		}
		what := fmt.Sprintf("an idle node, %d connected peers: voluntary context switches a minute", idle.peers)
		t.Add(report.Figure{What: what, Goal: idle.goal, Ours: report.Sample{results[i].Switches / minutes}})
		t.Add(report.Figure{What: "… CPU a minute", Unit: "ms", Digits: 1, Ours: report.Sample{results[i].CPU * 1000 / minutes}})
	}
	return t, errors.Join(errs...)
}

// measure returns what an idle node with so many connected peers uses.
func measure(ctx context.Context, side string, peers int, p plan) (u usage, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.settle+p.window+time.Minute)
	defer cancel()
	var all []*process
	defer func() {
		for _, s := range all {
			err = errors.Join(err, s.end())
		}
	}()
	cmds := []*exec.Cmd{exec.CommandContext(ctx, side, "node", strconv.Itoa(peers))}
	if peers > 0 {
		cmds = append([]*exec.Cmd{exec.CommandContext(ctx, side, "peers", strconv.Itoa(peers))}, cmds...)
	}
	apart(func() {
		for _, cmd := range cmds {
			var s *process
			if s, err = begin(cmd); err != nil {
				return
			}
			all = append(all, s)
		}
	})
	if err != nil {
		return u, err
	}
	for _, s := range all {
		if _, err := s.out.ReadString('\n'); err != nil {
			return u, fmt.Errorf("%v: %w", s.cmd.Args, err)
		}
	}
	node := all[len(all)-1]
	if err := pause(ctx, p.settle); err != nil {
		return u, err
	}
	before, err := node.usage()
	if err == nil {
		err = pause(ctx, p.window)
	}
	if err != nil {
		return u, err
	}
	after, err := node.usage()
	return usage{after.Switches - before.Switches, after.CPU - before.CPU}, err
}

// A process is a side that runs.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func begin(cmd *exec.Cmd) (*process, error) {
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &process{cmd, in, bufio.NewReader(out)}, cmd.Start()
}

// usage asks what the process has used.
func (s *process) usage() (u usage, err error) {
	if _, err = fmt.Fprintln(s.in); err != nil {
		return u, err
	}
	line, err := s.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &u)
	}
	return u, err
}

// end has the process end.
func (s *process) end() error {
	s.in.Close()
	return s.cmd.Wait()
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// loopback returns the name of the loopback interface.
func loopback() (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			return i.Name, nil
		}
	}
	return "", errors.New("this host has no loopback interface")
}
