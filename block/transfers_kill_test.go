//go:build unix

package block_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// oneHeld acts as one side of a transfer over many streams. The sender opens
// them over one of two transports; the receiver listens on both.
func oneHeld(role, socket, dir string) error {
	if role == "hold send" {
		ways := [][2]string{{"unix", socket}}
		transfer := block.Transfer{Open: func(ctx context.Context) (net.Conn, error) {
			port, err := os.ReadFile(socket + ".tcp")
			if err == nil && len(ways) == 1 {
				ways = append(ways, [2]string{"tcp", string(port)})
			}
			way := ways[rand.IntN(len(ways))]
			return new(net.Dialer).DialContext(ctx, way[0], way[1])
		}}
		_, err := transfer.Send(context.Background(), []block.Source{block.Path(dir)}, block.SendOptions{})
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	os.Remove(socket) // left by a receiver that was killed
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	var transfers block.Transfers
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go transfers.Receive(context.Background(), c, nil, root, block.ReceiveOptions{From: "sender", Trusted: true})
	}
}

// A cutter listens for the sender on two transports, and forwards each stream
// to the receiver for a random time.
type cutter struct {
	to      string // the receiver's socket
	longest time.Duration
	streams atomic.Int64
	byTCP   atomic.Int64
	calm    atomic.Bool // it cuts no more streams
}

func (c *cutter) serve(l net.Listener) {
	for {
		a, err := l.Accept()
		if err != nil {
			return
		}
		c.streams.Add(1)
		if l.Addr().Network() == "tcp" {
			c.byTCP.Add(1)
		}
		go c.carry(a)
	}
}

func (c *cutter) carry(a net.Conn) {
	defer a.Close()
	b, err := net.Dial("unix", c.to)
	if err != nil {
		return // the receiver was killed
	}
	defer b.Close()
	over := make(chan struct{}, 2)
	for _, ends := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() {
			io.Copy(ends[0], ends[1])
			over <- struct{}{}
		}()
	}
	var cut <-chan time.Time
	if !c.calm.Load() {
		cut = time.After(time.Duration(rand.Int64N(int64(c.longest))) >> rand.IntN(6))
	}
	select {
	case <-cut:
		if rand.IntN(2) == 0 { // in this case, the receiver does not notice
			a.Close()
			<-over
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		}
	case <-over:
		a.(interface{ CloseWrite() error }).CloseWrite()
		b.(interface{ CloseWrite() error }).CloseWrite()
		<-over
	}
}

// The sender's process keeps its transfer going while streams are cut at random
// moments, transports change, and the receiver's process is killed. Everything
// arrives, once.
func TestKillHold(t *testing.T) {
	t.Parallel()
	source := killTree(t)
	for range max(1, setting("BLOCK_KILLS", 2)/10) {
		holdOn(t, source)
	}
}

func holdOn(t *testing.T, source string) {
	dir := t.TempDir()
	c := &cutter{to: filepath.Join(dir, "r"), longest: 300 * time.Millisecond}
	front := filepath.Join(dir, "s")
	for _, way := range [][2]string{{"tcp", "127.0.0.1:0"}, {"unix", front}} {
		l, err := net.Listen(way[0], way[1])
		require.NoError(t, err)
		defer l.Close()
		if way[0] == "tcp" {
			put(t, front+".tcp", []byte(l.Addr().String()), 0o600)
		}
		go c.serve(l)
	}
	h := &hold{kind: "hold", sender: front, receiver: c.to, calm: func() { c.calm.Store(true) }}
	h.run(t, source)
	t.Logf("%d streams, %d of them by TCP, %d kills", c.streams.Load(), c.byTCP.Load(), h.kills)
}

// A hold is a transfer between two processes whose receiver is killed again and
// again.
type hold struct {
	kind             string // of the roles
	sender, receiver string // what the processes are told; the receiver makes such a file
	calm             func() // called when the receiver has been killed often enough

	kills int
	said  *strings.Builder // by the sender
}

func (h *hold) start(t *testing.T, role, socket, dir string) (*exec.Cmd, *strings.Builder) {
	cmd, out := exec.CommandContext(t.Context(), os.Args[0]), new(strings.Builder)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "BLOCK_ROLE="+h.kind+" "+role, "BLOCK_SOCKET="+socket, "BLOCK_DIR="+dir)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	return cmd, out
}

func (h *hold) run(t *testing.T, source string) {
	dest := t.TempDir()
	receiver, _ := h.start(t, "receive", h.receiver, dest)
	require.Eventually(t, func() bool { _, err := os.Stat(h.receiver); return err == nil }, time.Minute, time.Millisecond)
	sender, said := h.start(t, "send", h.sender, source)
	h.said = said
	sent := make(chan error, 1)
	go func() { sent <- sender.Wait() }()
	for over := false; !over; {
		select {
		case err := <-sent:
			require.NoError(t, err, said)
			over = true
		case <-time.After(time.Duration(rand.Int64N(int64(600 * time.Millisecond)))):
			if h.kills == 6 {
				h.calm()
				continue
			}
			h.kills++
			receiver.Process.Kill()
			receiver.Wait()
			receiver, _ = h.start(t, "receive", h.receiver, dest)
		}
	}
	receiver.Process.Kill()
	receiver.Wait()
	files := 0
	require.NoError(t, filepath.WalkDir(filepath.Join(dest, "source"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		rel, err := filepath.Rel(dest, path)
		return errors.Join(err, same(path, filepath.Join(filepath.Dir(source), rel)))
	}))
	require.Equal(t, 202, files)
}
