package docs_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/exampletest"
)

// TestGuide follows the guide as a new user would: it puts the guide's files
// into a module of their own outside the repository, runs the guide's commands
// in order, and runs its programs in two processes.
func TestGuide(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	blocks := guide(t)
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	home := t.TempDir()
	require.NoError(t, os.Symlink(root, filepath.Join(home, "p2p")))

	dir := filepath.Join(home, "clips")
	for _, b := range blocks {
		switch {
		case b.file != "":
			file := filepath.Join(dir, b.file)
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
			require.NoError(t, os.WriteFile(file, []byte(b.text), 0o644))
		case strings.Contains(b.text, "mkdir clips"):
			run(t, home, b.text)
		case strings.HasPrefix(b.text, "go mod"), strings.HasPrefix(b.text, "go vet"), strings.HasPrefix(b.text, "go generate"):
			run(t, dir, b.text)
		}
	}
	run(t, dir, "test -z \"$(gofmt -l .)\"")
	run(t, dir, "go build -ldflags='-s -w' -o .. ./first ./private ./contacts")
	on := "-on " + exampletest.Loopback(t)

	t.Run("first", func(t *testing.T) {
		laptop := start(t, home, command(t, blocks, "go run ./first -name laptop")+" "+on)
		phone := start(t, home, command(t, blocks, "go run ./first -name phone")+" "+on)
		const fingerprint = `|(\w{4}-){3}\w{4}` // shown for a peer that has not told its name yet
		require.Regexp(t, `^(phone`+fingerprint+`) has copied "world"$`, laptop.line(t, "has copied"))
		require.Regexp(t, `^(laptop`+fingerprint+`) has copied "hello"$`, phone.line(t, "has copied"))
	})
	t.Run("private", func(t *testing.T) {
		first := command(t, blocks, "go run ./private -name laptop") + " " + on
		laptop := start(t, home, first)
		key := laptop.line(t, "sdp2pk1:")
		ticket := laptop.line(t, "sdp2p1:")
		second := strings.Replace(command(t, blocks, "go run ./private -name phone"), "sdp2p1:…", ticket, 1) + " " + on
		phone := start(t, home, second)
		asked := regexp.MustCompile(`"(\w+)"\? It must show (\d{6}), too`)
		a, b := asked.FindStringSubmatch(laptop.line(t, "It must show")), asked.FindStringSubmatch(phone.line(t, "It must show"))
		require.Equal(t, []string{"phone", "laptop", a[2]}, []string{a[1], b[1], b[2]})
		laptop.say(t, "y\n")
		phone.say(t, "y\n")
		require.Contains(t, laptop.line(t, "has copied"), "phone has copied \"world\", and nobody else knows")
		require.Contains(t, phone.line(t, "has copied"), "laptop has copied \"hello\", and nobody else knows")

		laptop.stop(t) // start both again, without a ticket
		phone.stop(t)
		laptop, phone = start(t, home, first), start(t, home, second)
		require.Contains(t, laptop.line(t, "has copied"), "phone has copied \"world\", and nobody else knows")
		require.Contains(t, phone.line(t, "has copied"), "laptop has copied \"hello\", and nobody else knows")

		phone.stop(t) // now the laptop is lost
		phone = start(t, home, strings.Replace(command(t, blocks, "go run ./private -name phone -dir phone -copy world -recover"), "sdp2pk1:…", key, 1)+" "+on)
		require.Equal(t, "laptop was removed by the recovery key", phone.line(t, "was removed"))
	})
	t.Run("contacts", func(t *testing.T) {
		ada := start(t, home, command(t, blocks, "go run ./contacts -name ada")+" "+on)
		bob := start(t, home, command(t, blocks, "go run ./contacts -name bob")+" "+on)
		key := func(p *process) string { return strings.TrimPrefix(p.line(t, "My key is"), "My key is ") + "\n" }
		ofAda, ofBob := key(ada), key(bob)
		ada.say(t, ofBob)
		bob.say(t, ofAda)
		found := func() {
			require.Equal(t, `bob has copied "world"`, ada.line(t, "has copied"))
			require.Equal(t, `ada has copied "hello"`, bob.line(t, "has copied"))
		}
		found()
		ada.say(t, "everybody\n")
		bob.say(t, "everybody\n")
		found()
		ada.say(t, "contacts\n")
		bob.say(t, "contacts\n")
		found()
	})
}

// Every command of the guide is either one that the test runs, or one of those
// that it cannot run.
func TestGuideCommands(t *testing.T) {
	for _, b := range guide(t) {
		if b.file != "" || b.kind != "sh" {
			continue
		}
		for line := range strings.Lines(b.text) {
			require.Regexp(t, `^(mkdir clips|cd clips|go (mod|vet|test|generate) |go run \./(first|private|contacts) |cd \.\./p2p && go run \./cmd/sdp2p scan --app clips$)`, strings.TrimSpace(line))
		}
	}
}

// A block is a fenced block of the guide; file is its name if it is a file that
// the reader creates.
type block struct{ kind, file, text string }

func guide(t *testing.T) []block { return blocks(t, "guide.md") }

// blocks returns the fenced blocks of a document.
func blocks(t *testing.T, file string) (all []block) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, m := range regexp.MustCompile("(?ms)^```(\\w*) ?(\\S*)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		all = append(all, block{m[1], m[2], m[3]})
	}
	require.Greater(t, len(all), 4)
	return all
}

// command returns the line of the guide that starts with begin, changed to run
// the program that was built.
func command(t *testing.T, blocks []block, begin string) string {
	for _, b := range blocks {
		for line := range strings.Lines(b.text) {
			if strings.HasPrefix(line, begin) {
				return strings.Replace(strings.TrimSpace(line), "go run ./", "./", 1)
			}
		}
	}
	t.Fatalf("the guide has no command %q", begin)
	return ""
}

// run runs commands, with the modules that this machine has.
func run(t *testing.T, dir, commands string) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-ec", commands)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod -trimpath")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s:\n%s", commands, out)
}

// A process runs a program of the guide.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
}

func start(t *testing.T, dir, command string) *process {
	args := strings.Fields(command)
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd, in, make(chan string, 1000)}
	go func() {
		defer close(p.lines)
		r := bufio.NewReader(out)
		var line []byte
		for {
			b, err := r.ReadByte()
			if err != nil {
				return
			}
			line = append(line, b)
			if prompt := strings.HasSuffix(string(line), "[y/n] "); b == '\n' || prompt {
				p.lines <- strings.TrimSpace(string(line))
				line = nil
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return p
}

// line waits for a line that contains text.
func (p *process) line(t *testing.T, text string) string {
	late := time.After(time.Minute)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("%v ended without saying %q", p.cmd.Args, text)
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-late:
			t.Fatalf("%v does not say %q", p.cmd.Args, text)
		}
	}
}

func (p *process) say(t *testing.T, text string) {
	_, err := io.WriteString(p.in, text)
	require.NoError(t, err)
}

// stop interrupts the process and waits for its end.
func (p *process) stop(t *testing.T) {
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	for range p.lines {
	}
	p.cmd.Wait()
}
