package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/p2ptest"
)

func loopback(t *testing.T) {
	all, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 {
			return
		}
	}
	t.Skip("no loopback interface")
}

// A demo works at any time, also while another one runs.
func TestDemo(t *testing.T) {
	t.Parallel()
	loopback(t)
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

// A person types and reads.
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

func sit(t *testing.T, network *p2ptest.Network, folder, name, first string) *person {
	in, typed := io.Pipe()
	p := &person{t: t, in: typed, done: make(chan error, 1)}
	cfg := Config{Folder: folder, Name: name, Network: network.Hooks, Log: slog.New(slog.DiscardHandler)}
	go func() { p.done <- converse(context.Background(), cfg, first, in, &p.out) }()
	return p
}

func (p *person) says(line string) { io.WriteString(p.in, line+"\n") }

// sees waits until something has been shown, and returns the last such thing.
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

// Two people pair their devices, with what the commands say when it goes well and when it does not.
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
	require.NoFileExists(t, filepath.Join(folders[1], "library.json"))
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
		"revoke Bert": "error: .*only the device that made the notebook|no member is called", "members": `"Anna" .*, connected`, "help": "restore ID",
		"join x": "not joined: there is a notebook here already", "online": "error: the device is online",
	} {
		b.says(line)
		b.sees(want)
	}
	b.quits()

	b = sit(t, network, folders[1], "Bert", "list")
	b.sees("bread  and milk")
	other := sit(t, network, folders[1], "Bert", "")
	require.ErrorContains(t, <-other.done, "another program uses the folder")
	b.says("rm " + id[:4])
	b.says("digest")
	digest := b.sees("(?m)^[0-9a-f]{64}$")
	require.Eventually(t, func() bool { a.says("digest"); return strings.Contains(a.out.String(), digest) }, time.Minute, 50*time.Millisecond)
	b.quits()
	a.quits()
	for _, name := range []string{"node.pem", "instance.pem", "library.json", "notes.log", "lock"} {
		info, err := os.Stat(filepath.Join(folders[0], name))
		require.NoError(t, err)
		require.Zero(t, info.Mode()&0o077, name)
	}
}
