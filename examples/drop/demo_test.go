//go:build unix

package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain lets the test binary be the program, for the tests that run it and for the demo.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_EXAMPLE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

func loopback(t *testing.T) string {
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

// A demo works at any time, also while another one runs, and says so if what arrived is not what was sent.
func TestDemo(t *testing.T) {
	source := filepath.Join(t.TempDir(), "source")
	put(t, filepath.Join(source, "a/run.sh"), "#!/bin/sh\n", 0o755)
	put(t, filepath.Join(source, "large"), strings.Repeat("0123456789", 150_000), 0o644)
	var demos sync.WaitGroup
	for range 2 {
		demos.Go(func() {
			for range 2 {
				cmd, out := program(t, "--demo", source)
				if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "demo: all 4 files and folders are identical") ||
					!strings.Contains(out.String(), "Sent 2 files, 1.5 MB in ") {
					t.Errorf("%v:\n%v", err, out)
				}
			}
		})
	}
	demos.Wait()
	cmd, out := program(t, "--demo", filepath.Join(source, "missing"))
	require.Error(t, cmd.Run())
	require.Contains(t, out.String(), "no such file")
}

func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "s/a"), "xyz", 0o644)
	want, err := snapshot(filepath.Join(dir, "s"))
	require.NoError(t, err)
	for name, change := range map[string]func(){
		"content": func() { put(t, filepath.Join(dir, "s/a"), "xyZ", 0o644) },
		"more":    func() { put(t, filepath.Join(dir, "s/b"), "", 0o644) },
		"name":    func() { os.Rename(filepath.Join(dir, "s/a"), filepath.Join(dir, "s/c")) },
	} {
		change()
		got, err := snapshot(filepath.Join(dir, "s"))
		require.NoError(t, err)
		require.NotEqual(t, want, got, name)
	}
}

// Ctrl-C on either side ends a transfer between two processes on both. Sent again, it goes on where it ended, also after
// both were killed.
func TestInterrupt(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(large, []byte("not all zeros"), 0o600))
	require.NoError(t, os.Truncate(large, 256<<20)) // sparse
	dir, keys, name := t.TempDir(), t.TempDir(), "interrupt-"+time.Now().Format("150405.000000")
	start := func(args ...string) (*exec.Cmd, *bytes.Buffer) {
		cmd, out := program(t, append(args, "--interface", loopback(t), "--keys", keys)...)
		require.NoError(t, cmd.Start())
		return cmd, out
	}
	for _, how := range []string{"sender", "receiver", "killed"} {
		before := partial(dir)
		receiver, received := start("receive", dir, "--yes", "--name", name)
		sender, sent := start("send", large, "--to", name)
		require.Eventually(t, func() bool { return partial(dir) > before+(2<<20) }, 20*time.Second, time.Millisecond)
		switch how {
		case "sender":
			require.NoError(t, sender.Process.Signal(os.Interrupt))
			require.Error(t, sender.Wait())
			require.Contains(t, sent.String(), "drop: cancelled\n")
			require.NoError(t, receiver.Process.Signal(os.Interrupt))
			require.NoError(t, receiver.Wait())
			require.Contains(t, received.String(), "drop: cancelled by ")
		case "receiver":
			require.NoError(t, receiver.Process.Signal(os.Interrupt))
			require.NoError(t, receiver.Wait())
			require.Error(t, sender.Wait())
			require.Contains(t, sent.String(), "drop: cancelled by \""+name)
		case "killed":
			for _, cmd := range []*exec.Cmd{receiver, sender} {
				require.NoError(t, cmd.Process.Kill())
				cmd.Wait()
			}
		}
		require.NoFileExists(t, filepath.Join(dir, "large"))
	}
	receiver, received := start("receive", dir, "--yes", "--name", name)
	sender, sent := start("send", large, "--to", name)
	require.NoError(t, sender.Wait(), sent)
	require.Regexp(t, `Sent 1 files, 268.4 MB in .*; \d+\.\d MB were there already`, sent.String())
	require.NoError(t, receiver.Process.Signal(os.Interrupt))
	require.NoError(t, receiver.Wait())
	require.Contains(t, received.String(), "were there already")
	want, err := os.ReadFile(large)
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, "large"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"receive"}, {"send"}, {"receive", "a", "b"}, {"--demo", "x", "send"}, {"other", "x"}} {
		cmd, out := program(t, args...)
		require.Error(t, cmd.Run())
		require.Contains(t, out.String(), "drop receive DIR")
	}
}
