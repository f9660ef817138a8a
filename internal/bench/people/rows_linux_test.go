package people

import (
	"bufio"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

// count returns n, or with -short a smaller number.
func count(n, short int) int {
	if testing.Short() {
		return short
	}
	return n
}

// everybody returns all contenders of a row.
func everybody(peers ...string) []string { return append(append([]string(nil), ours...), peers...) }

// one measures one large file.
func (b *bench) one(t *testing.T) {
	file := b.file(t, int64(count(1<<30, 16<<20)))
	for range count(3, 1) {
		for _, name := range everybody(rsync, scp, curl) {
			b.clear(t, name)
			b.add3(t, "1 GiB", name, file)
			b.arrived(t, name, file)
		}
	}
}

// many measures many small files, and the same once more when few have changed.
func (b *bench) many(t *testing.T) {
	tree := filepath.Join(b.dir, "tree")
	require.NoError(t, os.Mkdir(tree, 0o700))
	defer os.RemoveAll(tree)
	random, content := rand.NewChaCha8([32]byte{1}), make([]byte, 4<<10)
	files := count(10_000, 200)
	for i := range files {
		random.Read(content)
		require.NoError(t, os.WriteFile(filepath.Join(tree, fmt.Sprint(i)), content, 0o600))
	}
	for range count(3, 1) {
		for _, name := range everybody(rsync, scp, curl) {
			b.clear(t, name)
			b.add3(t, "10,000 × 4 KiB", name, tree)
			there := 0
			require.NoError(t, filepath.WalkDir(b.daemons[name].dir, func(_ string, d fs.DirEntry, err error) error {
				switch {
				case err == nil && d.Name() == ".sdp2p-partial": // the folder of the index
					return fs.SkipDir
				case err == nil && d.Type().IsRegular():
					there++
				}
				return err
			}))
			require.Equal(t, files, there, name)
			if name != scp && name != curl {
				b.add3(t, "the same tree again", name, tree)
			}
		}
	}
}

// changed measures a large file once more, after a hundredth of it has changed.
func (b *bench) changed(t *testing.T) {
	size := int64(count(1<<30, 16<<20))
	for round := range count(2, 1) {
		file := b.file(t, size)
		for _, name := range everybody(rsync) {
			b.clear(t, name)
			_, err := b.run(t, name, file)
			require.NoError(t, err)
		}
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		require.NoError(t, err)
		random, part := rand.NewChaCha8([32]byte{9, byte(round)}), make([]byte, size/1000)
		for i := range int64(10) {
			random.Read(part)
			_, err := f.WriteAt(part, size/10*i+size/37)
			require.NoError(t, err)
		}
		require.NoError(t, f.Close())
		for _, name := range everybody(rsync) {
			b.add3(t, "1 % of 1 GiB changed", name, file)
		}
	}
}

// killed measures a large file whose sender is killed halfway.
func (b *bench) killed(t *testing.T) {
	const what = "killed at half, resumed"
	size := int64(count(1<<30, 64<<20))
	file := b.file(t, size)
	for range count(2, 1) {
		for _, name := range everybody(rsync) {
			b.clear(t, name)
			before := b.carried(t)
			cmd := b.command(t, name, file)
			require.NoError(t, cmd.Start())
			for b.carried(t)-before < size/2 {
				time.Sleep(time.Millisecond)
			}
			require.NoError(t, cmd.Process.Kill())
			cmd.Wait()
			b.rest(t, name)
			c, err := b.run(t, name, file)
			require.NoError(t, err)
			b.arrived(t, name, file)
			b.add(what+" s"+name, c.wall.Seconds())
			b.add(what+" CPU"+name, c.cpu.Seconds())
			b.add(what+" MB"+name, float64(b.carried(t)-before)/1e6)
		}
	}
}

// far measures transfers over long paths.
func (b *bench) far(t *testing.T) {
	some := distances
	if testing.Short() {
		some = some[1:2]
	}
	for _, d := range some {
		t.Run(d.String(), func(t *testing.T) {
			lab := netlab.New(t, 2)
			path := lab.Path(lab.Hosts[0], lab.Hosts[1], netlab.PathConfig{
				RTT: time.Duration(d.trip) * time.Millisecond, Loss: d.loss / 100, Seed: 1,
			})
			b.settle(t, lab)
			b.to = path.Addrs[1]
			size := int64(d.mib) << 20
			if testing.Short() {
				size = 256 << 10
			}
			file := b.file(t, size)
			for range count(2, 1) {
				for _, name := range everybody(rsync, reno, bbr) {
					if !b.control(t, map[string]string{rsync: "bbr", reno: "reno", bbr: "bbr", "lane": "reno"}[name]) {
						continue
					}
					b.clear(t, name)
					c, err := b.run(t, name, file)
					require.NoError(t, err)
					b.add(d.String()+name, float64(size)/1e6/c.wall.Seconds())
				}
			}
			stats := path.Stats()
			t.Logf("%v: %+v", d, stats)
			if n := stats[0].Overflown + stats[1].Overflown; n > 0 {
				b.without(fmt.Sprintf("%d packets found no room on the path of %v", n, d))
			}
		})
	}
}

// first measures the time from the start of both sides of examples/drop until
// the first byte has crossed.
func (b *bench) first(t *testing.T) {
	drop := filepath.Join(b.dir, "drop")
	build := exec.Command("go", "build", "-o", drop, "./examples/drop")
	build.Dir = filepath.Join("..", "..", "..")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	file := b.file(t, 1<<20)
	for round := range count(7, 1) {
		name := fmt.Sprint("Bob ", round)
		in, err := os.MkdirTemp(b.dir, "drop-")
		require.NoError(t, err)
		flags := []string{"--yes", "--interface", netlab.Interface, "--keys", filepath.Join(b.dir, "keys")}
		began := time.Now()
		receiver := b.lab.Hosts[1].Command(drop, append([]string{"receive", in, "--once", "--name", name}, flags...)...)
		sender := b.lab.Hosts[0].Command(drop, append([]string{"send", file, "--to", name}, flags...)...)
		said, err := sender.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, receiver.Start())
		require.NoError(t, sender.Start())
		lines, first := bufio.NewScanner(said), time.Duration(0)
		for lines.Scan() {
			if first == 0 && strings.Contains(lines.Text(), " %: ") {
				first = time.Since(began)
			}
		}
		require.NoError(t, sender.Wait())
		require.NoError(t, receiver.Wait())
		require.NotZero(t, first)
		b.add("first", first.Seconds())
	}
}

// control sets the congestion control of the sender's TCP, if the sender uses
// TCP and the kernel has that control.
func (b *bench) control(t *testing.T, name string) bool {
	if name == "" {
		return true
	}
	err := b.lab.Hosts[0].Command("sh", "-c", "echo "+name+" >/proc/sys/net/ipv4/tcp_congestion_control").Run()
	if err != nil {
		b.without("TCP with " + name + ", which this kernel does not have")
	}
	return err == nil
}

// file makes a file of random bytes.
func (b *bench) file(t *testing.T, size int64) string {
	path := filepath.Join(b.dir, "file")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	random, piece := rand.NewChaCha8([32]byte{3}), make([]byte, 1<<20)
	for left := size; left > 0; left -= int64(len(piece)) {
		random.Read(piece)
		_, err := f.Write(piece[:min(left, int64(len(piece)))])
		require.NoError(t, err)
	}
	return path
}

// clear empties a contender's folder.
func (b *bench) clear(t *testing.T, name string) {
	entries, err := os.ReadDir(b.daemons[name].dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, os.RemoveAll(filepath.Join(b.daemons[name].dir, e.Name())))
	}
}

// arrived checks that a file has arrived.
func (b *bench) arrived(t *testing.T, name, file string) {
	out, err := exec.Command("cmp", file, filepath.Join(b.daemons[name].dir, filepath.Base(file))).CombinedOutput()
	require.NoError(t, err, "%s: %s", name, out)
}

// A cost is the cost of a transfer.
type cost struct {
	wall, cpu time.Duration
	bytes     int64 // over the cable, in both directions
}

// add3 measures a contender once.
func (b *bench) add3(t *testing.T, what, name, from string) {
	t.Helper()
	c, err := b.run(t, name, from)
	require.NoError(t, err)
	b.add(what+" s"+name, c.wall.Seconds())
	b.add(what+" CPU"+name, c.cpu.Seconds())
	b.add(what+" MB"+name, float64(c.bytes)/1e6)
}

// run has a contender send a file or a folder.
func (b *bench) run(t *testing.T, name, from string) (c cost, err error) {
	d := b.daemons[name]
	cmd := b.command(t, name, from)
	var log, networks strings.Builder
	cmd.Stderr, cmd.Stdout = &log, &networks
	cpu, carried, began := used(t, d.cmd.Process.Pid), b.carried(t), time.Now()
	if err := cmd.Run(); err != nil {
		return c, fmt.Errorf("%s: %w: %s", name, err, log.String())
	}
	c.wall = time.Since(began)
	if want := map[string]string{"lane": "tcp\n", "quic": "udp\n"}[name]; want != "" && networks.String() != want {
		return c, fmt.Errorf("%s: streams went over %q", name, networks.String())
	}
	b.rest(t, name)
	c.cpu = used(t, d.cmd.Process.Pid) - cpu + cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	c.bytes = b.carried(t) - carried
	return c, nil
}

// rest waits until a daemon has no more sessions.
func (b *bench) rest(t *testing.T, name string) {
	pid := b.daemons[name].cmd.Process.Pid
	for range 1000 {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil || len(children) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not rest", name)
}

// used returns the CPU time of a process and of those of its children that have
// ended.
func used(t *testing.T, pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(b), ") ") // proc(5): the fields from the third on
	ticks := 0
	for _, field := range strings.Fields(rest)[11:15] {
		n, err := strconv.Atoi(field)
		require.NoError(t, err)
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ
}

// carried returns how many bytes the sender's end of the cable has carried.
func (b *bench) carried(t *testing.T) (bytes int64) {
	for line := range strings.Lines(b.lab.Hosts[0].Run("cat", "/proc/net/dev")) {
		name, counts, _ := strings.Cut(strings.TrimSpace(line), ":")
		if fields := strings.Fields(counts); name == netlab.Interface {
			for _, i := range []int{0, 8} {
				n, err := strconv.ParseInt(fields[i], 10, 64)
				require.NoError(t, err)
				bytes += n
			}
		}
	}
	return bytes
}
