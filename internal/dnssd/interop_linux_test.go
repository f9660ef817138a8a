package dnssd_test

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
)

// The tests of this file talk to other implementations of Multicast DNS, in network namespaces joined by a veth pair,
// without any route. They need root, ip, dbus-daemon, avahi-daemon, avahi-utils and python3-zeroconf, and run if
// SDP2P_NETTEST is set.

// TestHelperNode is no test but a program that the others run in a namespace: it announces the label in DNSSD_LABEL,
// if any, prints what it finds, and ends when its input does.
func TestHelperNode(t *testing.T) {
	if os.Getenv("DNSSD_HELPER") == "" {
		t.Skip("run by the interop tests")
	}
	cfg := dnssd.Config{
		Service:  "_sd._udp",
		Ready:    func() { fmt.Println("ready") },
		Found:    func(i dnssd.Instance) { fmt.Printf("found %q %v %q\n", i.Name, i.Addrs, i.TXT) },
		Lost:     func(name string) { fmt.Printf("lost %q\n", name) },
		Conflict: func(name string, other netip.Addr) { fmt.Printf("conflict %q %v\n", name, other) },
	}
	e, err := dnssd.New(cfg)
	require.NoError(t, err)
	if label := os.Getenv("DNSSD_LABEL"); label != "" {
		require.NoError(t, e.Publish(dnssd.Service{Instance: label, Port: 4242, TXT: []string{`name=Zoë "\`, "v=1"}, IPv4: true, IPv6: true}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // ends with the input
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		cancel()
	}()
	require.NoError(t, e.Run(ctx))
	fmt.Printf("sent %+v\n", e.Stats().Sent)
}

// A process is a program that runs in a namespace, and what it printed.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	ready time.Time // when a node was
	lines chan line
	quit  func() time.Time // ends a node; returns when
}

type line struct {
	at   time.Time
	text string
}

type lab struct {
	t  *testing.T
	ns [2]string
}

// newLab makes two namespaces with an interface each.
func newLab(t *testing.T) *lab {
	if os.Getenv("SDP2P_NETTEST") == "" {
		t.Skip("set SDP2P_NETTEST=1 to test against avahi and zeroconf")
	}
	l := &lab{t: t}
	for i := range l.ns {
		l.ns[i] = fmt.Sprintf("dnssd-%d-%d", os.Getpid(), i)
		l.do("ip", "netns", "add", l.ns[i])
		t.Cleanup(func() { l.do("ip", "netns", "del", l.ns[i]) })
	}
	l.do("ip", "-n", l.ns[0], "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", l.ns[1])
	for i, ns := range l.ns {
		l.do("ip", "-n", ns, "link", "set", "lo", "up")
		l.do("ip", "-n", ns, "addr", "add", fmt.Sprintf("10.77.0.%d/24", i+1), "dev", "veth0")
		l.do("ip", "-n", ns, "addr", "add", fmt.Sprintf("fe80::77:%d/64", i+1), "dev", "veth0", "nodad")
		l.do("ip", "-n", ns, "link", "set", "veth0", "up")
	}
	return l
}

func (l *lab) do(name string, args ...string) {
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(l.t, err, "%s %v: %s", name, args, out)
}

// start runs a program in a namespace until the test ends.
func (l *lab) start(ns int, env []string, name string, args ...string) *process {
	cmd := exec.Command("ip", append([]string{"netns", "exec", l.ns[ns], name}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	in, err := cmd.StdinPipe()
	require.NoError(l.t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(l.t, err)
	cmd.Stderr = cmd.Stdout
	p := &process{t: l.t, cmd: cmd, lines: make(chan line, 1000)}
	require.NoError(l.t, cmd.Start())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- line{time.Now(), s.Text()}
		}
	}()
	p.quit = func() time.Time {
		in.Close()
		return time.Now()
	}
	l.t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
	})
	return p
}

// node runs an engine in a namespace.
func (l *lab) node(ns int, label string) *process {
	self, err := os.Executable()
	require.NoError(l.t, err)
	p := l.start(ns, []string{"DNSSD_HELPER=1", "DNSSD_LABEL=" + label}, self, "-test.run=^TestHelperNode$", "-test.v")
	p.ready = p.expect("ready")
	return p
}

// expect waits for a line that contains all the words, and returns when it was printed.
func (p *process) expect(words ...string) time.Time {
	p.t.Helper()
	timeout := time.After(60 * time.Second)
	var got []string
	for {
		select {
		case line, ok := <-p.lines:
			require.True(p.t, ok, "%v ended; printed %q", p.cmd.Args, got)
			got = append(got, line.text)
			all := true
			for _, w := range words {
				all = all && strings.Contains(line.text, w)
			}
			if all {
				return line.at
			}
		case <-timeout:
			require.Fail(p.t, "timeout", "%v did not print %q; printed %q", p.cmd.Args, words, got)
		}
	}
}

// avahi runs avahi-daemon in a namespace and returns the environment of programs that use it.
func (l *lab) avahi(ns int) []string {
	dir := l.t.TempDir()
	bus := "unix:path=" + filepath.Join(dir, "bus")
	env := []string{"DBUS_SYSTEM_BUS_ADDRESS=" + bus, "LC_ALL=C.UTF-8"}
	conf := filepath.Join(dir, "bus.conf")
	require.NoError(l.t, os.WriteFile(conf, []byte(`<busconfig><type>system</type><listen>`+bus+`</listen><auth>EXTERNAL</auth>
		<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy></busconfig>`), 0o600))
	l.start(ns, env, "dbus-daemon", "--nofork", "--print-address=1", "--config-file="+conf).expect("unix:")
	daemon := filepath.Join(dir, "avahi.conf")
	require.NoError(l.t, os.WriteFile(daemon, []byte("[server]\nhost-name=avahi-host\nallow-interfaces=veth0\nuse-ipv6=yes\n[publish]\npublish-workstation=no\n"), 0o600))
	require.NoError(l.t, os.MkdirAll("/run/avahi-daemon", 0o755))
	l.start(ns, env, "avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", "-f", daemon).expect("startup complete")
	return env
}

const (
	oddLabel = "O2onvM62/Z2+ik.Zoë"
	asAvahi  = `O2onvM62\047Z2\043ik\.Zo\195\171` // as avahi-browse prints it
)

// An avahi browser that was there before finds us, hears the goodbye, and we find what avahi publishes; also from the
// host that avahi runs on, where it takes our unicast packets.
func TestAvahi(t *testing.T) {
	l := newLab(t)
	env := l.avahi(1)
	browse := l.start(1, env, "avahi-browse", "-rpk", "_sd._udp")
	neighbour := l.node(1, "neighbour")
	browse.expect("=;", "IPv4", "neighbour", "4242")

	for range 3 {
		a := l.node(0, oddLabel)
		t.Log("avahi found us after", browse.expect("=;veth0;IPv4", asAvahi, "10.77.0.1;4242", `name=Zo\195\171 \"\\`, "v=1").Sub(a.ready))
		neighbour.expect("found", `"O2onvM62/Z2+ik.Zoë"`, "10.77.0.1:4242")
		a.expect("found", "neighbour", "10.77.0.2:4242")
		end := a.quit()
		t.Log("gone from avahi after", browse.expect("-;veth0;IPv4", asAvahi).Sub(end))
		neighbour.expect("lost", `"O2onvM62/Z2+ik.Zoë"`)
	}
	fresh := l.node(0, "fresh")
	late := l.start(1, env, "avahi-browse", "-rpk", "_sd._udp")
	late.expect("=;veth0;IPv4", "fresh")

	published := l.start(1, env, "avahi-publish", "-s", `from avahi, Zoë "\`, "_sd._udp", "777", "k=v")
	fresh.expect("found", "from avahi, Zoë", "10.77.0.2:777", `"k=v"`)
	neighbour.expect("found", "from avahi, Zoë", "10.77.0.2:777", `"k=v"`)
	require.NoError(t, published.cmd.Process.Signal(os.Interrupt))
	fresh.expect("lost", "from avahi, Zoë")
	neighbour.expect("lost", "from avahi, Zoë")
}

// The same with python-zeroconf.
func TestZeroconf(t *testing.T) {
	l := newLab(t)
	const script = `
import sys, socket
from zeroconf import Zeroconf, ServiceBrowser, ServiceInfo
class L:
    def add_service(self, z, t, n):
        i = z.get_service_info(t, n)
        print("add", n, i and i.parsed_addresses(), i and i.port, i and i.properties, flush=True)
    def update_service(self, z, t, n): print("update", n, flush=True)
    def remove_service(self, z, t, n): print("remove", n, flush=True)
z = Zeroconf(interfaces=["10.77.0.2"])
b = ServiceBrowser(z, "_sd._udp.local.", L())
z.register_service(ServiceInfo("_sd._udp.local.", "from python._sd._udp.local.", 888, properties={"k": "v"}, addresses=[socket.inet_aton("10.77.0.2")], server="py.local."))
print("registered", flush=True)
sys.stdin.readline()
z.close()
`
	python := l.start(1, nil, "/usr/bin/python3", "-c", script)
	python.expect("registered")
	a := l.node(0, oddLabel)
	a.expect("found", "from python", "10.77.0.2:888", "k=v")
	t.Log("zeroconf found us after", python.expect("add", oddLabel, "10.77.0.1", "4242", `b'v': b'1'`).Sub(a.ready))
	end := a.quit()
	t.Log("gone from zeroconf after", python.expect("remove", oddLabel).Sub(end))

	b := l.node(0, "other")
	b.expect("found", "from python")
	python.quit()
	b.expect("lost", "from python")
}

// Two of our processes in two namespaces, with one of them killed without a goodbye, and the same label twice.
func TestNamespaces(t *testing.T) {
	l := newLab(t)
	a := l.node(0, "a")
	b := l.node(1, "b")
	t.Log("the later one found the earlier after", b.expect("found", `"a"`, "10.77.0.1:4242").Sub(b.ready))
	t.Log("the earlier one found the later after", a.expect("found", `"b"`, "10.77.0.2:4242").Sub(b.ready))
	twin := l.node(1, "a")
	twin.expect("conflict", `"a"`, "77") // by whichever address of the other host was heard first
	a.quit()
	b.expect("lost", `"a"`)
	b.expect("found", `"a"`, "10.77.0.2:4242")
	require.NoError(t, exec.Command("ip", "-n", l.ns[0], "link", "del", "veth0").Run())
}
