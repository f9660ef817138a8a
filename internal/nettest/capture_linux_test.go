package nettest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/mdns"
)

// captureScript has the parser of python-zeroconf read each packet that the
// host sends from port 5353. The parser silently skips records of unknown types
// and records that it cannot decode, and calls a packet valid if its header and
// questions are: so the script also reports the counts of the header, and how
// many bytes were left over.
const captureScript = `
import json, socket, struct
from zeroconf import DNSIncoming
from zeroconf.const import _TYPES
def record(r):
    data = {"a": lambda: socket.inet_ntop(socket.AF_INET, r.address), "quada": lambda: socket.inet_ntop(socket.AF_INET6, r.address),
            "ptr": lambda: r.alias, "srv": lambda: f"{r.priority} {r.weight} {r.port} {r.server}", "txt": lambda: r.text.hex(),
            "nsec": lambda: f"{r.next_name} {r.rdtypes}"}[_TYPES[r.type]]()
    return {"type": _TYPES[r.type], "text": f"{_TYPES[r.type]} {r.name} {data}", "class": r.class_, "unique": r.unique, "ttl": r.ttl}
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
print("capturing", flush=True)
while True:
    b, (_, _, direction, *_) = s.recvfrom(65535)
    v4 = b[0] >> 4 == 4
    if direction != socket.PACKET_OUTGOING or b[9 if v4 else 6] != socket.IPPROTO_UDP: continue
    udp = (b[0] & 15) * 4 if v4 else 40
    source, port, length = struct.unpack_from("!3H", b, udp)
    if source != 5353: continue
    m = DNSIncoming(b[udp + 8:udp + length])
    records = [record(r) for r in m.answers]
    print(json.dumps({
        "hex": m.data.hex(), "port": port, "hops": b[8 if v4 else 7],
        "to": socket.inet_ntop(*((socket.AF_INET, b[16:20]) if v4 else (socket.AF_INET6, b[24:40]))),
        "valid": m.valid, "left": len(m.data) - m.offset, "id": m.id, "flags": m.flags, "records": records,
        "questions": [f"{_TYPES[q.type]} {q.name} {q.class_}" for q in m.questions],
        "counts": [m.num_questions, m.num_answers, m.num_authorities, m.num_additionals]}), flush=True)
`

// oneShotScript asks from a port of its own, over IPv4 and IPv6, like a
// resolver that does not know Multicast DNS (RFC 6762 §6.7), until one of the
// addresses in its arguments has answered.
const oneShotScript = `
import socket, struct, sys
query = b"\x12\x34\0\0\0\1\0\0\0\0\0\0\x08_nettest\x04_udp\x05local\0\0\x0c\0\1"
index = socket.if_nametoindex("veth0")
for family, proto, option, value, group in (
    (socket.AF_INET, socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=8xi", index), "224.0.0.251"),
    (socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index, "ff02::fb"),
):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(20)
    s.setsockopt(proto, option, value)
    s.sendto(query, (group, 5353))
    while s.recvfrom(9000)[1][0].split("%")[0] not in sys.argv: pass
`

// A sentPacket is captureScript's report on a packet.
type sentPacket struct {
	Hex       string
	To        netip.Addr
	Port      uint16
	Hops      int
	Valid     bool
	Left      int // number of bytes that were not parsed
	ID, Flags int
	Records   []sentRecord // of all sections
	Questions []string
	Counts    [4]int
}

type sentRecord struct {
	Type, Text string // Text is type, name and data
	Class, TTL int
	Unique     bool // the cache-flush bit
}

// kind returns the kind of a packet according to [mdns.Stats], except that
// announcements and answers to questions are not distinguished, and answers to
// one host are.
func (p *sentPacket) kind() string {
	switch {
	case p.Flags&0x8000 == 0 && p.Counts[2] > 0:
		return "probe"
	case p.Flags&0x8000 == 0:
		return "query"
	case p.Port != 5353:
		return "legacy"
	case !slices.ContainsFunc(p.Records, func(r sentRecord) bool { return r.TTL > 0 }):
		return "goodbye"
	case !p.To.IsMulticast():
		return "unicast"
	}
	return "multicast"
}

// expectedRecords returns the records of a node, as zeroconf's parser reads
// them, with their times to live.
func expectedRecords(a *announcement) map[string]int {
	name := a.label + "." + browsedType + ".local."
	host := a.named
	keys := append([]string{"name", "operating_system", "os", "sdp2p"}, slices.Sorted(maps.Keys(oddMetadata))...)
	var txt []byte
	for _, key := range keys {
		s := key + "=" + a.txt[key]
		txt = append(append(txt, byte(len(s))), s...)
	}
	return map[string]int{
		"ptr " + browsedType + ".local. " + name:                       4500,
		"ptr _services._dns-sd._udp.local. " + browsedType + ".local.": 4500,
		fmt.Sprintf("srv %s 0 0 %d %s", name, a.port, host):            120,
		fmt.Sprintf("txt %s %x", name, txt):                            4500,
		fmt.Sprintf("a %s %v", host, a.host.Addr4()):                   120,
		fmt.Sprintf("quada %s %v", host, a.host.Addr6()):               120,
		fmt.Sprintf("quada %s %v", host, a.host.LinkLocal()):           120,
		fmt.Sprintf("nsec %s %s [16, 33]", name, name):                 120, // TXT, SRV
		fmt.Sprintf("nsec %s %s [1, 28]", host, host):                  120, // A, AAAA
	}
}

// Another implementation's parser understands every packet of a node, from its
// probes to its goodbye, to the last byte, and the packets have the right
// content: records, times to live, cache-flush bits, and headers.
func TestPacketsSent(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 4)
	capture := lab.Hosts[2].Tool(t, nil, "/usr/bin/python3", "-c", captureScript)
	capture.Await(time.Time{}, "capturing")
	c, byC := startOdd(t, lab.Hosts[2])
	d, byD := startOdd(t, lab.Hosts[3])
	c.finds(time.Time{}, byD)
	o := newOthers(t, lab) // it asks for unicast answers first
	o.all([]*node{c, d}, []*announcement{byC, byD})
	lab.Hosts[3].Run("/usr/bin/python3", "-c", oneShotScript, c.host.Addr4().String(), c.host.LinkLocal().String())

	packets := func() []sentPacket {
		var all []sentPacket
		for _, line := range capture.Lines()[1:] {
			var p sentPacket
			require.NoError(t, json.Unmarshal([]byte(line.Text), &p), line.Text)
			all = append(all, p)
		}
		return all
	}
	var sent mdns.Traffic
	until(t, func() bool { // so that no packet is missed
		sent = ask[mdns.Stats](c, "stats").Sent
		return sent.Total().Packets == uint64(len(packets()))
	})
	kinds := map[string]uint64{}
	for _, p := range packets() {
		kinds[p.kind()]++
	}
	t.Log("packets:", kinds)
	require.Equal(t, sent.Probes.Packets, kinds["probe"])
	require.Equal(t, sent.Queries.Packets, kinds["query"])
	require.Equal(t, sent.Legacy.Packets, kinds["legacy"])
	require.Equal(t, sent.Announcements.Packets+sent.Responses.Packets, kinds["multicast"]+kinds["unicast"])
	c.Stop()
	goodbyes := map[netip.Addr]bool{}
	until(t, func() bool {
		for _, p := range packets() {
			if p.kind() == "goodbye" {
				goodbyes[p.To] = true
			}
		}
		return len(goodbyes) == 2 // over IPv4 and over IPv6
	})

	expected := expectedRecords(byC)
	seen := map[string]bool{}
	for _, p := range packets() {
		kind := p.kind()
		about := fmt.Sprintf("%s to %v: %s", kind, p.To, p.Hex)
		require.True(t, p.Valid, about)
		require.Zero(t, p.Left, about)
		require.Len(t, p.Questions, p.Counts[0], about)
		require.Len(t, p.Records, p.Counts[1]+p.Counts[2]+p.Counts[3], about)
		require.Equal(t, 255, p.Hops, about)
		id, flags := 0, 0x8400 // a response, authoritative
		switch kind {
		case "probe", "query":
			flags = 0
		case "legacy":
			id = 0x1234
			require.Equal(t, []string{"ptr " + browsedType + ".local. 1"}, p.Questions, about)
		default:
			require.Empty(t, p.Questions, about)
		}
		require.Equal(t, []int{id, flags}, []int{p.ID, p.Flags}, about)
		for _, r := range p.Records {
			about := fmt.Sprintf("%+v in %s", r, about)
			require.Equal(t, 1, r.Class, about)
			if kind == "query" { // records that others announced
				require.True(t, strings.HasPrefix(r.Text, "ptr "+browsedType+".local. "), about)
				require.True(t, !r.Unique && 0 < r.TTL && r.TTL <= 4500, about)
				continue
			}
			ttl, ok := expected[r.Text]
			require.True(t, ok, about)
			switch kind {
			case "goodbye":
				ttl = 0
			case "legacy":
				ttl = 10
			case "multicast":
				seen[r.Text] = true
			}
			require.Equal(t, ttl, r.TTL, about)
			require.Equal(t, r.Type != "ptr" && kind != "probe" && kind != "legacy", r.Unique, about)
		}
	}
	require.Len(t, seen, len(expected))
	for _, kind := range []string{"probe", "query", "legacy", "unicast", "multicast"} {
		require.NotZero(t, kinds[kind], kind)
	}
}
