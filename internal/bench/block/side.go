package block

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"time"
)

// A peak is the most memory that a transfer took on one side, in bytes, above
// what was there before.
type peak struct {
	Heap float64 // with what nobody needs any more, until it is collected
	Live float64 // at the end of a collection
}

const (
	sampleEvery = time.Millisecond

	heapMetric = "/memory/classes/heap/objects:bytes"
	liveMetric = "/gc/heap/live:bytes"
)

func heap() peak {
	s := []metrics.Sample{{Name: heapMetric}, {Name: liveMetric}}
	metrics.Read(s)
	return peak{float64(s[0].Value.Uint64()), float64(s[1].Value.Uint64())}
}

// watch measures what f takes.
func watch(f func() error) (peak, error) {
	for range 3 { // what a sync.Pool keeps survives one
		runtime.GC()
	}
	before := heap()
	most, stop, done := before, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for over := false; !over; {
			select {
			case <-tick.C:
			case <-stop:
				over = true
			}
			now := heap()
			most = peak{max(most.Heap, now.Heap), max(most.Live, now.Live)}
		}
	}()
	err := f()
	close(stop)
	<-done
	return peak{most.Heap - before.Heap, most.Live - before.Live}, err
}

// Side is one side of a transfer: "receive", and a folder; or "send", the
// receiver's address, the name of a way, and a file. A receiver writes its
// address, and the peak of each transfer, until in ends; a sender that of the
// one that it is for.
func Side(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "receive":
		return receiving(ctx, args[1], in, out)
	case len(args) == 4 && args[0] == "send":
		return sending(ctx, args[1], args[2], args[3], out)
	}
	return errors.New("usage: side receive folder | side send address way file")
}

func receiving(ctx context.Context, to string, in io.Reader, out io.Writer) error {
	peaks := json.NewEncoder(out)
	receive := into(to)
	n, err := startReceiver(ctx, func(ctx context.Context, w way, s stream) error {
		p, err := watch(func() error { return receive(ctx, w, s) })
		if err != nil {
			return err
		}
		return peaks.Encode(p)
	})
	if err != nil {
		return err
	}
	defer n.close()
	if _, err := fmt.Fprintln(out, n.addr()); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

func sending(ctx context.Context, to, name, from string, out io.Writer) error {
	i := slices.IndexFunc(served, func(w way) bool { return w.route == name })
	if i < 0 {
		return fmt.Errorf("there is no way %q", name)
	}
	at, err := netip.ParseAddrPort(to)
	if err != nil {
		return err
	}
	n, peer, err := startSender(ctx, at)
	if err != nil {
		return err
	}
	defer n.close()
	p, err := watch(func() error { return served[i].send(ctx, bare(peer, served[i]), from) })
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(p)
}

// buildSide builds the program in a folder, and returns its path.
func buildSide(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "side")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/sdp2p/p2p/internal/bench/block/side").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return program, nil
}

// A process is a side that runs.
type process struct {
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Reader
	log bytes.Buffer
}

func spawn(ctx context.Context, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, program, args...)}
	p.cmd.Stderr = &p.log
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in, p.out = in, bufio.NewReader(out)
	return p, p.cmd.Start()
}

// spawnReceiver returns a receiver and its address.
func spawnReceiver(ctx context.Context, program, to string) (*process, netip.AddrPort, error) {
	p, err := spawn(ctx, program, "receive", to)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	line, err := p.out.ReadString('\n')
	if err == nil {
		var at netip.AddrPort
		if at, err = netip.ParseAddrPort(strings.TrimSpace(line)); err == nil {
			return p, at, nil
		}
	}
	return nil, netip.AddrPort{}, errors.Join(err, p.end())
}

func (p *process) peak() (m peak, err error) {
	line, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &m)
	}
	return m, err
}

// end has the process end, and waits for that.
func (p *process) end() error {
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, p.log.Bytes())
	}
	return nil
}

// kill ends the process at once. end still has to be called.
func (p *process) kill() { p.cmd.Process.Kill() }
