package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

// A patient is a host that the doctor examines.
type patient struct {
	*netlab.Host
	t *testing.T
}

// patients makes a lab with some hosts.
func patients(t *testing.T, hosts int) (*netlab.Lab, []patient) {
	lab := netlab.New(t, hosts)
	var all []patient
	for _, h := range lab.Hosts {
		all = append(all, patient{h, t})
	}
	return lab, all
}

// node starts a node on the host, and returns its identity and its port.
func (p patient) node(interfaces ...string) (id, port string) {
	p.t.Helper()
	if interfaces == nil {
		interfaces = []string{}
	}
	about := p.Start(p.t, interfaces).Await(time.Time{}, "started").About
	return about[0], about[1]
}

// examine runs the doctor on the host, and checks its exit status.
func (p patient) examine(status int, args ...string) *report {
	p.t.Helper()
	r, got, stderr := p.run(p.doctor(args...))
	require.Equal(p.t, status, got, "%s %+v", stderr, r.Checks)
	return r
}

// doctor returns the command that runs the doctor on the host.
func (p patient) doctor(args ...string) *exec.Cmd {
	return p.Command(os.Args[0], append([]string{"doctor", "--app", "test", "--json"}, args...)...)
}

func (p patient) run(cmd *exec.Cmd) (r *report, status int, stderr string) {
	p.t.Helper()
	cmd.Env = append(os.Environ(), programEnv+"=1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NotEmpty(p.t, out, "%v %s", err, &errs)
	return decoded(p.t, string(out)), cmd.ProcessState.ExitCode(), errs.String()
}

// peer returns the last line about the peer.
func (r *report) peer() check {
	all := r.about("peer")
	return all[len(all)-1]
}

// requirePeer examines an address that cannot be reached, and checks the line
// about it. On a busy machine, the doctor gets more time.
func (p patient) requirePeer(address string, wait time.Duration, code code, says string) {
	p.t.Helper()
	c := p.until(wait, func(r *report) bool { return r.peer().Code == code }, address).peer()
	require.Equal(p.t, fail, c.Verdict, c)
	require.Equal(p.t, code, c.Code, c)
	require.Contains(p.t, c.Value, says)
}

// until examines the host, gives the doctor more time as long as the report is
// not as it should be, and returns the last report.
func (p patient) until(wait time.Duration, enough func(*report) bool, args ...string) *report {
	p.t.Helper()
	for longest := 8 * wait; ; wait *= 2 {
		r, _, _ := p.run(p.doctor(append([]string{"--time", wait.String()}, args...)...))
		if enough(r) || wait >= longest {
			return r
		}
	}
}

// chain makes an empty chain of the host's firewall on a hook, for both IP
// families.
func (p patient) chain(hook string) {
	p.t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		p.t.Fatal("there is no program nft; .ci/run installs what the tests need")
	}
	p.Run("nft", fmt.Sprintf("add table inet doctor; flush table inet doctor; add chain inet doctor %s { type filter hook %[1]s priority 0; }", hook))
}

// rule lets the host's firewall apply a rule on a hook, such as to UDP packets.
func (p patient) rule(hook, rule string, args ...any) {
	p.t.Helper()
	p.chain(hook)
	p.Run("nft", "add rule inet doctor "+hook+" "+fmt.Sprintf(rule, args...))
}

// calm removes all rules.
func (p patient) calm() { p.Run("nft", "flush ruleset") }

// subjects returns the subjects of a topic's checks that have the given
// verdict.
func (r *report) subjects(topic string, v verdict) (all []string) {
	for _, c := range r.about(topic) {
		if c.Verdict == v {
			all = append(all, c.Subject)
		}
	}
	return all
}

// requireCodes checks the codes of a topic's lines, except for those that are
// fine.
func (r *report) requireCodes(t *testing.T, topic string, want ...code) {
	t.Helper()
	var got []code
	for _, c := range r.about(topic) {
		if c.Verdict != fine {
			got = append(got, c.Code)
		}
	}
	require.Equal(t, want, got, r.about(topic))
}

// reaches examines a peer until it is reached: a node only answers once it has
// probed.
func (p patient) reaches(id string) *report {
	p.t.Helper()
	for began := time.Now(); ; {
		r, _, _ := p.run(p.doctor("--time", "1500ms", id))
		if r.Peer.Reached {
			return r
		}
		require.Less(p.t, time.Since(began), netlab.Patience, "%+v", r)
	}
}

// In a healthy lab, the other host is heard and reached.
func TestDoctorAmongHosts(t *testing.T) {
	t.Parallel()
	_, hosts := patients(t, 2)
	there, here := hosts[0], hosts[1]
	id, _ := there.node()
	r := here.reaches(id)
	require.Empty(t, r.subjects("multicast", fail))
	require.Equal(t, []string{"veth0 IPv4", "veth0 IPv6"}, r.subjects("multicast", fine))
	heard := map[string]int{}
	for _, s := range r.Heard {
		require.Equal(t, netlab.Interface, s.Interface)
		require.True(t, there.Owns(s.Source), s)
		heard[s.Family] += s.Packets
	}
	require.Positive(t, heard["IPv4"])
	require.Positive(t, heard["IPv6"])
	require.Contains(t, r.subjects("port", fine), here.Addr4().String()+":7373")
	require.Contains(t, r.subjects("port", fine), "["+here.Addr6().String()+"]:7373")
	require.Len(t, r.Peer.Candidates, 3, "IPv4 and IPv6, and the link-local one")
	for _, c := range r.Peer.Candidates {
		require.True(t, c.Reached, c)
		require.True(t, there.Owns(c.Address.Addr()))
		require.Equal(t, id, c.Identity.String())
		require.Equal(t, hostile, c.Name)
	}
	require.Empty(t, r.about("container"), "without a router, nobody is kept out")

	here.requirePeer("192.0.2.1", 300*time.Millisecond, codeNoRoute, "no route")
	here.requirePeer("10.77.0.99", 5*time.Second, codeNoHost, "no device answers for that address")
	here.requirePeer("[fd77::99]", 5*time.Second, codeNoHost, "no device answers for that address")
	here.Run("ip", "route", "add", "prohibit", "192.0.2.0/24")
	here.requirePeer("192.0.2.1", 300*time.Millisecond, codeNoRoute, "a route of this host forbids it")
}

// The doctor recognizes this host's own firewall by its effects: on packets in
// and out, to multicast and to the peer.
func TestDoctorOwnFirewall(t *testing.T) {
	t.Parallel()
	_, hosts := patients(t, 2)
	there, here := hosts[0], hosts[1]
	id, port := there.node()
	here.reaches(id)
	address := there.Addr4().String() + ":" + port

	here.rule("output", "udp dport %s drop", port)
	here.requirePeer(address, time.Second, codeBlockedOut, "this host does not let packets out")
	for _, with := range []string{"", "with icmpx type admin-prohibited", "with icmpx type host-unreachable"} {
		here.rule("output", "udp dport %s reject %s", port, with)
		c := here.examine(exitFailed, "--time", "1s", address).peer()
		require.Equal(t, codeBlockedOut, c.Code, c)
		require.Contains(t, c.Advice, "ufw allow out "+port+"/udp")
	}

	here.rule("input", "udp dport 7373 drop")
	r := here.examine(exitFailed, "--time", "300ms")
	require.Equal(t, []string{"7373 IPv4", "7373 IPv6"}, r.subjects("port", fine))
	require.Equal(t, []string{here.Addr4().String() + ":7373", "[" + here.Addr6().String() + "]:7373"}, r.subjects("port", fail))
	r.requireCodes(t, "port", codeBlockedIn, codeBlockedIn)
	here.examine(exitDone, "--time", "300ms", "--port", "7374")
	here.rule("output", "udp dport 7373 drop")
	here.examine(exitFailed, "--time", "300ms").requireCodes(t, "port", codeBlockedOut, codeBlockedOut)

	here.rule("input", "udp dport 5353 drop")
	r = here.examine(exitFailed, "--time", "1s", id)
	r.requireCodes(t, "multicast", codeBlockedIn, codeBlockedIn)
	for _, c := range r.about("multicast") {
		require.Contains(t, c.Value, "own query does not come back; nothing from others")
		require.Contains(t, c.Advice, "ufw allow 5353/udp")
	}
	require.Empty(t, r.Heard)
	require.Equal(t, codeUnannounced, r.peer().Code)
	require.Contains(t, r.peer().Advice, "Nor was anybody else heard: see the lines about multicast.")
	here.rule("output", "udp dport 5353 drop")
	r = here.examine(exitFailed, "--time", "300ms")
	r.requireCodes(t, "multicast", codeBlockedOut, codeBlockedOut)
	for _, c := range r.about("multicast") {
		require.True(t, strings.HasPrefix(c.Value, "cannot send: "), c)
		require.Contains(t, c.Advice, "ufw allow out 5353/udp")
	}
}

// However a firewall rejects a packet, the doctor recognizes the firewall; and
// it does not take a port that discovery has found for closed.
func TestDoctorRejects(t *testing.T) {
	t.Parallel()
	_, hosts := patients(t, 2)
	there, here := hosts[0], hosts[1]
	id, port := there.node()
	here.reaches(id)
	// So that each packet gets a message.
	there.Run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
	address4, address6 := there.Addr4().String(), there.Addr6().String()
	for with, text := range map[string]string{
		"net-unreachable": "network unreachable", "host-unreachable": "host unreachable", "prot-unreachable": "protocol unreachable",
		"net-prohibited": "network prohibited", "host-prohibited": "host prohibited", "admin-prohibited": "administratively prohibited",
	} {
		there.rule("input", "udp dport 9000 reject with icmp type %s", with)
		here.requirePeer(address4+":9000", time.Second, codeFirewall, fmt.Sprintf("a firewall rejects: %s answers %q", address4, text))
	}
	for with, text := range map[string]string{
		"no-route": "no route", "admin-prohibited": "administratively prohibited", "addr-unreachable": "address unreachable",
		"policy-fail": "source address failed policy", "reject-route": "reject route",
	} {
		there.rule("input", "udp dport 9000 reject with icmpv6 type %s", with)
		here.requirePeer("["+address6+"]:9000", time.Second, codeFirewall, fmt.Sprintf("a firewall rejects: %s answers %q", address6, text))
	}
	there.calm()
	here.requirePeer(address4+":9000", time.Second, codeClosed, "nothing on it listens on UDP port 9000, or its firewall rejects that")
	here.requirePeer("["+address6+"]:9000", time.Second, codeClosed, "nothing on it listens on UDP port 9000, or its firewall rejects that")

	there.rule("input", "udp dport %s reject", port) // the reject that looks like a closed port
	r := here.examine(exitFailed, "--time", "1500ms", id)
	// IPv4, IPv6, and the link-local address.
	r.requireCodes(t, "peer", codeFirewall, codeFirewall, codeFirewall)
	for _, c := range r.about("peer")[1:] {
		require.Contains(t, c.Value, "although discovery has found exactly that port")
	}
	there.rule("input", "udp dport %s drop", port)
	here.examine(exitFailed, "--time", "1500ms", id).requireCodes(t, "peer", codeFirewall, codeFirewall, codeFirewall)
	here.requirePeer(address4+":"+port, time.Second, codeFirewall, "although the device is there: its network card answers")
}

// Without a network, no firewall is to blame.
func TestDoctorUnplugged(t *testing.T) {
	t.Parallel()
	lab, hosts := patients(t, 2)
	examine := func(p patient, says string) {
		t.Helper()
		r := p.examine(exitFailed, "--time", "300ms", "10.77.0.9")
		r.requireCodes(t, "interfaces", codeNoInterface)
		r.requireCodes(t, "peer", codeNoInterface)
		require.Empty(t, r.about("multicast"))
		all := r.about("interfaces")
		require.Contains(t, all[len(all)-1].Value, says)
		for _, c := range r.Checks {
			require.NotContains(t, c.Value+c.Advice, "irewall")
		}
	}
	hosts[0].LinkDown()
	examine(hosts[0], "veth0 is switched off")
	// The kernel takes some time.
	for began := time.Now(); strings.TrimSpace(hosts[1].Run("cat", "/sys/class/net/veth0/operstate")) == "up"; {
		require.Less(t, time.Since(began), netlab.Patience)
	}
	examine(hosts[1], "veth0 has no carrier")
	hosts[1].Run("ip", "link", "set", "lo", "down")
	r := hosts[1].examine(exitFailed, "--time", "300ms")
	for _, c := range r.about("port") {
		require.NotContains(t, c.Value+c.Advice, "irewall")
	}
	lab.Disconnect()
	examine(hosts[0], "none is up")
}
