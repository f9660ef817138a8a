//go:build unix

package block_test

import (
	"context"
	"fmt"
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

	"github.com/sdp2p/p2p/block"
	"github.com/stretchr/testify/require"
)

// TestMain lets the test binary be one side of a transfer, which can be killed.
func TestMain(m *testing.M) {
	if role := os.Getenv("BLOCK_ROLE"); role != "" {
		if err := one(role, os.Getenv("BLOCK_SOCKET"), os.Getenv("BLOCK_DIR")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// one is one side of a transfer.
func one(role, socket, dir string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if role == "send" {
		_, err = block.Send(context.Background(), c, block.Paths(dir), block.SendOptions{})
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	_, err = block.Receive(context.Background(), c, nil, root, block.ReceiveOptions{From: "sender", Trusted: true, Modes: true, Times: true})
	return err
}

// A process is one side, and its stream.
type process struct {
	cmd  *exec.Cmd
	conn net.Conn
	out  *strings.Builder
	err  error
}

func spawn(t *testing.T, roles, dirs [2]string) (both [2]*process) {
	var listeners [2]net.Listener
	for i, role := range roles {
		socket := filepath.Join(t.TempDir(), "s")
		var err error
		listeners[i], err = net.Listen("unix", socket)
		require.NoError(t, err)
		p := &process{out: new(strings.Builder)}
		p.cmd = exec.CommandContext(t.Context(), os.Args[0])
		p.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "BLOCK_ROLE="+role, "BLOCK_SOCKET="+socket, "BLOCK_DIR="+dirs[i])
		p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
		require.NoError(t, p.cmd.Start())
		both[i] = p
	}
	for i, l := range listeners {
		var err error
		both[i].conn, err = l.Accept()
		require.NoError(t, err)
		l.Close()
	}
	return both
}

// attempt runs one transfer between two processes, and kills one of them after a while. It returns how much the sender
// said, and whether all has arrived and both knew.
func attempt(t *testing.T, source, dest string, after time.Duration, victim int) (said int64, complete bool) {
	both := spawn(t, [2]string{"send", "receive"}, [2]string{source, dest})
	s, r := both[0], both[1]
	var bytes atomic.Int64
	ended := make(chan struct{}, 4)
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := s.conn.Read(buf)
			bytes.Add(int64(n))
			if _, err2 := r.conn.Write(buf[:n]); err != nil || err2 != nil {
				break
			}
		}
		r.conn.(*net.UnixConn).CloseWrite()
		ended <- struct{}{}
	}()
	go func() {
		io.Copy(s.conn, r.conn)
		s.conn.(*net.UnixConn).CloseWrite()
		ended <- struct{}{}
	}()
	if after > 0 {
		timer := time.AfterFunc(after, func() { both[victim].cmd.Process.Kill() })
		defer timer.Stop()
	}
	for _, p := range both {
		go func() {
			p.err = p.cmd.Wait()
			ended <- struct{}{}
		}()
	}
	for range 4 {
		<-ended
	}
	s.conn.Close()
	r.conn.Close()
	if after == 0 {
		require.NoError(t, s.err, s.out.String())
		require.NoError(t, r.err, r.out.String())
	}
	// A sender that is killed when both know that all has arrived, and nobody else does, has nothing to go on with.
	_, err := os.Stat(filepath.Join(dest, ".sdp2p-partial"))
	return bytes.Load(), s.err == nil || r.err == nil && os.IsNotExist(err)
}

// honest checks that whatever has a final name is what was sent under that name, and whole.
func honest(t *testing.T, source, dest string) {
	err := filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == ".sdp2p-partial" {
			return fs.SkipDir
		}
		if d.IsDir() {
			return nil
		}
		rel, _ := filepath.Rel(dest, path)
		require.NoError(t, same(path, filepath.Join(filepath.Dir(source), rel)))
		return nil
	})
	require.NoError(t, err)
}

// A process is killed at a random moment, on a random side, and both start again, until all has arrived. BLOCK_KILLS says how
// often (make kill).
func TestKill(t *testing.T) {
	source := filepath.Join(t.TempDir(), "source")
	for i := range 200 {
		put(t, filepath.Join(source, fmt.Sprintf("folder %d/%d", i%7, i)), random(i*i, uint64(i)), 0o644)
	}
	put(t, filepath.Join(source, "m"), random(5<<20+1, 1), 0o644)
	put(t, filepath.Join(source, "z"), random(2<<20, 1), 0o600)
	want := tree(t, source)
	longest, transfers, most := 400*time.Millisecond, 0, 0
	dest, kills := t.TempDir(), 0
	for n := 0; n < setting("BLOCK_KILLS", 20); n++ {
		kills++
		_, complete := attempt(t, source, dest, time.Duration(rand.Int64N(int64(longest)))>>rand.IntN(6), rand.IntN(2))
		honest(t, source, dest)
		if complete {
			transfers++
			most, kills = max(most, kills), 0
			require.Equal(t, want, tree(t, filepath.Join(dest, "source")))
			dest = t.TempDir()
		}
	}
	_, complete := attempt(t, source, dest, 0, 0)
	require.True(t, complete)
	require.Equal(t, want, tree(t, filepath.Join(dest, "source")))
	left, err := os.ReadDir(dest)
	require.NoError(t, err)
	require.Len(t, left, 1, "something is left")
	t.Logf("%d transfers, up to %d kills in one", transfers+1, max(most, kills))
}

// BLOCK_KILL_SIZE is the size of a file in MiB of which at most 1 % may be sent again after a kill (make kill).
func TestKillLarge(t *testing.T) {
	size := int64(setting("BLOCK_KILL_SIZE", 0)) << 20
	if size == 0 {
		t.Skip("BLOCK_KILL_SIZE is not set: make kill")
	}
	source := put(t, filepath.Join(t.TempDir(), "large"), nil, 0o600)
	f, err := os.OpenFile(source, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{1}), size)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	dest := t.TempDir()
	said, kills, complete := int64(0), int64(0), false
	for n := 0; n < 20 && !complete; n++ {
		var b int64
		b, complete = attempt(t, source, dest, time.Duration(rand.Int64N(int64(1500*time.Millisecond))), n%2)
		said += b
		if kills++; complete {
			kills--
		}
		honest(t, source, dest)
	}
	if !complete {
		b, ok := attempt(t, source, dest, 0, 0)
		said += b
		require.True(t, ok)
	}
	require.NoError(t, same(filepath.Join(dest, "large"), source))
	again := said - size
	t.Logf("%d kills, %d bytes more than the file: %.2f %% of it for each kill", kills, again, 100*float64(again)/float64(size)/float64(max(kills, 1)))
	require.LessOrEqual(t, again, (kills+1)*size/100)
}
