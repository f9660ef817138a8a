package nettest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
)

const browsedType = "_" + app + "._udp"

// zeroconfPeer is a python-zeroconf program that announces sys.argv[1] at the
// addresses in sys.argv[2] with the TXT record in sys.argv[3], and prints what
// it sees, until its input ends.
const zeroconfPeer = `
import json, sys
from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, Zeroconf
kind, label, addrs, txt = "_nettest._udp.local.", sys.argv[1], sys.argv[2].split(), json.loads(sys.argv[3])
def tell(event, name, info=None):
    e = {"event": event, "label": name.removesuffix("." + kind)}
    if info and info.properties: # the TXT record has come, too
        txt = {k.decode(): v.decode() for k, v in info.properties.items()}
        e |= {"addrs": info.parsed_addresses(), "port": info.port, "txt": txt}
    print(json.dumps(e, ensure_ascii=False), flush=True)
class Listener:
    def add_service(self, z, kind, name): tell("add", name, z.get_service_info(kind, name))
    def update_service(self, z, kind, name): tell("update", name, z.get_service_info(kind, name))
    def remove_service(self, z, kind, name): tell("remove", name)
z = Zeroconf(interfaces=addrs, ip_version=IPVersion.All)
browser = ServiceBrowser(z, kind, Listener())
z.register_service(ServiceInfo(kind, label + "." + kind, 888, properties=txt, parsed_addresses=addrs, server="python.local."))
tell("registered", label)
sys.stdin.read()
z.close()
`

// silentReader shares port 5353 with the other programs on its host, and reads
// all packets.
const silentReader = `
import select, socket, struct
index = socket.if_nametoindex("veth0")
group4 = socket.inet_aton("224.0.0.251") + struct.pack("=4xi", index)
group6 = socket.inet_pton(socket.AF_INET6, "ff02::fb") + struct.pack("=i", index)
all = []
for family, proto, option, group in (
    (socket.AF_INET, socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group4),
    (socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group6),
):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6: s.setsockopt(proto, socket.IPV6_V6ONLY, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("", 5353))
    s.setsockopt(proto, option, group)
    all.append(s)
print("reading", flush=True)
while True:
    for s in select.select(all, [], [])[0]: s.recv(9000)
`

// oddMetadata has values with all characters that DNS-SD, its tools or JSON
// treat specially.
var oddMetadata = map[string]string{
	"path": `C:\tmp\032 "x";`, "sum": "a=b=c", "city": "Zürich 東京", "empty": "", "lines": "1\n\t2",
}

// An announcement is made by one program and found by all others.
type announcement struct {
	label string
	host  *netlab.Host
	port  uint16
	txt   map[string]string
	named string // the host, if the announcement is a node's
}

// oddKey returns the seed of an identity whose text contains both '+' and '/',
// which host names do not, and that text.
func oddKey(t testing.TB) (seed []byte, label string) {
	for {
		seed = make([]byte, identity.SeedSize)
		_, _ = rand.Read(seed) // never fails
		id, err := identity.FromSeed(seed)
		require.NoError(t, err)
		if label = id.String(); strings.Contains(label, "+") && strings.Contains(label, "/") {
			return seed, label
		}
	}
}

// oddConfig returns the configuration of a node with an odd key and odd
// metadata, and its announcement on a host.
func oddConfig(t testing.TB, h *netlab.Host) (nodeConfig, *announcement) {
	cfg := onLAN
	cfg.Port, cfg.Metadata = 4242, maps.Clone(oddMetadata)
	a := &announcement{host: h, port: cfg.Port}
	cfg.Seed, a.label = oddKey(t)
	id, err := identity.FromSeed(cfg.Seed)
	require.NoError(t, err)
	a.named = id.HostName(netlab.Interface) + ".local."
	a.txt = announcedTXT(cfg)
	return cfg, a
}

func announcedTXT(cfg nodeConfig) map[string]string {
	txt := map[string]string{"name": cfg.Name, "operating_system": "linux", "os": "Linux", "sdp2p": "2"}
	maps.Copy(txt, cfg.Metadata)
	return txt
}

func startOdd(t testing.TB, h *netlab.Host) (*node, *announcement) {
	t.Helper()
	cfg, a := oddConfig(t, h)
	return start(t, h, cfg), a
}

// peer returns what the node knows about a peer, or the zero value if it does
// not know the peer.
func (n *node) peer(label string) peerInfo {
	n.t.Helper()
	all := ask[[]peerInfo](n, "peers")
	if i := slices.IndexFunc(all, func(p peerInfo) bool { return p.Identity == label }); i >= 0 {
		return all[i]
	}
	return peerInfo{}
}

// finds waits until the node has found an announcement, at or after since and
// with all addresses, and returns the time of that. It requires that all
// metadata is as announced.
func (n *node) finds(since time.Time, a *announcement) time.Time {
	n.t.Helper()
	at := n.Await(since, "discovered", a.label, "mdns").At
	at4, at6 := netip.AddrPortFrom(a.host.Addr4(), a.port), netip.AddrPortFrom(a.host.Addr6(), a.port)
	var p peerInfo
	until(n.t, func() bool {
		p = n.peer(a.label)
		return slices.Contains(p.Candidates, "direct "+at4.String()) && slices.Contains(p.Candidates, "direct "+at6.String())
	})
	want := maps.Clone(a.txt)
	delete(want, "sdp2p") // only the node itself uses it
	require.Equal(n.t, want, p.Metadata)
	return at
}

// set changes one entry of the node's metadata and of its announcement.
func (n *node) set(a *announcement, key, value string) {
	n.t.Helper()
	_, err := netlab.Call[none](n.Process, "set metadata", map[string]string{key: value})
	require.NoError(n.t, err)
	a.txt[key] = value
}

// others are two other implementations of Multicast DNS: avahi on the first
// host of a lab, and python-zeroconf on the second one. Each of them announces
// something, and browses.
type others struct {
	t                   testing.TB
	avahi               *netlab.Avahi
	browse, publish     *netlab.Tool // clients of avahi
	zeroconf            *netlab.Tool
	byAvahi, byZeroconf *announcement
}

func newOthers(t testing.TB, lab *netlab.Lab) *others {
	t.Helper()
	_, a := oddKey(t)
	_, z := oddKey(t)
	o := &others{
		t: t, avahi: lab.Hosts[0].Avahi(t),
		byAvahi:    &announcement{label: a, host: lab.Hosts[0], port: 777, txt: oddMetadata},
		byZeroconf: &announcement{label: z, host: lab.Hosts[1], port: 888, txt: oddMetadata},
	}
	o.startAvahiClients()
	o.startZeroconf()
	return o
}

func (o *others) startAvahiClients() {
	o.t.Helper()
	o.browse = o.avahi.Browse(o.t, browsedType)
	var txt []string
	for key, value := range o.byAvahi.txt {
		txt = append(txt, key+"="+value)
	}
	o.publish = o.avahi.Publish(o.t, o.byAvahi.label, browsedType, fmt.Sprint(o.byAvahi.port), txt...)
}

func (o *others) startZeroconf() {
	o.t.Helper()
	a := o.byZeroconf
	txt, err := json.Marshal(a.txt)
	require.NoError(o.t, err)
	addrs := a.host.Addr4().String() + " " + a.host.Addr6().String()
	o.zeroconf = a.host.Tool(o.t, nil, "/usr/bin/python3", "-c", zeroconfPeer, a.label, addrs, string(txt))
	o.zeroconf.Await(time.Time{}, "registered")
}

// avahiLine returns the beginning of a line of avahi-browse about an instance.
func avahiLine(event, family, label string) string {
	escaped := strings.NewReplacer("+", `\043`, "/", `\047`).Replace(label)
	return event + ";" + netlab.Interface + ";" + family + ";" + escaped + ";"
}

// avahiTXT parses strings as avahi-browse prints them: each in double quotes,
// with bytes as \DDD in decimal.
func avahiTXT(t testing.TB, text string) map[string]string {
	txt := map[string]string{}
	var s []byte
	inside := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' && inside:
			key, value, _ := strings.Cut(string(s), "=")
			require.NotContains(t, txt, key, text)
			txt[key] = value
			inside = false
		case c == '"':
			s, inside = nil, true
		case c == '\\' && '0' <= text[i+1] && text[i+1] <= '9':
			b, err := strconv.ParseUint(text[i+1:i+4], 10, 8)
			require.NoError(t, err, text)
			s = append(s, byte(b))
			i += 3
		case c == '\\':
			i++
			s = append(s, text[i])
		case inside:
			s = append(s, c)
		}
	}
	return txt
}

// avahiSees waits until avahi has found an announcement, at or after since,
// both over IPv4 and over IPv6, and returns the time of that. It requires that
// the whole TXT record is as announced.
func (o *others) avahiSees(since time.Time, a *announcement) time.Time {
	o.t.Helper()
	var at time.Time
	for _, family := range []string{"IPv4", "IPv6"} {
		line := o.browse.Await(since, avahiLine("=", family, a.label))
		field := strings.SplitN(line.Text, ";", 10) // the last field may contain semicolons
		require.True(o.t, ownsText(a.host, field[7]), line.Text)
		require.Equal(o.t, fmt.Sprint(a.port), field[8])
		require.Equal(o.t, a.txt, avahiTXT(o.t, field[9]))
		if line.At.After(at) {
			at = line.At
		}
	}
	return at
}

// avahiSeesChange waits until avahi reports a changed value of an announcement,
// over IPv4 and IPv6. avahi-browse resolves an instance only once, and avahi
// keeps an old record for a second beside the new one: so it runs avahi-browse
// several times.
func (o *others) avahiSeesChange(a *announcement, value string) time.Time {
	o.t.Helper()
	until(o.t, func() bool {
		o.browse.Kill()
		o.browse = o.avahi.Browse(o.t, browsedType)
		return strings.Contains(o.browse.Await(time.Time{}, avahiLine("=", "IPv4", a.label)).Text, value) &&
			strings.Contains(o.browse.Await(time.Time{}, avahiLine("=", "IPv6", a.label)).Text, value)
	})
	return o.avahiSees(time.Time{}, a)
}

// zeroconfSees does with python-zeroconf what avahiSees and avahiSeesChange do:
// lines without the words belong to an earlier state. It reports the addresses
// of both families at once.
func (o *others) zeroconfSees(since time.Time, a *announcement, words ...string) time.Time {
	o.t.Helper()
	quoted := func(s any) string { return fmt.Sprintf(`"%v"`, s) }
	line := o.zeroconf.Await(since, append(words, quoted(a.label), quoted(a.host.Addr4()), quoted(a.host.Addr6()))...)
	var e struct {
		Addrs []string
		Port  uint16
		TXT   map[string]string
	}
	require.NoError(o.t, json.Unmarshal([]byte(line.Text), &e))
	for _, addr := range e.Addrs {
		require.True(o.t, ownsText(a.host, addr), line.Text)
	}
	require.Equal(o.t, a.port, e.Port)
	require.Equal(o.t, a.txt, e.TXT)
	return line.At
}

// avahiMisses waits until avahi reports, for both families, that an instance is
// gone, and returns the time of that.
func (o *others) avahiMisses(since time.Time, a *announcement) time.Time {
	o.t.Helper()
	at4 := o.browse.Await(since, avahiLine("-", "IPv4", a.label)).At
	at6 := o.browse.Await(since, avahiLine("-", "IPv6", a.label)).At
	return slices.MaxFunc([]time.Time{at4, at6}, time.Time.Compare)
}

// zeroconfMisses does the same with python-zeroconf.
func (o *others) zeroconfMisses(since time.Time, a *announcement) time.Time {
	o.t.Helper()
	return o.zeroconf.Await(since, `"remove"`, `"`+a.label+`"`).At
}

// all waits until avahi, zeroconf and each of the nodes have found the
// announcements of avahi, of zeroconf, and of the nodes.
func (o *others) all(nodes []*node, announced []*announcement) {
	o.t.Helper()
	for _, a := range append([]*announcement{o.byAvahi, o.byZeroconf}, announced...) {
		o.avahiSees(time.Time{}, a)
		o.zeroconfSees(time.Time{}, a)
		for _, n := range nodes {
			if n.id != a.label {
				n.finds(time.Time{}, a)
			}
		}
	}
}
