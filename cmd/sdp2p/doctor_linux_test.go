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

// examine runs the program there.
func (p patient) examine(status int, args ...string) *report {
	p.t.Helper()
	cmd := p.Command(os.Args[0], append([]string{"doctor", "--app", "test", "--json"}, args...)...)
	cmd.Env = append(os.Environ(), programEnv+"=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.Equal(p.t, status, cmd.ProcessState.ExitCode(), "%v %s %s", err, out, &stderr)
	return decoded(p.t, string(out))
}

// block has the host's firewall drop what comes in for a UDP port.
func (p patient) block(port int) {
	p.t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		p.t.Fatal("there is no program nft; .ci/run installs what the tests need")
	}
	p.Run("nft", fmt.Sprintf("add table inet t%d; add chain inet t%[1]d c { type filter hook input priority 0; }; add rule inet t%[1]d c udp dport %[1]d drop", port))
}

// subjects returns those of a topic's checks that have a verdict.
func (r *report) subjects(topic string, v verdict) (all []string) {
	for _, c := range r.about(topic) {
		if c.Verdict == v {
			all = append(all, c.Subject)
		}
	}
	return all
}

// In a healthy lab, the other host is heard and reached; then each fault is put where the doctor looks for it.
func TestDoctorAmongHosts(t *testing.T) {
	lab := netlab.New(t, 2)
	here, there := patient{lab.Hosts[1], t}, patient{lab.Hosts[0], t}
	far := there.Start(t, []string(nil))
	id := far.Await(time.Time{}, "started").About[0]

	var r *report
	for began := time.Now(); ; { // it answers when it has probed
		if r = here.examineAny("--time", "1500ms", id); r.Peer.Reached {
			break
		}
		require.Less(t, time.Since(began), netlab.Patience, "%v", r)
	}
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
	require.Len(t, r.Peer.Candidates, 2, "IPv4 and IPv6")
	var port uint16
	for _, c := range r.Peer.Candidates {
		require.True(t, c.Reached, c)
		require.True(t, there.Owns(c.Address.Addr()))
		require.Equal(t, id, c.Identity.String())
		require.Equal(t, hostile, c.Name)
		port = c.Address.Port()
	}

	t.Run("no route", func(t *testing.T) {
		p := patient{here.Host, t}
		r := p.examine(exitFailed, "--time", "300ms", "192.0.2.1")
		require.Contains(t, r.about("peer")[0].Value, "no route")
	})
	t.Run("nobody has the address", func(t *testing.T) {
		p := patient{here.Host, t}
		r := p.examine(exitFailed, "--time", "5s", "10.77.0.99")
		require.Contains(t, r.about("peer")[0].Value, "no host has that address")
	})
	t.Run("the peer's firewall", func(t *testing.T) {
		far, near := patient{there.Host, t}, patient{here.Host, t}
		far.block(int(port))
		address := fmt.Sprint(far.Addr4(), ":", port)
		r := near.examine(exitFailed, "--time", "500ms", address)
		last := r.about("peer")[0]
		require.Equal(t, fail, last.Verdict)
		require.Contains(t, last.Value, "no answer in")
		require.Contains(t, last.Advice, fmt.Sprint("firewall let UDP port ", port, " in"))

		near.Run("nft", fmt.Sprintf("add table inet o; add chain inet o c { type filter hook output priority 0; }; add rule inet o c udp dport %d drop", port))
		r = near.examine(exitFailed, "--time", "500ms", address)
		require.Contains(t, r.about("peer")[0].Value, "this host does not let packets out")
		near.Run("nft", "delete table inet o")
	})
	t.Run("the port is blocked", func(t *testing.T) {
		p := patient{here.Host, t}
		p.block(7373)
		r := p.examine(exitFailed, "--time", "300ms")
		require.Equal(t, []string{"7373 IPv4", "7373 IPv6"}, r.subjects("port", fine))
		require.Equal(t, []string{p.Addr4().String() + ":7373", "[" + p.Addr6().String() + "]:7373"}, r.subjects("port", fail))
		for _, c := range r.about("port") {
			if c.Verdict == fail {
				require.Contains(t, c.Value, "does not arrive")
				require.Contains(t, c.Advice, "firewall, drops UDP port 7373")
			}
		}
		require.Empty(t, p.examineAny("--time", "300ms", "--port", "7374").subjects("port", fail))
	})
	t.Run("multicast is blocked", func(t *testing.T) {
		p := patient{here.Host, t}
		p.block(5353)
		r := p.examine(exitFailed, "--time", "1s", id)
		require.Equal(t, []string{"veth0 IPv4", "veth0 IPv6"}, r.subjects("multicast", fail))
		for _, c := range r.about("multicast") {
			require.Contains(t, c.Value, "own query does not come back; nothing from others")
			require.Contains(t, c.Advice, "firewall, drops UDP port 5353")
		}
		require.Empty(t, r.Heard)
		require.False(t, r.Peer.Reached)
		require.Contains(t, r.about("peer")[0].Value, "nobody announced it")
	})
	t.Run("multicast may not be sent", func(t *testing.T) {
		p := patient{there.Host, t}
		p.Run("nft", "add table inet s; add chain inet s c { type filter hook output priority 0; }; add rule inet s c udp dport 5353 drop")
		for _, c := range p.examine(exitFailed, "--time", "300ms").about("multicast") {
			require.True(t, strings.HasPrefix(c.Value, "cannot send: "), c)
			require.Contains(t, c.Advice, "does not let the program use UDP port 5353")
		}
	})
	t.Run("unplugged", func(t *testing.T) {
		lab.Disconnect()
		r := patient{here.Host, t}.examine(exitFailed, "--time", "300ms")
		require.Equal(t, []string{""}, r.subjects("interfaces", fail))
		require.Empty(t, r.about("multicast"))
	})
}

// examineAny runs the program there, whatever the outcome.
func (p patient) examineAny(args ...string) *report {
	p.t.Helper()
	cmd := p.Command(os.Args[0], append([]string{"doctor", "--app", "test", "--json"}, args...)...)
	cmd.Env = append(os.Environ(), programEnv+"=1")
	out, _ := cmd.Output()
	return decoded(p.t, string(out))
}
