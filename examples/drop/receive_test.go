package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/examples/drop/console"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/p2ptest"
)

// A device receives, on a network in memory; others send to it.
type device struct {
	*user
	network     *p2ptest.Network
	dir         string
	key, sender identity.Identity
	end         func() code // ends it like Ctrl-C
	ended       chan code   // gets the code when it ends by itself, too
}

// newDevice starts a device that receives.
func newDevice(t *testing.T, want options) *device {
	ctx, cancel := context.WithCancel(t.Context())
	d := &device{user: newUser(t), network: p2ptest.NewNetwork(p2ptest.Config{}), dir: t.TempDir()}
	d.key, d.sender, d.ended = identity.New(), identity.New(), make(chan code, 1)
	want.command, want.paths = "receive", []string{d.dir}
	cfg := p2p.Config{App: "drop", Name: "Bob", Identity: d.key, Hooks: d.network.Hooks()}
	go func() {
		d.ended <- receive(ctx, d.Console, cfg, &want)
		close(d.ended)
	}()
	d.end = func() code {
		cancel()
		return wait(t, d.ended)
	}
	t.Cleanup(func() { d.end() })
	d.Shows(t, `Waiting as "Bob" (`)
	return d
}

// A delivery is something sent to a device, with the screen of its sender.
type delivery struct {
	*screen
	ended  chan code
	cancel context.CancelFunc // ends it like Ctrl-C
}

// get lets another device of that name send the files at paths to d.
func (d *device) get(t *testing.T, name string, paths ...string) *delivery {
	ctx, cancel := context.WithCancel(t.Context())
	got := &delivery{&screen{}, make(chan code, 1), cancel}
	t.Cleanup(cancel)
	cfg := p2p.Config{App: "drop", Name: name, Identity: d.sender, Hooks: d.network.Hooks()}
	c := &console.Console{Out: got.screen, Err: got.screen}
	want := &options{paths: paths, to: d.key.Remote().Fingerprint()}
	go func() { got.ended <- send(ctx, c, cfg, want) }()
	return got
}

// code returns the exit code of the sender.
func (d *delivery) code(t *testing.T) code { return wait(t, d.ended) }

func TestTransfer(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "top")
	put(t, filepath.Join(source, "large"), strings.Repeat("0123456789", 200_000), 0o644)
	put(t, filepath.Join(source, "empty"), "", 0o600)
	put(t, filepath.Join(source, "bin/tool"), "#!/bin/sh\n", 0o755)
	put(t, filepath.Join(source, "a/b/c/Grüße 日本 👩‍👩‍👧"), "deep", 0o640)
	require.NoError(t, os.Mkdir(filepath.Join(source, "nothing here"), 0o755))
	old := time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC)
	require.NoError(t, os.Chtimes(filepath.Join(source, "bin/tool"), old, old))
	want, err := snapshot(source)
	require.NoError(t, err)
	alone := put(t, filepath.Join(t.TempDir(), "alone.txt"), "a file by itself", 0o644)

	d := newDevice(t, options{yes: true})
	put(t, filepath.Join(d.dir, "alone.txt"), "mine", 0o600)
	sent := d.get(t, "Alice", source, alone)
	require.Equal(t, exitAll, sent.code(t), sent)
	require.Contains(t, sent.String(), "Sent 5 files, 2.0 MB (")
	require.Regexp(t, `Sending to "Bob" \(.*\) at \S+:\d+\n`, sent.String())
	d.Shows(t, `offers 5 files and 6 folders, 2.0 MB`+"\n")
	d.Shows(t, `Receiving from "Alice" (`)
	d.Shows(t, "Received 5 files, 2.0 MB (")
	got, err := snapshot(filepath.Join(d.dir, "top"))
	require.NoError(t, err)
	require.Equal(t, want, got)
	info, err := os.Stat(filepath.Join(d.dir, "top/bin/tool"))
	require.NoError(t, err)
	require.True(t, old.Equal(info.ModTime()))
	require.Zero(t, info.Mode()&0o111, "files of a stranger must not be executable")
	mine, _ := os.ReadFile(filepath.Join(d.dir, "alone.txt"))
	theirs, _ := os.ReadFile(filepath.Join(d.dir, "alone (2).txt"))
	require.Equal(t, "mine a file by itself", string(mine)+" "+string(theirs))
	require.Equal(t, exitAll, d.end())
	require.NotContains(t, d.String(), "drop: ")
}

// If the receiver has named the sender by its key, unchanged files that this
// sender offers again are neither sent nor stored twice. From any other sender,
// they are.
func TestUnchanged(t *testing.T) {
	source := filepath.Join(t.TempDir(), "top")
	put(t, filepath.Join(source, ".hidden"), "a", 0o600)
	put(t, filepath.Join(source, "tool"), "#!/bin/sh\n", 0o755)
	for named, key := range map[string]func(identity.RemoteIdentity) string{
		"nobody":        func(identity.RemoteIdentity) string { return "" },
		"another":       func(identity.RemoteIdentity) string { return identity.New().Remote().String() },
		"a fingerprint": identity.RemoteIdentity.Fingerprint,
		"a key":         identity.RemoteIdentity.String,
	} {
		t.Run(named, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				sender := identity.New()
				d := newDevice(t, options{yes: true, from: key(sender.Remote())})
				d.sender = sender
				for range 2 {
					sent := d.get(t, "Alice", source)
					require.Equal(t, exitAll, sent.code(t), sent)
					d.Shows(t, "Received 2 files, 11 B")
					if !strings.HasPrefix(named, "a ") {
						require.NotContains(t, sent.String(), "unchanged")
						continue
					}
					_, err := os.Stat(filepath.Join(d.dir, "top (2)"))
					require.ErrorIs(t, err, fs.ErrNotExist)
					info, err := os.Stat(filepath.Join(d.dir, "top/tool"))
					require.NoError(t, err)
					require.NotZero(t, info.Mode()&0o100)
					require.FileExists(t, filepath.Join(d.dir, "top/.hidden"))
					if strings.Contains(sent.String(), "unchanged") {
						require.Regexp(t, `^[^;]*; 2 unchanged since last time \([^;]*\)\n$`, sent.String())
						d.Shows(t, "; 2 unchanged since last time (")
						return
					}
				}
				require.False(t, strings.HasPrefix(named, "a "), "everything was sent again: %s", d)
				require.DirExists(t, filepath.Join(d.dir, "top (2)"))
				require.FileExists(t, filepath.Join(d.dir, "top/_hidden"))
			})
		})
	}
}

// The receiver's user is asked, and decides.
func TestAsk(t *testing.T) {
	for answer, want := range map[string]code{"y": exitAll, "n": exitFailed, "nobody": exitFailed} {
		t.Run(answer, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				file := put(t, filepath.Join(t.TempDir(), "file"), "content", 0o600)
				d := newDevice(t, options{})
				d.enter("y\n") // before the question
				sent := d.get(t, "Alice", file)
				d.Shows(t, `"Alice" (`+d.sender.Remote().Fingerprint()+`) offers 1 file and 0 folders, 7 B`+"\n")
				d.Shows(t, "Receive it? You have 120 s to answer. [y/N] ")
				if answer == "nobody" {
					d.keys.Close()
				} else {
					d.enter(answer + "\n")
				}
				require.Equal(t, want, sent.code(t), sent)
				require.Equal(t, exitAll, d.end(), "a transfer that was declined has not failed")
				if answer == "y" {
					require.FileExists(t, filepath.Join(d.dir, "file"))
					return
				}
				require.NoFileExists(t, filepath.Join(d.dir, "file"))
				require.Contains(t, sent.String(), "Sent nothing\n")
				require.Contains(t, sent.String(), `drop: the transfer with "Bob" (`+d.key.Remote().Fingerprint()+"): the other device declined")
				require.Contains(t, d.String(), "): refused")
				require.Equal(t, answer == "nobody", strings.Contains(d.String(), "use --yes"))
			})
		})
	}
}

// The user is asked only once about the parts of a long transfer, and the
// question tells what cannot be sent.
func TestDecide(t *testing.T) {
	bubble(t, func(t *testing.T) {
		u := newUser(t)
		r := &receiver{Console: u.Console, options: &options{}, asking: make(chan struct{}, 1)}
		require.NoError(t, r.decide(t.Context(), "Alice", &block.Offer{Files: 9, Earlier: 1}))
		require.Empty(t, u.String())
		r.yes = true
		offer := &block.Offer{Files: 1, Folders: 1, Bytes: 5, LeftOut: 2}
		require.NoError(t, r.decide(t.Context(), "Alice", offer))
		u.Shows(t, "Alice offers 1 file and 1 folder, 5 B, and 2 that cannot be sent\n")
		r.once = true // and one transfer was accepted
		require.ErrorIs(t, r.decide(t.Context(), "Alice", offer), block.ErrRefused)
	})
}

// A transfer goes on after its connection was lost: the user is asked about it
// once, and it is reported once.
func TestLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDevice(t, options{})
		link := d.network.Link(d.key.Remote(), d.sender.Remote())
		link.SetDelay(20 * time.Millisecond)
		file := put(t, filepath.Join(t.TempDir(), "file"), strings.Repeat("0123456789", 500_000), 0o600)
		sent := d.get(t, "Alice", file)
		d.Shows(t, "Receive it? ")
		d.enter("y\n")
		d.Matches(t, regexp.MustCompile(` 2\d %: `))
		link.Cut()
		d.Shows(t, d.sender.Remote().Fingerprint()+" was lost (the stream failed: the connection was lost: the link was cut) and may come back\n")
		sent.Shows(t, "was lost (the stream failed: the connection was lost: the link was cut): trying again\n")
		time.Sleep(30 * time.Second)
		link.Restore()
		require.Equal(t, exitAll, sent.code(t), sent)
		require.Equal(t, exitAll, d.end())
		for _, text := range []string{"Receive it? ", "Receiving from ", "Received 1 file, 5.0 MB (", "  2 %", "100 %"} {
			require.Equal(t, 1, strings.Count(d.String(), text), "%v in %v", text, d)
		}
		require.Equal(t, 1, strings.Count(sent.String(), "Sent 1 file, 5.0 MB ("), sent)
		require.Equal(t, 1, strings.Count(sent.String(), "trying again"), sent)
		require.NotContains(t, d.String()+sent.String(), "drop: ")
	})
}

// An offer that nobody answers expires, and the user is asked about the next
// one.
func TestUnanswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDevice(t, options{})
		file := put(t, filepath.Join(t.TempDir(), "file"), "content", 0o600)
		sent, began := d.get(t, "Alice", file), time.Now()
		d.Shows(t, "Receive it? ")
		require.Equal(t, exitFailed, sent.code(t), sent)
		require.Equal(t, answerWithin, time.Since(began).Round(time.Second))
		d.Shows(t, "): the offer was not answered in time: within 2m0s\n")
		sent = d.get(t, "Alice", file)
		d.Shows(t, "Receive it? ")
		d.enter("y\n")
		require.Equal(t, exitAll, sent.code(t), sent)
	})
}

// When the sender gives up, the question is withdrawn.
func TestGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDevice(t, options{})
		file := put(t, filepath.Join(t.TempDir(), "file"), "content", 0o600)
		sent := d.get(t, "Alice", file)
		d.Shows(t, "Receive it? ")
		sent.cancel()
		require.Equal(t, exitFailed, sent.code(t))
		require.Contains(t, sent.String(), "Sent nothing\ndrop: canceled\n")
		d.Shows(t, "): the other device canceled")
		require.Equal(t, exitAll, d.end(), "nothing was accepted")
	})
}

// Ctrl-C on either side ends both. No file has its final name yet, and the next
// attempt goes on where this one ended.
func TestCancel(t *testing.T) {
	for _, side := range []string{"sender", "receiver"} {
		t.Run(side, func(t *testing.T) {
			large := put(t, filepath.Join(t.TempDir(), "large"), strings.Repeat("x", 8<<20), 0o600)
			bubble(t, func(t *testing.T) {
				d := newDevice(t, options{yes: true})
				d.network.Link(d.key.Remote(), d.sender.Remote()).SetDelay(50 * time.Millisecond)
				sent := d.get(t, "Alice", large)
				d.Shows(t, "  0 %: 0 of 1 file, 0 B of 8.4 MB\n")
				d.Shows(t, " of 8.4 MB\n")
				if side == "sender" {
					sent.cancel()
					require.Equal(t, exitFailed, sent.code(t))
					require.Contains(t, sent.String(), "\ndrop: canceled\n")
					d.Shows(t, "): the other device canceled")
					require.Equal(t, exitFailed, d.end())
				} else {
					require.Equal(t, exitFailed, d.end())
					require.Contains(t, d.String(), "\ndrop: canceled\n")
					require.Equal(t, exitFailed, sent.code(t))
					require.Contains(t, sent.String(), "): the other device canceled")
				}
				for _, s := range []fmt.Stringer{sent, d.screen} {
					require.Regexp(t, `\nStopped at 0 of 1 file, \d+\.\d .B of 8.4 MB\. (Sent|Received) 0 files, 0 B \(`, s.String())
					require.NotContains(t, s.String(), "100 %")
				}
				require.NoFileExists(t, filepath.Join(d.dir, "large"))
			})
		})
	}
}

// Files that are missing or cannot be sent are left out, and the rest arrives.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := put(t, filepath.Join(dir, "top/file"), "content", 0o600)
	missing := filepath.Join(dir, "missing")
	d := newDevice(t, options{yes: true})

	sent := d.get(t, "Alice", missing, missing+"2")
	require.Equal(t, exitFailed, sent.code(t))
	require.Regexp(t, "^drop: there is nothing to send: .*/missing: no such file", sent.String())

	sent = d.get(t, "Alice", missing, file)
	require.Equal(t, exitSome, sent.code(t), sent)
	require.Contains(t, sent.String(), "; 1 left out (")
	d.Shows(t, "Received 1 file, ")

	put(t, filepath.Join(dir, "top/"+evil), "", 0o600)
	require.NoError(t, os.Symlink(file, filepath.Join(dir, "top/link")))
	sent = d.get(t, "Alice", filepath.Join(dir, "top"))
	require.Equal(t, exitSome, sent.code(t), sent)
	require.Contains(t, sent.String(), `left out: "top/link": neither a file nor a folder`)
	require.Contains(t, sent.String(), `left out: "top/\x1b]0;OWNED\a": `)
	require.Contains(t, sent.String(), "Sent 1 file, 7 B")
	require.Contains(t, sent.String(), "; 2 left out (")
	require.Contains(t, sent.String(), ")\ndrop: the transfer with \"Bob\" (")
	require.Contains(t, sent.String(), "): not everything has arrived: ")
	require.NotContains(t, sent.String(), "\x1b")
	d.Shows(t, ", and 2 that cannot be sent\n")
	d.Shows(t, "; 2 left out (")
	require.Equal(t, exitSome, d.end())
}

// The names of peers are printed, but have no effect on the terminal.
func TestNames(t *testing.T) {
	t.Parallel()
	file := put(t, filepath.Join(t.TempDir(), "file"), "content", 0o600)
	d := newDevice(t, options{yes: true})
	sent := d.get(t, evil, file)
	require.Equal(t, exitAll, sent.code(t), sent)
	d.Shows(t, `"\x1b]0;OWNED\a" (`)
	d.end()
	require.NotContains(t, d.String(), "\x1b")
}

// zeros reads as a file of zeros that takes no room here.
type zeros struct{}

func (zeros) ReadAt(b []byte, _ int64) (int, error) {
	clear(b)
	return len(b), nil
}

// The receiver says how much its disk has no room for, and the sender says that
// it is the receiver's disk.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	d := newDevice(t, options{yes: true})
	alice := d.network.Start(t, p2p.Config{App: "drop", Name: "Alice"})
	for p := range alice.Available(t.Context()) {
		s, err := p.Open(t.Context(), route)
		require.NoError(t, err)
		huge := []block.Source{{Name: "huge", Reader: zeros{}, Size: 1 << 60}}
		r, err := block.Send(t.Context(), s, huge, block.SendOptions{})
		s.Close()
		sent, screen := startTransfer()
		require.Equal(t, exitFailed, sent.end(t.Context(), r, err))
		require.Regexp(t, `^Sent nothing\ndrop: the transfer with "Bob" \(.*\): the other device has no room on its disk: `+
			`".* are needed, .* are free"`, screen.String())
		break
	}
	require.Equal(t, exitFailed, d.end())
	require.Regexp(t, `Received nothing\ndrop: the transfer with "Alice" \(.*\): the disk is full: 1.2 EB are needed, .* are free\n`, d.String())
}

// With --once, a receiver ends after the first transfer that it has accepted,
// with the exit code of this transfer.
func TestOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		file := put(t, filepath.Join(t.TempDir(), "file"), "content", 0o600)
		d := newDevice(t, options{once: true})
		sent := d.get(t, "Alice", file)
		d.Shows(t, "Receive it? ")
		d.enter("n\n")
		require.Equal(t, exitFailed, sent.code(t))
		sent = d.get(t, "Alice", file)
		d.Shows(t, "Receive it? ")
		d.enter("y\n")
		require.Equal(t, exitAll, sent.code(t), sent)
		require.Equal(t, exitAll, wait(t, d.ended))

		idle := newDevice(t, options{once: true})
		require.Equal(t, exitFailed, idle.end())
	})
}

// The exit code of a receiver is the one of its worst transfer.
func TestWorse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		ended []code
		want  code
	}{
		{nil, exitAll},
		{[]code{exitAll, exitAll}, exitAll},
		{[]code{exitAll, exitSome, exitAll}, exitSome},
		{[]code{exitSome, exitFailed, exitSome}, exitFailed},
	} {
		worst := exitAll
		for _, ended := range test.ended {
			worst = worse(worst, ended)
		}
		require.Equal(t, test.want, worst, "%v", test.ended)
	}
}

// The receiver says only once what its disk cannot store.
func TestLacks(t *testing.T) {
	t.Parallel()
	s := &screen{}
	r := &receiver{Console: &console.Console{Err: s}, options: &options{paths: []string{"/mnt"}}}
	r.note(block.Lacks{})
	require.Empty(t, s.String())
	for range 2 {
		r.note(block.Lacks{Links: true, Sync: true})
	}
	require.Equal(t, `Note on the disk of "/mnt": a power cut may lose files that have just arrived; `+
		"a crash may leave an empty file\n", s.String())
	for range 2 { // a transfer notices only what it needs
		r.note(block.Lacks{Sync: true})
		r.note(block.Lacks{Exchange: true})
	}
	require.Equal(t, 2, strings.Count(s.String(), "Note on "), s)
}
