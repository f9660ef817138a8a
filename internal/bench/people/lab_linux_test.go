package people

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
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

// needed are the programs, and the Debian packages that contain them.
var needed = map[string]string{
	"ip": "iproute2", "rsync": "rsync", "sshd": "openssh-server", "ssh": "openssh-client", "ssh-keygen": "openssh-client",
	"scp": "openssh-client", "curl": "curl",
}

// inNamespaces runs all measurements.
func inNamespaces(t *testing.T, r *results) {
	if os.Geteuid() != 0 {
		r.without("hosts of their own, since network namespaces need root")
		return
	}
	for program, of := range needed {
		if _, err := exec.LookPath(program); err != nil {
			r.without(fmt.Sprintf("there is no program %s: it is in the package %s", program, of))
		}
	}
	if len(r.missing) > 0 {
		return
	}
	t.Setenv("SDP2P_NETTEST", "1")
	if testing.Short() {
		r.without("what is named has its size only in a whole run")
	}
	r.add("load", load())
	b := newBench(t, r)
	for _, m := range []struct {
		name string
		f    func(*testing.T)
	}{{"one", b.one}, {"many", b.many}, {"changed", b.changed}, {"killed", b.killed}, {"first", b.first}, {"far", b.far}} {
		t.Run(m.name, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					r.without(fmt.Sprintf("%q failed", m.name))
				}
			}()
			m.f(t)
		})
	}
	r.add("load", load())
}

// load returns the average number of runnable processes over a minute.
func load() float64 {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(first, 64)
	return v
}

// A bench is two hosts, and the daemons on the second one.
type bench struct {
	*results
	lab     *netlab.Lab
	dir     string             // a folder in memory
	program string             // the program that is one side
	to      netip.Addr         // address of the second host
	daemons map[string]*daemon // by contender

}

// A daemon receives into a folder.
type daemon struct {
	cmd  *exec.Cmd
	port string
	dir  string
}

func newBench(t *testing.T, r *results) *bench {
	dir, err := os.MkdirTemp("/dev/shm", "people")
	if err != nil {
		dir = t.TempDir()
		r.without("files in memory, since there is no /dev/shm")
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &bench{results: r, lab: netlab.New(t, 2), dir: dir, program: filepath.Join(dir, "side")}
	out, err := exec.Command("go", "build", "-o", b.program, "./side").CombinedOutput()
	require.NoError(t, err, "%s", out)
	b.settle(t, b.lab)
	return b
}

// settle starts the daemons on a lab's second host.
func (b *bench) settle(t *testing.T, lab *netlab.Lab) {
	b.lab, b.to, b.daemons = lab, lab.Hosts[1].Addr4(), map[string]*daemon{}
	for _, way := range ours {
		d := b.start(t, way, "", b.program, "receive", way, filepath.Join(b.dir, "receiver.pem"))
		out, err := d.cmd.StdoutPipe()
		require.NoError(t, err)
		in, err := d.cmd.StdinPipe()
		require.NoError(t, err)
		t.Cleanup(func() { in.Close() })
		require.NoError(t, d.cmd.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		d.port = strings.TrimSpace(line)
	}
	key := filepath.Join(b.dir, "ssh")
	if _, err := os.Stat(key); err != nil {
		out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	require.NoError(t, os.MkdirAll("/run/sshd", 0o755)) // an empty folder that sshd requires
	sshd, err := exec.LookPath("sshd")
	require.NoError(t, err)
	d := b.start(t, rsync, "22", sshd, "-D", "-e", "-f", "/dev/null", "-h", key, "-p", "22",
		"-o", "AuthorizedKeysFile="+key+".pub", "-o", "StrictModes=no", "-o", "PermitRootLogin=yes", "-o", "PidFile=none", "-o", "UsePAM=no",
		"-o", "Subsystem=sftp internal-sftp")
	d.cmd.Args = d.cmd.Args[:len(d.cmd.Args)-1] // sshd is not given a folder
	require.NoError(t, d.cmd.Start())
	b.daemons[scp] = &daemon{d.cmd, d.port, d.dir}
	h := b.start(t, curl, "443", b.program, "serve", ":443")
	require.NoError(t, h.cmd.Start())
	b.daemons[bbr], b.daemons[reno] = h, h
	for _, port := range []string{"22", "443"} {
		b.awaits(t, port)
	}
}

// awaits waits until a program listens on a port.
func (b *bench) awaits(t *testing.T, port string) {
	t.Helper()
	err := error(nil)
	for range 400 {
		err = b.lab.Hosts[0].Do(func() error {
			c, err := net.Dial("tcp", net.JoinHostPort(b.to.String(), port))
			if err == nil {
				c.Close()
			}
			return err
		})
		if err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	require.NoError(t, err)
}

// start prepares a daemon, whose last argument is its folder.
func (b *bench) start(t *testing.T, name, port, program string, args ...string) *daemon {
	d := &daemon{port: port, dir: filepath.Join(b.dir, "to-"+name[:4])}
	require.NoError(t, os.MkdirAll(d.dir, 0o700))
	d.cmd = b.lab.Hosts[1].Command(program, append(args, d.dir)...)
	t.Cleanup(func() {
		if d.cmd.Process != nil {
			d.cmd.Process.Kill()
			d.cmd.Wait()
		}
	})
	b.daemons[name] = d
	return d
}

// command returns the command that sends a file or a folder.
func (b *bench) command(t *testing.T, name, from string) *exec.Cmd {
	d, h := b.daemons[name], b.lab.Hosts[0]
	at := b.to.String()
	ssh := "-i " + filepath.Join(b.dir, "ssh") + " -F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes"
	switch name {
	case rsync:
		return h.Command("rsync", "-a", "--partial", "-e", "ssh "+ssh, from, "root@"+at+":"+d.dir+"/")
	case scp:
		return h.Command("scp", append(strings.Fields(ssh), "-q", "-r", from, "root@"+at+":"+d.dir+"/")...)
	case curl, bbr, reno:
		return h.Command("curl", "-k", "-s", "-S", "-f", "-K", b.uploads(t, from))
	}
	return h.Command(b.program, "send", name, filepath.Join(b.dir, "sender.pem"), net.JoinHostPort(at, d.port), from)
}

// uploads returns a file that tells curl what to upload.
func (b *bench) uploads(t *testing.T, from string) string {
	list := filepath.Join(b.dir, "uploads")
	var text strings.Builder
	add := func(path string) {
		fmt.Fprintf(&text, "upload-file = %q\nurl = \"https://%v/%s\"\n", path, b.to, filepath.Base(path))
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		add(from)
	}
	for _, e := range entries {
		add(filepath.Join(from, e.Name()))
	}
	require.NoError(t, os.WriteFile(list, []byte(text.String()), 0o600))
	return list
}
