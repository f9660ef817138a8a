package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

// routed makes a lab of a host, a router and a host behind the router.
func routed(t *testing.T) (near, router, far patient, address4, address6 string) {
	t.Helper()
	lab, all := patients(t, 3)
	near, router, far = all[0], all[1], all[2]
	one, two := lab.Segment(1, near.Host, router.Host), lab.Segment(2, router.Host, far.Host)
	for _, family := range []int{0, 1} {
		hop := map[bool]string{true: "-4", false: "-6"}[family == 0]
		near.Run("ip", hop, "route", "add", two.Prefixes(far.Host, 0)[family].Masked().String(), "via", one.Prefixes(router.Host, 0)[family].Addr().String())
		far.Run("ip", hop, "route", "add", one.Prefixes(near.Host, 0)[family].Masked().String(), "via", two.Prefixes(router.Host, 0)[family].Addr().String())
	}
	router.Run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
	return near, router, far, two.Prefixes(far.Host, 0)[0].Addr().String(), two.Prefixes(far.Host, 0)[1].Addr().String()
}

// What a router on the path says, or does not say, is told apart from what the
// peer says.
func TestDoctorBehindARouter(t *testing.T) {
	t.Parallel()
	near, router, far, address4, address6 := routed(t)
	_, port := far.node()
	require.True(t, near.examine(exitDone, "--time", "5s", address4+":"+port).Peer.Reached)
	require.True(t, near.examine(exitDone, "--time", "5s", "["+address6+"]:"+port).Peer.Reached)

	for with, says := range map[string]string{
		"icmp type admin-prohibited": `a firewall rejects: 10.78.1.2, on the path, answers "administratively prohibited"`,
		"icmp type port-unreachable": `a firewall rejects: 10.78.1.2, on the path, answers "port unreachable"`,
	} {
		router.rule("forward", "udp dport %s reject with %s", port, with)
		near.requirePeer(address4+":"+port, time.Second, codeFirewall, says)
	}
	router.rule("forward", "udp dport %s reject with icmpv6 type admin-prohibited", port)
	near.requirePeer("["+address6+"]:"+port, time.Second, codeFirewall, `a firewall rejects: fd78:1::2, on the path, answers "administratively prohibited"`)
	router.rule("forward", "udp dport %s reject with icmp type host-unreachable", port)
	near.requirePeer(address4+":"+port, time.Second, codeRouter, `rejected by a router: 10.78.1.2, on the path, answers "host unreachable": a firewall there, or`)
	router.rule("forward", "udp dport %s reject with icmp type net-unreachable", port)
	near.requirePeer(address4+":"+port, time.Second, codeRouter, `10.78.1.2, on the path, answers "network unreachable"`)
	router.calm()
	near.requirePeer(strings.TrimSuffix(address4, ".3")+".99", 5*time.Second, codeRouter, `10.78.1.2, on the path, answers "host unreachable"`)
	router.rule("forward", "udp dport %s drop", port)
	near.requirePeer(address4+":"+port, time.Second, codeSilent, "no answer in")
	router.calm()

	router.Run("ip", "link", "set", "seg2", "mtu", "1100") // this disables IPv6, too
	near.requirePeer(address4+":"+port, 2*time.Second, codeMTU, "do not fit the path, according to 10.78.1.2 (fragmentation needed); the MTU is 1100")
	router.rule("output", "icmp type destination-unreachable drop") // a black hole
	near.requirePeer(address4+":"+port, 4*time.Second, codeMTU, "small packets are answered, but those of 1200 bytes, with which QUIC begins, are lost")
}

// If packets of QUIC do not fit an interface, both the interface's line and the
// peer's line say so.
func TestDoctorMTU(t *testing.T) {
	t.Parallel()
	_, hosts := patients(t, 2)
	_, port := hosts[0].node()
	hosts[1].Run("ip", "link", "set", netlab.Interface, "mtu", "1000")
	r := hosts[1].examine(exitFailed, "--time", "1s", hosts[0].Addr4().String()+":"+port)
	r.requireCodes(t, "interfaces", codeMTU)
	require.Equal(t, codeMTU, r.peer().Code, r.peer())
	require.Contains(t, r.peer().Value, "do not fit this host's interface; the MTU is 1000")
	hosts[1].Run("ip", "link", "set", netlab.Interface, "mtu", "1240")
	r = hosts[1].examine(exitDone, "--time", "5s", hosts[0].Addr4().String()+":"+port)
	r.requireCodes(t, "interfaces", codeMTU)
	require.True(t, r.Peer.Reached)
}

// bridge puts a switch between the cable and the host. The host's addresses are
// on the interface own0 then.
func (p patient) bridge(settings ...string) {
	p.t.Helper()
	p.Run("ip", append([]string{"link", "add", "br0", "type", "bridge"}, settings...)...)
	p.Run("ip", "link", "add", "own0", "type", "veth", "peer", "name", "port0")
	p.Run("ip", "addr", "flush", "dev", netlab.Interface)
	for _, name := range []string{"br0", "own0", "port0"} {
		p.Run("ip", "link", "set", name, "up", "addrgenmode", "none")
	}
	for _, name := range []string{"port0", netlab.Interface} {
		p.Run("ip", "link", "set", name, "master", "br0")
	}
	p.Run("ip", "addr", "add", p.Addr4().String()+"/24", "dev", "own0")
	p.Run("ip", "addr", "add", p.Addr6().String()+"/64", "dev", "own0", "nodad")
	p.Run("ip", "addr", "add", p.LinkLocal().String()+"/64", "dev", "own0", "nodad")
}

// The switch lets unicast through, but no multicast.
func TestDoctorSnooping(t *testing.T) {
	t.Parallel()
	_, hosts := patients(t, 2)
	there, here := hosts[0], hosts[1]
	there.bridge("mcast_snooping", "1", "forward_delay", "0")
	id, port := there.node("own0")
	here.reaches(id)
	there.Run("ip", "link", "set", netlab.Interface, "type", "bridge_slave", "mcast_flood", "off")
	answered := func(r *report) bool {
		return len(r.about("multicast")) == 2 && r.about("multicast")[0].Code == codeSnooping
	}
	r := here.until(3*time.Second, answered)
	r.requireCodes(t, "multicast", codeSnooping, codeSnooping)
	require.Equal(t, fail, r.Verdict)
	require.Contains(t, r.about("multicast")[0].Value, "nothing from others; but 10.77.0.1 answers by unicast")
	require.Contains(t, r.about("multicast")[0].Advice, "IGMP or MLD snooping in a switch without a querier")
	// With or without discovery of the peer.
	here.until(3*time.Second, answered, id).requireCodes(t, "multicast", codeSnooping, codeSnooping)

	// There does not answer any more, and a suspicion remains.
	there.rule("input", "udp dport 5353 drop")
	r = here.until(3*time.Second, answered, there.Addr4().String()+":"+port)
	require.Equal(t, codeSnooping, r.about("multicast")[0].Code)
	require.Equal(t, warn, r.Verdict)
	require.Contains(t, r.about("multicast")[0].Value, "but 10.77.0.1 was reached by unicast")
}

// A switch port with spanning tree forwards nothing at first.
func TestDoctorSpanningTree(t *testing.T) {
	t.Parallel()
	_, hosts := patients(t, 2)
	there, here := hosts[0], hosts[1]
	there.bridge("stp_state", "1", "forward_delay", "1500")
	id, _ := there.node("own0")
	here.LinkDown()
	here.Run("ip", "addr", "flush", "dev", netlab.Interface)
	here.LinkUp()
	r := here.examine(exitFailed, "--time", "1s", id)
	r.requireCodes(t, "multicast", codeSpanningTree, codeSpanningTree)
	require.Contains(t, r.about("multicast")[0].Value, "the interface got its address ")
	require.Contains(t, r.about("multicast")[0].Advice, "spanning tree")
	require.NotContains(t, r.about("multicast")[0].Value, "programs on this host", "the doctor must listen before it looks for the peer")
	here.reaches(id) // the port may have begun to forward during this run
	r = here.reaches(id)
	r.requireCodes(t, "multicast")
}

// When multicast memberships run out, the report names the interface that got
// none, and the limit.
func TestDoctorMemberships(t *testing.T) {
	t.Parallel()
	_, hosts := patients(t, 2)
	there, here := hosts[0], hosts[1]
	there.node()
	here.Run("sysctl", "-qw", "net.ipv4.igmp_max_memberships=1")
	for i := range 5 { // with higher indexes, and without a router
		one, two := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
		here.Run("ip", "link", "add", one, "type", "veth", "peer", "name", two)
		for _, name := range []string{one, two} {
			here.Run("ip", "link", "set", name, "up", "addrgenmode", "none")
		}
		here.Run("ip", "addr", "add", fmt.Sprintf("172.%d.0.1/16", 17+2*i), "dev", one)
		here.Run("ip", "addr", "add", fmt.Sprintf("172.%d.0.1/16", 18+2*i), "dev", two)
	}
	all := here.examine(exitFailed, "--time", "1s").about("multicast")
	deaf := all[len(all)-1]
	require.Equal(t, codeMemberships, deaf.Code, all)
	require.Regexp(t, "^deaf: cannot join the multicast group: no membership is left after [1-9][0-9]* interfaces?, and net.ipv4.igmp_max_memberships is 1$", deaf.Value)
	require.Contains(t, deaf.Advice, "sysctl -w net.ipv4.igmp_max_memberships=100")
	require.NotEqual(t, codeMemberships, all[0].Code, "the first interface must have got a membership")
}

// The doctor notices a node with a fixed port that does not listen to
// multicast.
func TestDoctorDeafNode(t *testing.T) {
	t.Parallel()
	_, hosts := patients(t, 2)
	_, port := hosts[0].node("nowhere0")
	r := hosts[0].examine(exitDone, "--time", "1s", "--port", port)
	require.Contains(t, r.about("port")[0].Value, "in use by the node")
	last := r.about("multicast")[2]
	require.Equal(t, codeAppDeaf, last.Code, r.about("multicast"))
	require.Equal(t, netlab.Interface, last.Subject)
	_, port = hosts[0].node()
	r = hosts[0].examine(exitDone, "--time", "1s", "--port", port)
	require.Len(t, r.about("multicast"), 2, "%v", r.about("multicast"))
}

// In a container, the doctor says that it is in one, and what to type outside.
// It recognizes a container by its files, or by the network alone.
func TestDoctorInAContainer(t *testing.T) {
	t.Parallel()
	_, hosts := patients(t, 2)
	here := hosts[1]
	here.Run("ip", "route", "add", "default", "via", hosts[0].Addr4().String())
	r := here.examine(exitDone, "--time", "300ms", "--port", "7400")
	r.requireCodes(t, "container", codeContainer)
	c := r.about("container")[0]
	require.Contains(t, c.Value, "its interface veth0 (10.77.0.2/24 behind the router 10.77.0.1) is ")
	require.Contains(t, c.Value, "which multicast does not leave")
	require.Contains(t, c.Advice, "type HOST:7400")
	r.requireCodes(t, "multicast", codeUnheard, codeUnheard)
	require.Contains(t, r.about("multicast")[0].Advice, "see the line about the container")

	id, _ := hosts[0].node()
	r = here.reaches(id)
	if place(os.DirFS("/"), os.Getenv).container == "" { // the machine may be a container
		require.Empty(t, r.about("container"), "this may be no container")
	}
	args := []string{"-c", `mount -t tmpfs none /run && touch /run/.containerenv && exec "$0" "$@"`, os.Args[0], "doctor", "--app", "test", "--json", "--time", "1s"}
	r, status, stderr := here.run(here.Command("sh", args...))
	require.Equal(t, exitDone, status, stderr)
	r.requireCodes(t, "container", codeContainer)
	require.Equal(t, "Podman", r.about("container")[0].Subject)
	require.Contains(t, r.about("container")[0].Advice, "podman run -p 7373:7373/udp")
}
