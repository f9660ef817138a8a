package block_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// packages are the Debian packages of programs that have other names.
var packages = map[string]string{"mkfs.exfat": "exfatprogs", "mount.exfat-fuse": "exfat-fuse", "losetup": "mount"}

// needsRoot skips a test of real file systems and system calls unless it was
// asked for, and fails it if a program is missing (make test-net).
func needsRoot(t *testing.T, programs ...string) {
	if os.Getenv("SDP2P_NETTEST") == "" {
		t.Skip("SDP2P_NETTEST is not set: make test-net")
	}
	require.Zero(t, os.Getuid(), "root is needed")
	for _, p := range programs {
		_, err := exec.LookPath(p)
		require.NoError(t, err, "%s is missing: apt-get install %s", p, cmp.Or(packages[p], p))
	}
}

// The kernel itself reports that there are no locks, no hard links or no fsync,
// or that the quota is used up. An interrupted transfer continues, as an
// ordinary user.
func TestRealFaults(t *testing.T) {
	needsRoot(t, "strace")
	source := killTree(t)
	for name, inject := range map[string][]string{
		"locks":            {"flock:error=ENOLCK"},
		"locks not there":  {"flock:error=ENOSYS"},
		"links":            {"linkat:error=EPERM"},
		"renames":          {"linkat:error=EPERM", "renameat2:error=EINVAL"},
		"fsync":            {"fsync:error=EINVAL", "syncfs:error=EINVAL"},
		"fsync of network": {"fsync:error=EOPNOTSUPP", "syncfs:error=EOPNOTSUPP"},
		"everything":       {"flock:error=ENOLCK", "linkat:error=EOPNOTSUPP", "renameat2:error=EINVAL", "fsync:error=ENOSYS", "syncfs:error=ENOSYS"},
		"quota":            {"fsync:error=EDQUOT:when=1", "syncfs:error=EDQUOT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			strace := []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock,linkat,renameat2,fsync,syncfs"}
			for _, i := range inject {
				strace = append(strace, "-e", "inject="+i)
			}
			a := attempt{source: source, dest: newDest(t), prefix: strace}
			for _, a.cut = range []int64{4 << 20, 2 << 20, 3 << 19} {
				_, complete := a.run(t)
				require.False(t, complete)
				honest(t, source, a.dest, name == "everything" || name == "renames")
				journals, err := filepath.Glob(filepath.Join(a.dest, ".sdp2p-partial", "*.journal"))
				require.NoError(t, err)
				require.Len(t, journals, 1)
			}
			if a.cut = 0; name == "quota" {
				a.prefix = nil
			}
			said, complete := a.run(t)
			require.True(t, complete)
			if name != "quota" { // with quota, each attempt ends early
				require.Less(t, said, int64(4<<20), "the transfer continues where it ended")
			}
			honest(t, source, a.dest, name == "everything" || name == "renames")
			left, err := filepath.Glob(filepath.Join(a.dest, ".sdp2p-partial", "*"))
			require.NoError(t, err)
			require.Len(t, left, 1)
			require.Equal(t, ".index", filepath.Ext(left[0])) // the index of what has arrived
			left, err = filepath.Glob(filepath.Join(a.dest, "*"))
			require.NoError(t, err)
			require.Equal(t, []string{filepath.Join(a.dest, ".sdp2p-partial"), filepath.Join(a.dest, "source")}, left)
		})
	}
}

// mount mounts a file system for a test.
func mount(t *testing.T, args ...string) string {
	dir := t.TempDir()
	out, err := exec.Command("mount", append(args, dir)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Cleanup(func() { require.NoError(t, exec.Command("umount", "-l", dir).Run()) })
	return dir
}

// A file system that does not report its free space can receive files.
func TestRealRamfs(t *testing.T) {
	needsRoot(t)
	a, b := pair(t)
	dir := mount(t, "-t", "ramfs", "ramfs")
	sent, received := move(t, a, b, []block.Source{source("f", random(1<<20, 1))}, nil, dir, block.ReceiveOptions{From: "a"})
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
}

// exFAT, as memory sticks have it, gives files other numbers each time that it
// is mounted: what has arrived is not sent again.
func TestRealExFAT(t *testing.T) {
	needsRoot(t, "mkfs.exfat", "mount.exfat-fuse", "losetup")
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 64<<20))
	run := func(args ...string) string {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	run("mkfs.exfat", image)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("this kernel makes no disks of files: ", err)
	}
	device := run("losetup", "--find", "--show", image)
	t.Cleanup(func() { exec.Command("losetup", "--detach", device).Run() })
	plugged := func(use func(t *testing.T)) {
		require.True(t, t.Run("", func(t *testing.T) {
			run("mount.exfat-fuse", device, dir)
			t.Cleanup(func() { run("umount", dir) }) // last
			use(t)
		}))
	}
	plugged(func(t *testing.T) { put(t, filepath.Join(dir, "first"), nil, 0o600) })
	top := filepath.Join(t.TempDir(), "top")
	for name, size := range map[string]int{"one": 1, "large": 1 << 20, "a/b/c": 5} {
		put(t, filepath.Join(top, name), random(size, 1), 0o644)
	}
	for i, want := range []int{0, 3, 3} {
		plugged(func(t *testing.T) {
			for _, name := range []string{"first", "top/one"}[:i] {
				readAll(t, filepath.Join(dir, name)) // numbers are given in the order of looking
			}
			_, received, _ := again(t, block.Paths(top), dir, family(block.Keep))
			require.NoError(t, received.err)
			require.Equal(t, want, received.Unchanged)
			require.Equal(t, []string{"first", "top"}, namesIn(t, dir))
		})
	}
}
