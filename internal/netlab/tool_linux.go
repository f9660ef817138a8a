package netlab

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A Line is what a tool printed, without the end of the line, and when that was
// read.
type Line struct {
	At   time.Time
	Text string
}

// A Tool is an external program that runs on a host. Everything that it prints
// is kept.
type Tool struct {
	t     testing.TB
	cmd   *exec.Cmd
	input io.WriteCloser
	done  chan struct{} // closed when it has ended

	mu    sync.Mutex
	lines []Line
	more  chan struct{} // closed when something is added to lines
}

// Tool starts a program on the host, with further environment variables, until
// the test ends.
func (h *Host) Tool(t testing.TB, env []string, name string, args ...string) *Tool {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("there is no program %s; .ci/run installs what the tests need", name)
	}
	p := &Tool{t: t, cmd: h.Command(name, args...), done: make(chan struct{}), more: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	var err error
	p.input, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.cmd.Stderr = p.cmd.Stdout
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		p.read(out)
		_ = p.cmd.Wait() // its exit code does not matter
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s %q printed:", name, args)
			for _, line := range p.Lines() {
				t.Log(line.At.Format("05.000"), line.Text)
			}
		}
	})
	return p
}

func (p *Tool) read(out io.Reader) {
	for lines := bufio.NewReader(out); ; {
		text, err := lines.ReadString('\n')
		if text != "" {
			p.mu.Lock()
			p.lines = append(p.lines, Line{time.Now(), strings.TrimSuffix(text, "\n")})
			close(p.more)
			p.more = make(chan struct{})
			p.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// Lines returns what the tool printed so far.
func (p *Tool) Lines() []Line {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Line(nil), p.lines...)
}

// Await returns the first line at or after since in which all words occur. It
// waits for it if need be; the test ends if it does not come.
func (p *Tool) Await(since time.Time, words ...string) Line {
	p.t.Helper()
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	for next := 0; ; {
		ended := false
		select {
		case <-p.done:
			ended = true
		default:
		}
		p.mu.Lock()
		lines, more := p.lines, p.more
		p.mu.Unlock()
		for ; next < len(lines); next++ {
			if !lines[next].At.Before(since) && mentionsAll(lines[next].Text, words) {
				return lines[next]
			}
		}
		if ended {
			p.t.Fatalf("%v ended without printing %q", p.cmd.Args, words)
		}
		select {
		case <-more:
		case <-p.done:
		case <-timeout.C:
			p.t.Fatalf("after %v %v has not printed %q", Patience, p.cmd.Args, words)
		}
	}
}

func mentionsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// Write writes to the tool's input.
func (p *Tool) Write(b []byte) (int, error) { return p.input.Write(b) }

// Quit closes the tool's input and waits until it has ended. It returns when it
// was asked to. The test ends if it takes too long.
func (p *Tool) Quit() time.Time { return p.end(func() { p.input.Close() }) }

// Interrupt sends SIGINT and waits until the tool has ended. It returns when it
// was sent. The test ends if it takes too long.
func (p *Tool) Interrupt() time.Time { return p.end(func() { _ = p.cmd.Process.Signal(os.Interrupt) }) }

// Terminate sends SIGTERM and waits until the tool has ended. It returns when
// it was sent. The test ends if it takes too long.
func (p *Tool) Terminate() time.Time {
	return p.end(func() { _ = p.cmd.Process.Signal(syscall.SIGTERM) })
}

func (p *Tool) end(how func()) time.Time {
	p.t.Helper()
	at := time.Now()
	how()
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
		p.t.Fatalf("%v does not end after %v", p.cmd.Args, Patience)
	}
	return at
}

// Kill ends the tool at once (SIGKILL), and returns when that was.
func (p *Tool) Kill() time.Time {
	at := time.Now()
	_ = p.cmd.Process.Kill() // unless it has ended
	<-p.done
	return at
}
