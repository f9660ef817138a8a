//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/sdp2p/p2p/internal/exampletest"
)

// terminal returns both ends of a pseudo-terminal: the one for the user, and
// the one for a program.
func terminal(t *testing.T) (user, program *os.File) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no pseudo-terminals: ", err)
	}
	user = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { user.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	program, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { program.Close() })
	return user, program
}

// On a terminal, text that was typed before the question is no answer, not even
// the beginning of an answer, and progress is shown as a bar.
func TestTerminal(t *testing.T) {
	t.Parallel()
	keyboard, tty := terminal(t)
	dir, keys := t.TempDir(), t.TempDir()
	file := put(t, filepath.Join(t.TempDir(), "file"), strings.Repeat("x", 3<<20), 0o600)
	key, err := key(keys, "receive")
	require.NoError(t, err)
	receiver := program(t, "receive", dir, "--keys", keys, "--interface", exampletest.Loopback(t))
	receiver.Stdin, receiver.Stdout, receiver.Stderr = tty, tty, tty
	require.NoError(t, receiver.Start())
	go io.Copy(receiver.screen, keyboard)
	send := func() *process {
		p := program(t, "send", file, "--to", key.Remote().Fingerprint(),
			"--keys", keys, "--interface", exampletest.Loopback(t))
		require.NoError(t, p.Start())
		return p
	}
	enter := func(text string) {
		io.WriteString(keyboard, text)
		receiver.Shows(t, strings.TrimSpace(text)) // the terminal's echo: it has got the text
	}
	receiver.Shows(t, "Waiting as ")
	enter("y\n")
	enter("y")
	sender := send()
	receiver.Shows(t, "[y/N] ")
	io.WriteString(keyboard, "\n")
	sender.ends(t, exitFailed)
	sender.Shows(t, " declined")
	receiver.Shows(t, "): refused")

	sender = send()
	receiver.Shows(t, "[y/N] ")
	enter("y\n")
	sender.ends(t, exitAll)
	receiver.Shows(t, "100% ")
	receiver.Shows(t, "Received 1 file, 3.1 MB (")
	require.NotContains(t, receiver.String(), " %: ")
	require.Contains(t, sender.String(), " %: ")
	receiver.interrupt(t)
	receiver.ends(t, exitAll)
}
