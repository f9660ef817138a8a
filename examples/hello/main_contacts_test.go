package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/exampletest"
	"github.com/sdp2p/p2p/mdns/scan"
)

// A process runs the program.
type process struct {
	id    identity.Identity
	lines *bufio.Scanner
	said  []string
}

// run runs the program with a key until the test ends. The process is visible
// only to the given contacts.
func (p *process) run(t *testing.T, ctx context.Context, contacts ...*process) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, p.id.Save(file))
	args := []string{"-interface", exampletest.Loopback(t), "-key", file, "-contacts"}
	for _, c := range contacts {
		args = append(args, c.id.Remote().String())
	}
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	p.lines = bufio.NewScanner(out)
	p.says(t, "My key is "+p.id.Remote().String())
}

// says waits for a line that begins with prefix, and returns the line.
func (p *process) says(t *testing.T, prefix string) string {
	t.Helper()
	for p.lines.Scan() {
		p.said = append(p.said, p.lines.Text())
		if strings.HasPrefix(p.lines.Text(), prefix) {
			return p.lines.Text()
		}
	}
	t.Fatalf("it has not said %q: %v", prefix, p.said)
	return ""
}

func (p *process) greeted(t *testing.T, o *process) {
	t.Helper()
	name, err := os.Hostname()
	require.NoError(t, err)
	require.Regexp(t, `at 127\.0\.0\.1:\d+ answered: Hello, `+name+`!$`, p.says(t, o.id.Remote().Fingerprint()))
}

// Two processes that have each other's keys find each other. A process that has
// their keys, but is none of their contacts, finds neither of them, while it
// does find its own contact. A scan finds nobody.
func TestContacts(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var alice, bob, mallory, friend process
	for _, p := range []*process{&alice, &bob, &mallory, &friend} {
		p.id = identity.New()
	}
	mallory.run(t, ctx, &alice, &bob, &friend)
	alice.run(t, ctx, &bob)
	bob.run(t, ctx, &alice)
	alice.greeted(t, &bob)
	bob.greeted(t, &alice)
	friend.run(t, ctx, &mallory) // last, for mallory would have found the others before friend
	mallory.greeted(t, &friend)
	require.Len(t, mallory.said, 2)
	found, err := scan.Scan(ctx, "hello", scan.Config{Interface: exampletest.Loopback(t)})
	require.NoError(t, err)
	for _, n := range found { // others may run this program, too
		for _, p := range []*process{&alice, &bob, &mallory, &friend} {
			require.NotEqual(t, p.id.Remote(), n.Identity)
		}
	}
}

// Without keys, the program makes a key, and prints it.
func TestOwnKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.pem")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-key", file, "-contacts")
	cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	id, err := identity.Load(file)
	require.NoError(t, err)
	require.Equal(t, "My key is "+id.Remote().String()+"\n", string(out))
}
