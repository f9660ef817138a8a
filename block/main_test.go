//go:build unix

package block_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/internal/soak"
)

// TestMain lets the test binary act as one side of a transfer, so that it can
// be killed.
func TestMain(m *testing.M) {
	if role := os.Getenv("BLOCK_ROLE"); role != "" {
		one := one
		switch {
		case strings.HasPrefix(role, "hold"):
			one = oneHeld
		case strings.HasPrefix(role, "lanes"):
			one = oneOverLanes
		}
		if err := one(role, os.Getenv("BLOCK_SOCKET"), os.Getenv("BLOCK_DIR")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	soak.Checks(40, 100) // each check is at least one transfer
	os.Exit(m.Run())
}

// one acts as one side of a transfer, without using root's privileges.
func one(role, socket, dir string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if role == "send" {
		source := block.Path(dir)
		source.FS = moded{source.FS.(readDirFS)}
		_, err = block.Send(context.Background(), c, []block.Source{source}, block.SendOptions{})
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	if os.Getuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
			return err
		}
	}
	opts := block.ReceiveOptions{From: "sender", Trusted: true, Modes: true, Times: true}
	if os.Getenv("BLOCK_EXISTING") != "" { // both sides inherit it
		opts.Existing, opts.Modes = block.Replace, false // so that a file can be copied
	}
	opts.SetFaults(faultsOf(os.Getenv("BLOCK_FAULTS")))
	_, err = block.Receive(context.Background(), c, nil, root, opts)
	return err
}

const nobody = 65534

// faultsOf returns the faults of one kind of destination.
func faultsOf(kind string) func(op, name string) error {
	return func(op, _ string) error {
		switch {
		case kind == "lacks" && op == "lock":
			return syscall.ENOLCK
		case kind == "lacks" && (op == "sync" || op == "syncfs"):
			return syscall.EOPNOTSUPP
		case kind != "" && op == "link", kind == "nothing" && op == "rename":
			return syscall.EPERM
		case kind == "quota" && (op == "write" || op == "create" || op == "sync") && rand.IntN(150) == 0:
			return syscall.EDQUOT
		}
		return nil
	}
}

// A moded file system reports permissions that forbid access even to the files'
// owner. If files really had them, they could not be sent.
type moded struct{ readDirFS }

type readDirFS interface {
	fs.ReadDirFS
	fs.StatFS
}

type modedInfo struct{ fs.FileInfo }

// modeOf returns the permissions of a file with the given name.
func modeOf(name string) fs.FileMode {
	return []fs.FileMode{0o444, 0, 0o040, 0o644, 0o200}[len(name)%5]
}

func (i modedInfo) Mode() fs.FileMode {
	if i.FileInfo.Mode().IsRegular() {
		return modeOf(i.Name())
	}
	return i.FileInfo.Mode()
}

func (m moded) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := m.readDirFS.ReadDir(name)
	for i, e := range entries {
		if info, err := e.Info(); err == nil {
			entries[i] = fs.FileInfoToDirEntry(modedInfo{info})
		}
	}
	return entries, err
}

// A process is one side, and its stream.
type process struct {
	cmd  *exec.Cmd
	conn net.Conn
	out  *strings.Builder
	err  error
}

// spawn starts both sides; prefix is the command that runs the receiver, if
// any.
func spawn(t *testing.T, roles, dirs [2]string, faults string, prefix ...string) (both [2]*process) {
	var listeners [2]net.Listener
	for i, role := range roles {
		socket := filepath.Join(t.TempDir(), "s")
		var err error
		listeners[i], err = net.Listen("unix", socket)
		require.NoError(t, err)
		p := &process{out: new(strings.Builder)}
		args := []string{os.Args[0]}
		if role == "receive" {
			args = append(slices.Clone(prefix), os.Args[0])
		}
		p.cmd = exec.CommandContext(t.Context(), args[0], args[1:]...)
		p.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "BLOCK_ROLE="+role, "BLOCK_SOCKET="+socket, "BLOCK_DIR="+dirs[i], "BLOCK_FAULTS="+faults)
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

// An attempt is one transfer between two processes. One of them is killed after
// a while, unless after is 0, or the stream breaks after cut bytes, unless cut
// is 0.
type attempt struct {
	source, dest string
	after        time.Duration
	victim       int // 0: the sender
	cut          int64
	faults       string   // of the destination's disk
	prefix       []string // command that runs the receiver
}

// run returns how many bytes the sender has written, and whether everything has
// arrived and both sides know it.
func (a attempt) run(t *testing.T) (said int64, complete bool) {
	both := spawn(t, [2]string{"send", "receive"}, [2]string{a.source, a.dest}, a.faults, a.prefix...)
	s, r := both[0], both[1]
	var bytes atomic.Int64
	ended := make(chan struct{}, 4)
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := s.conn.Read(buf)
			if said := bytes.Add(int64(n)); a.cut > 0 && said > a.cut {
				s.conn.Close()
			}
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
	if a.after > 0 {
		timer := time.AfterFunc(a.after, func() { both[a.victim].cmd.Process.Kill() })
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
	if a.after == 0 && a.cut == 0 {
		require.NoError(t, s.err, s.out.String())
		require.NoError(t, r.err, r.out.String())
	}
	// If the sender was killed after both sides knew that everything had
	// arrived, it leaves no journal, although its exit was an error.
	journals, err := filepath.Glob(filepath.Join(a.dest, ".sdp2p-partial", "*.journal"))
	require.NoError(t, err)
	return bytes.Load(), s.err == nil || r.err == nil && len(journals) == 0
}

// honest checks that each file with a final name is the complete file that was
// sent under that name, with its permissions. There may be empty files that
// hold a place.
func honest(t *testing.T, source, dest string, placeholders bool) {
	err := filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == ".sdp2p-partial" {
			return fs.SkipDir
		}
		if d.IsDir() {
			return nil
		}
		rel, _ := filepath.Rel(dest, path)
		info, err := d.Info()
		require.NoError(t, err)
		if info.Size() == 0 && placeholders && d.Name() != "0" {
			return nil
		}
		if rel != "large" { // large is sent under another name
			require.Equal(t, modeOf(d.Name()), info.Mode().Perm(), rel)
		}
		require.NoError(t, os.Chmod(path, 0o600)) // for a test that does not run as root
		require.NoError(t, same(path, filepath.Join(filepath.Dir(source), rel)))
		require.NoError(t, os.Chmod(path, info.Mode()))
		return nil
	})
	require.NoError(t, err)
}

// newDest returns a folder that the receiver may write to.
func newDest(t *testing.T) string {
	dest := t.TempDir()
	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(dest, nobody, nobody))
	}
	return dest
}

// killTree makes a folder with small and large files.
func killTree(t *testing.T) string {
	source := filepath.Join(t.TempDir(), "source")
	for i := range 200 {
		put(t, filepath.Join(source, fmt.Sprintf("folder %d/%d", i%7, i)), random(i*i, uint64(i)), 0o644)
	}
	put(t, filepath.Join(source, "m"), random(5<<20+1, 1), 0o644)
	put(t, filepath.Join(source, "z..."), random(2<<20, 1), 0o644)
	return source
}
