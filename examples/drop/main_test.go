//go:build unix

package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/exampletest"
)

// TestMain lets the test binary act as the program, for the tests that run it
// and for the demo.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_EXAMPLE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// A process runs the program.
type process struct {
	*exec.Cmd
	*screen
}

func (p *process) String() string { return p.screen.String() }

func program(t *testing.T, args ...string) *process {
	p := &process{exec.CommandContext(t.Context(), os.Args[0], args...), &screen{}}
	p.Env = append(os.Environ(), "RUN_EXAMPLE=1", "XDG_CACHE_HOME="+t.TempDir())
	p.Stdout, p.Stderr = p.screen, p.screen
	return p
}

// ends waits until the process ends, with the given exit code.
func (p *process) ends(t *testing.T, want code) {
	t.Helper()
	err := p.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) || err == nil {
		require.Equal(t, int(want), p.ProcessState.ExitCode(), "%v:\n%v", p.Args, p)
		return
	}
	require.NoError(t, err)
}

func (p *process) interrupt(t *testing.T) {
	require.NoError(t, p.Process.Signal(os.Interrupt))
}

// Ctrl-C in either process ends a transfer in both. After both were killed, the
// transfer goes on where it ended when the file is sent again.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	content := make([]byte, 40<<20, 320<<20)
	rand.NewChaCha8([32]byte{}).Read(content)
	large := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(large, content, 0o600))
	// Three quarters take longer than an interrupt.
	require.NoError(t, os.Truncate(large, int64(cap(content))))
	dir, keys := "", t.TempDir()
	key, err := key(keys, "receive")
	require.NoError(t, err)
	start := func(args ...string) *process {
		p := program(t, append(args, "--interface", exampletest.Loopback(t), "--keys", keys)...)
		require.NoError(t, p.Start())
		return p
	}
	for _, how := range []string{"sender", "receiver", "killed"} {
		dir = t.TempDir()
		receiver := start("receive", dir, "--yes", "--name", "Bob")
		sender := start("send", large, "--to", key.Remote().Fingerprint())
		// A part of the file is there.
		receiver.Matches(t, regexp.MustCompile(`[1-9]\d? %: .* of 335.5 MB\n`))
		switch how {
		case "sender":
			sender.interrupt(t)
			sender.ends(t, exitFailed)
			receiver.Shows(t, ": the other device canceled")
			receiver.interrupt(t)
			receiver.ends(t, exitFailed)
		case "receiver":
			receiver.interrupt(t)
			receiver.ends(t, exitFailed)
			sender.Shows(t, ": the other device canceled")
			sender.ends(t, exitFailed)
		case "killed":
			for _, p := range []*process{receiver, sender} {
				require.NoError(t, p.Process.Kill())
				p.Wait()
			}
		}
		if how != "killed" {
			require.Contains(t, sender.String()+receiver.String(), "\ndrop: canceled\n")
			require.Contains(t, sender.String(), "\nStopped at ")
			require.Contains(t, receiver.String(), "\nStopped at ")
		}
		require.NoFileExists(t, filepath.Join(dir, "large"))
	}
	// A file that is there already is not sent again.
	receiver := start("receive", dir, "--yes", "--once")
	sender := start("send", large, "--to", key.Remote().Fingerprint())
	sender.ends(t, exitAll)
	receiver.ends(t, exitAll)
	require.Regexp(t, `Sent 1 file, 335.5 MB; \d+\.\d [kM]B were there already`, sender.String())
	require.Contains(t, receiver.String(), "were there already")
	got, err := os.ReadFile(filepath.Join(dir, "large"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(content[:cap(content)], got))
}

// When files were left out, the exit code is 3 at both ends; a receiver that
// received nothing exits with 0.
func TestExit(t *testing.T) {
	t.Parallel()
	source, dir, keys := t.TempDir(), t.TempDir(), t.TempDir()
	put(t, filepath.Join(source, "file"), "content", 0o600)
	require.NoError(t, os.Symlink("file", filepath.Join(source, "link")))
	key, err := key(keys, "receive")
	require.NoError(t, err)
	receiver := program(t, "receive", dir, "--yes", "--keys", keys, "--interface", exampletest.Loopback(t))
	require.NoError(t, receiver.Start())
	sender := program(t, "send", source, "--to", key.Remote().Fingerprint(),
		"--keys", keys, "--interface", exampletest.Loopback(t))
	require.NoError(t, sender.Start())
	sender.ends(t, exitSome)
	receiver.Shows(t, "\nReceived 1 file, 7 B")
	receiver.interrupt(t)
	receiver.ends(t, exitSome)
	idle := program(t, "receive", dir, "--keys", keys, "--interface", exampletest.Loopback(t))
	require.NoError(t, idle.Start())
	idle.Shows(t, "Waiting as ")
	require.NoError(t, idle.Process.Signal(syscall.SIGTERM))
	idle.ends(t, exitAll)
}

func TestUsage(t *testing.T) {
	t.Parallel()
	relay := identity.New().Remote().String() + "@192.0.2.1:7374"
	for _, args := range [][]string{
		{}, {"receive"}, {"send"}, {"receive", "a", "b"}, {"other", "x"},
		{"--demo", "x", "send"}, {"send", "x", "--unknown\x1b"}, {"send", "x", "--to"},
		{"receive", "a", "--from", "Alice"}, // anybody can take that name
		{"send", "a", "--relay", "nowhere"}, {"send", "a", "--token", "missing"},
		{"send", "a", "--relay", relay, "--to", identity.New().Remote().Fingerprint()},
	} {
		p := program(t, args...)
		require.NoError(t, p.Start())
		p.ends(t, exitUsage)
		require.Regexp(t, `^drop: .*\(--help tells more\)\n$`, p.String())
		require.NotContains(t, p.String(), "\x1b")
	}
	p := program(t, "--help")
	require.NoError(t, p.Start())
	p.ends(t, exitAll)
	for _, text := range []string{"drop receive DIR", "3 some files were left out", "-once\n"} {
		require.Contains(t, p.String(), text)
	}
	p = program(t, "receive", filepath.Join(t.TempDir(), "missing"), "--keys", t.TempDir())
	require.NoError(t, p.Start())
	p.ends(t, exitFailed)
}

// Only the user can read the folder for long lists.
func TestSpool(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache)
	root := spool()
	require.NotNil(t, root)
	defer root.Close()
	info, err := root.Stat(".")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	t.Setenv("XDG_CACHE_HOME", filepath.Join(put(t, filepath.Join(cache, "file"), "", 0o600), "x"))
	t.Setenv("HOME", os.Getenv("XDG_CACHE_HOME"))
	require.Nil(t, spool(), "a folder is not required")
}
