package main

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/exampletest"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
)

// A demo works at any time, also while another one runs.
func TestDemo(t *testing.T) {
	t.Parallel()
	exampletest.Loopback(t)
	var demos sync.WaitGroup
	for range 2 {
		demos.Go(func() {
			cmd, out := program(t, "--demo")
			if err := cmd.Run(); err != nil || !strings.HasSuffix(out.String(), "demo: all devices had the same notes whenever they should\n") {
				t.Errorf("%v:\n%v", err, out)
			}
		})
	}
	demos.Wait()
}

// A person types commands and reads their output.
type person struct {
	t    *testing.T
	in   *io.PipeWriter
	out  lockedBuilder
	done chan error
}

type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuilder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// inMemory lets a device use a network without sockets.
func inMemory(network *p2ptest.Network) func(*library.Libraries) []p2p.Hook {
	return func(*library.Libraries) []p2p.Hook { return network.Hooks() }
}

func sit(t *testing.T, network *p2ptest.Network, folder, name, first string) *person {
	return sitAt(t, inMemory(network), folder, name, first)
}

func sitAt(t *testing.T, network func(*library.Libraries) []p2p.Hook, folder, name, first string) *person {
	in, typed := io.Pipe()
	p := &person{t: t, in: typed, done: make(chan error, 1)}
	cfg := Config{Folder: folder, Name: name, Network: network, Log: slog.New(slog.DiscardHandler)}
	go func() { p.done <- converse(context.Background(), cfg, first, in, &p.out) }()
	return p
}

func (p *person) says(line string) { io.WriteString(p.in, line+"\n") }

// sees waits until the output has a match of what, and returns the last match.
func (p *person) sees(what string) string {
	p.t.Helper()
	var found []string
	require.Eventually(p.t, func() bool {
		found = regexp.MustCompile(what).FindAllString(p.out.String(), -1)
		return len(found) > 0
	}, time.Minute, time.Millisecond, "%s", what)
	return found[len(found)-1]
}

func (p *person) quits() {
	p.says("quit")
	require.NoError(p.t, <-p.done, p.out.String())
	p.in.Close()
}

// Two people pair their devices. The commands say what they should, both when
// they succeed and when they fail.
func TestCommands(t *testing.T) {
	t.Parallel()
	network := p2ptest.NewNetwork(p2ptest.Config{})
	folders := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	a, b := sit(t, network, folders[0], "Anna", ""), sit(t, network, folders[1], "Bert", "list")
	a.sees("there is no notebook here yet")
	b.sees("error: there is no notebook here yet")
	a.says("invite")
	a.sees("error: there is no notebook")
	a.says("yes")
	a.sees("error: nothing was asked")
	a.says("new")
	a.sees("(?m)^sdp2pk1:[a-z2-7]+$")
	a.sees("Print it, or keep it in a password manager")
	a.sees("(?m)^ok$")
	a.says("new")
	a.sees("error: there is a notebook here already")

	b.says("join sdp2p1:ABC")
	b.sees("not joined: ")
	a.says("invite")
	b.says("join " + a.sees("sdp2p1:[A-Z2-7]+"))
	digits := a.sees(`shows the digits \d{6}`)
	require.Equal(t, digits, b.sees(`shows the digits \d{6}`))
	a.says("no")
	a.sees("nobody has joined: ")
	b.says("yes")
	b.sees("not joined: .*declined")
	left, err := filepath.Glob(filepath.Join(folders[1], "libraries", "*.library"))
	require.NoError(t, err)
	require.Empty(t, left)
	a.says("invite")
	require.Eventually(t, func() bool { return strings.Count(a.out.String(), "sdp2p1:") == 2 }, time.Minute, time.Millisecond)
	b.says("join " + a.sees("sdp2p1:[A-Z2-7]+"))
	require.Eventually(t, func() bool { return strings.Count(a.out.String(), "Are they the same") == 2 }, time.Minute, time.Millisecond)
	a.says("yes")
	require.Eventually(t, func() bool { return strings.Count(b.out.String(), "Are they the same") == 2 }, time.Minute, time.Millisecond)
	b.says("yes")
	a.sees(`\* "Bert" has joined`)
	b.sees(`\* joined`)

	a.says("add Shopping \x1b[31m")
	id := a.sees(`(?m)^[0-9a-f]{8}$`)
	require.Eventually(t, func() bool { b.says("list"); return strings.Contains(b.out.String(), id+"  Shopping  [31m: ") }, time.Minute, 50*time.Millisecond)
	b.says("body " + id[:4] + " bread  and milk")
	require.Eventually(t, func() bool { a.says("list"); return strings.Contains(a.out.String(), ": bread  and milk\n") }, time.Minute, 50*time.Millisecond)
	for line, want := range map[string]string{
		"rm zzz": `error: no note begins with "zzz"`, "rm": `error: no note begins with ""`, "dance": `error: "dance" is not a command`,
		"revoke Anna": "error: .*only an admin of the library can do that", "revoke Bert": "no member is called", "help": "restore ID",
		"members": `"Bert" .*, member, this device`, "members ": `"Anna" .*, admin, connected`, "requests": "ok", "endorse Anna": "nobody called",
		"join x": "not joined: there is a notebook here already", "online": "error: the device is online",
	} {
		b.says(line)
		b.sees(want)
	}
	b.quits()
	again(t, network, folders, a, id)
	for _, folder := range folders {
		private(t, folder)
	}
}

// again lets the second of two people come back.
func again(t *testing.T, network *p2ptest.Network, folders []string, a *person, id string) {
	b := sit(t, network, folders[1], "Bert", "list")
	b.sees("bread  and milk")
	other := sit(t, network, folders[1], "Bert", "")
	require.ErrorIs(t, <-other.done, library.ErrInUse)
	b.says("rm " + id[:4])
	b.says("digest")
	digest := b.sees("(?m)^[0-9a-f]{64}$")
	require.Eventually(t, func() bool { a.says("digest"); return strings.Contains(a.out.String(), digest) }, time.Minute, 50*time.Millisecond)
	b.quits()
	a.quits()
}

// private checks that nobody else can read a device's files.
func private(t *testing.T, folder string) {
	files := 0
	require.NoError(t, filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := e.Info()
		require.NoError(t, err)
		if path != folder && !e.IsDir() {
			require.Zero(t, info.Mode()&0o077, path)
			files++
		}
		return nil
	}))
	require.Equal(t, 4, files, "two keys, the lock of the store, the log")
}

// joins lets a person join the notebook of the host.
func (p *person) joins(host *person) {
	p.t.Helper()
	tickets, asked := strings.Count(host.out.String(), "sdp2p1:"), strings.Count(host.out.String(), "Are they the same")
	host.says("invite")
	host.seesMore("sdp2p1:", tickets)
	p.says("join " + host.sees("sdp2p1:[A-Z2-7]+"))
	host.seesMore("Are they the same", asked)
	p.sees("Are they the same")
	host.says("yes")
	p.says("yes")
	p.sees(`\* joined`)
}

// seesMore waits until the output has more than so many matches of what.
func (p *person) seesMore(what string, often int) {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return strings.Count(p.out.String(), what) > often }, time.Minute, time.Millisecond, "%s", what)
}

// Admins make and remove each other: either two of them agree, or one has the
// recovery key. Everybody is told who did it.
func TestAdmins(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	a, b, c := sit(t, network, t.TempDir(), "Anna", "new"), sit(t, network, t.TempDir(), "Bert", ""), sit(t, network, t.TempDir(), "Carl", "")
	key := a.sees("(?m)^sdp2pk1:[a-z2-7]+$")
	b.joins(a)
	b.says("invite")
	b.sees("error: .*only an admin of the library can do that")
	a.says("promote Bert " + key[:len(key)-1])
	a.sees("error: .*not a recovery key")
	a.says("promote Bert " + key)
	require.Eventually(t, func() bool { b.says("members"); return strings.Contains(b.out.String(), ", admin, this device") }, time.Minute, 50*time.Millisecond)
	c.joins(b)
	a.sees(`\* "Carl" has become a member, by "Bert"`)

	b.says("promote Carl")
	b.sees("a second admin: the others are asked as they come by")
	a.sees(`\* "Bert" wants to make "Carl" an admin, which takes a second admin`)
	a.says("requests")
	a.sees(`(?m)^"Bert" wants to make "Carl" an admin`)
	a.says("endorse Bert")
	require.Eventually(t, func() bool { c.says("members"); return strings.Contains(c.out.String(), ", admin, this device") }, time.Minute, 50*time.Millisecond)
	b.says("revoke Anna")
	c.sees(`\* "Bert" wants to remove "Anna"`)
	c.says("decline Bert")
	b.says("revoke Anna " + key)
	b.sees(`\* "Anna" was removed by the recovery key`)
	c.sees(`\* "Anna" was removed by the recovery key`)
	for _, p := range []*person{a, b, c} {
		p.quits()
	}
}
