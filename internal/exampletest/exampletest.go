// Package exampletest runs the programs of examples, each in a process of its
// own, on the loopback interface. Only tests import it.
package exampletest

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Main is for TestMain: it makes the test binary run as the program if Start
// has started it.
func Main(m *testing.M, main func()) {
	if os.Getenv("RUN_EXAMPLE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// A Program is a running program.
type Program struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
}

// Start starts the program, which is killed at the end of the test at the
// latest.
func Start(t *testing.T, args ...string) *Program {
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), "RUN_EXAMPLE=1"), os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &Program{cmd, in, make(chan string, 1000)}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return p
}

// Line waits for a line that matches, and returns the submatches. It skips
// other lines, since unrelated programs may be on the same network.
func (p *Program) Line(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(time.Minute)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("%v ended without saying %q", p.cmd.Args, pattern)
			}
			if found := re.FindStringSubmatch(line); found != nil {
				return found
			}
		case <-late:
			t.Fatalf("%v does not say %q", p.cmd.Args, pattern)
		}
	}
}

// Say writes a line to the program's input.
func (p *Program) Say(t *testing.T, line string) {
	_, err := io.WriteString(p.in, line+"\n")
	require.NoError(t, err)
}

// End closes the program's input.
func (p *Program) End(t *testing.T) {
	require.NoError(t, p.in.Close())
	for range p.lines {
	}
	require.NoError(t, p.cmd.Wait())
}

// Interrupt interrupts the program, and waits for its end.
func (p *Program) Interrupt(t *testing.T) {
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	for range p.lines {
	}
	p.cmd.Wait()
}

// Loopback returns the name of the loopback interface.
func Loopback(t *testing.T) string {
	all, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 {
			return i.Name
		}
	}
	t.Skip("no loopback interface")
	return ""
}

// Lines returns the number of lines of a file that are neither empty nor only a
// comment.
func Lines(t *testing.T, file string) (n int) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			n++
		}
	}
	return n
}
