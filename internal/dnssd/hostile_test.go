package dnssd

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A hostilePacket is a packet that no honest program would send: as full as
// possible.
type hostilePacket struct {
	b        []byte
	sections [4]uint16
	limit    int
}

func newHostile(response bool) *hostilePacket {
	p := &hostilePacket{b: make([]byte, 12), limit: maxPacket - 28}
	if response {
		p.b[2] = 0x84
	}
	return p
}

// wire returns a name in wire form.
func wire(labels ...string) []byte {
	var b []byte
	for _, l := range labels {
		b = append(append(b, byte(len(l))), l...)
	}
	return append(b, 0)
}

// add appends an entry to a section, if there is room.
func (p *hostilePacket) add(section int, entry []byte) bool {
	if len(p.b)+len(entry) > p.limit {
		return false
	}
	p.b = append(p.b, entry...)
	p.sections[section]++
	return true
}

func (p *hostilePacket) bytes() []byte {
	for i, n := range p.sections {
		binary.BigEndian.PutUint16(p.b[4+2*i:], n)
	}
	return p.b
}

func question(name []byte, typ, class uint16) []byte {
	b := binary.BigEndian.AppendUint16(append([]byte(nil), name...), typ)
	return binary.BigEndian.AppendUint16(b, class)
}

func record(name []byte, typ, class uint16, ttl uint32, data []byte) []byte {
	b := question(name, typ, class)
	b = binary.BigEndian.AppendUint32(b, ttl)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

func pointer(to int) []byte { return []byte{0xC0 | byte(to>>8), byte(to)} }

// repeated returns a packet full of entries in one section: the first one with
// its name in full, the others with a pointer to it.
func repeated(response bool, section int, name []byte, entry func(i int, name []byte) []byte) []byte {
	p := newHostile(response)
	p.add(section, entry(0, name))
	for i := 1; p.add(section, entry(i, pointer(12))); i++ {
	}
	return p.bytes()
}

func srv(port int, target []byte) []byte {
	return append([]byte{0, 0, 0, 0, byte(port >> 8), byte(port)}, target...)
}

// hostilePackets are packets of 9 KB, each of which causes as much work as its
// bytes can. The node announces a, with 16 addresses, and knows B, at b.local.
func hostilePackets() map[string][]byte {
	const a, aaaa, ptr, txt, any, in, flush = 1, 28, 12, 16, 255, 1, 1 | 1<<15
	service := []string{"_sd", "_udp", "local"}
	svc := wire(service...)
	ours := wire(append([]string{"a"}, service...)...)
	theirs := wire(append([]string{"B"}, service...)...)
	long := make([]byte, 0, 255)
	for range 118 {
		long = append(long, 1, 1)
	}
	long = append(long, svc...)
	ip := func(i int) []byte { return []byte{10, 0, byte(i >> 8), byte(i)} }
	all := map[string][]byte{
		"long names asked for":  repeated(false, 0, long, func(_ int, n []byte) []byte { return question(n, any, in) }),
		"our name asked for":    repeated(false, 0, ours, func(i int, n []byte) []byte { return question(n, uint16(i), in) }),
		"our records asked for": repeated(false, 0, ours, func(i int, n []byte) []byte { return question(n, any, in|uint16(i%2)<<15) }),
		"our host asked for":    repeated(false, 0, wire("a", "local"), func(i int, n []byte) []byte { return question(n, []uint16{a, aaaa, any}[i%3], in) }),
		"their host asked for":  repeated(false, 0, wire("b", "local"), func(i int, n []byte) []byte { return question(n, uint16(i), in) }),
		"our addresses":         repeated(true, 1, wire("a", "local"), func(i int, n []byte) []byte { return record(n, a, in, 120, ip(i)) }),
		"our SRV":               repeated(true, 1, ours, func(i int, n []byte) []byte { return record(n, 33, flush, 120, srv(i, []byte{0xC0, 12})) }),
		"our name":              repeated(true, 1, ours, func(i int, n []byte) []byte { return record(n, txt, flush, 4500, nil) }),
		"their addresses":       repeated(true, 1, wire("b", "local"), func(i int, n []byte) []byte { return record(n, a, flush, 120, ip(i)) }),
		"their goodbyes":        repeated(true, 1, wire("b", "local"), func(i int, n []byte) []byte { return record(n, a, flush, uint32(i%2), ip(2)) }),
		"their SRV":             repeated(true, 1, theirs, func(i int, n []byte) []byte { return record(n, 33, flush, 120, srv(i%8, []byte{1, 'b', 0xC0, 23})) }),
		"their TXT":             repeated(true, 1, theirs, func(i int, n []byte) []byte { return record(n, txt, flush, 4500, []byte{byte(1), byte(i)}) }),
		"empty strings":         repeated(true, 1, theirs, func(i int, n []byte) []byte { return record(n, txt, flush, 4500, make([]byte, 128)) }),
		"many strings":          repeated(true, 1, theirs, func(i int, n []byte) []byte { return record(n, txt, flush, 4500, make([]byte, 8000)) }),
		"instances": repeated(true, 1, svc, func(i int, n []byte) []byte {
			return record(n, ptr, in, 4500, []byte{2, byte(i >> 8), byte(i), 0xC0, 12})
		}),
		"one instance":        repeated(true, 1, svc, func(i int, n []byte) []byte { return record(n, ptr, in, uint32(4500*(i%2)), []byte{1, 'B', 0xC0, 12}) }),
		"known answers":       repeated(false, 1, svc, func(i int, n []byte) []byte { return record(n, ptr, in, 4500, []byte{1, 'a', 0xC0, 12}) }),
		"our addresses known": repeated(false, 1, wire("a", "local"), func(i int, n []byte) []byte { return record(n, a, in, 4500, ip(i)) }),
		"proposed":            repeated(false, 2, ours, func(i int, n []byte) []byte { return record(n, txt, in, 4500, []byte{1, byte(i)}) }),
	}
	return all
}

// victim returns an engine that announces a, probes for c, and knows B.
func victim(t testing.TB) *Engine {
	d := &deaf{addresses: 15}
	probe := func(_ string, _ []netip.AddrPort, answered func(netip.AddrPort, error)) {
		answered(netip.AddrPort{}, ErrProbeBusy)
	}
	e, err := New(Config{Service: "_sd._udp", Network: d, Probe: probe})
	require.NoError(t, err)
	require.NoError(t, e.Publish(Service{Instance: "a", Port: 1, IPv4: true, IPv6: true}))
	e.now = time.Unix(0, 0)
	require.NoError(t, e.openSockets())
	e.pollInterfaces()
	e.applyWanted()
	e.advance(5 * time.Second)
	svc := wire("_sd", "_udp", "local")
	p := newHostile(true)
	p.add(1, record(svc, 12, 1, 4500, []byte{1, 'B', 0xC0, 12}))
	p.add(1, record(wire("B", "_sd", "_udp", "local"), 33, 1, 120, srv(1, wire("b", "local"))))
	p.add(1, record(wire("B", "_sd", "_udp", "local"), 16, 1, 4500, []byte("\x03x=1")))
	p.add(1, record(wire("b", "local"), 1, 1, 120, []byte{10, 0, 0, 2}))
	e.hear("10.0.0.2", p.bytes())
	require.Len(t, e.links[1].hosts, 1)
	e.advance(time.Second)
	return e
}

// hear hands a packet to an engine that is not running.
func (e *Engine) hear(src string, b []byte) {
	e.receive(received{Packet{b, netip.AddrPortFrom(netip.MustParseAddr(src), Port), Groups[IPv4].Addr(), 1}, IPv4})
	e.timers.run(e.now)
	e.runPosted()
	e.flushEvents()
}

// The cost of a packet is proportional to its bytes, whatever its content: half
// an allocation a byte is about 0.2 ms. (When packets were read and compared
// name by name, it was up to 100 allocations.)
func TestCostOfPackets(t *testing.T) {
	for name, packet := range hostilePackets() {
		e := victim(t)
		allocs := testing.AllocsPerRun(5, func() {
			e.hear("10.0.0.3", packet)
			e.advance(time.Second)
		})
		require.Less(t, allocs, float64(len(packet))/2, name)
	}
}

// A probe for another node's name is not unpacked: if many nodes start
// together, half of all packets are such probes. One for our name is unpacked.
func TestCostOfProbes(t *testing.T) {
	for label, most := range map[string]float64{"other": 2, "a": 100} {
		e := victim(t)
		p := newHostile(false)
		name := wire(label, "_sd", "_udp", "local")
		p.add(0, question(name, 255, 1))
		p.add(2, record(name, 33, 1, 120, srv(7, wire("host", "local"))))
		p.add(2, record(name, 16, 1, 4500, []byte("\x03x=1")))
		p.add(2, record(wire("host", "local"), 1, 1, 120, []byte{10, 0, 0, 3}))
		packet := p.bytes()
		before := e.Stats().Received.Probes.Packets
		allocs := testing.AllocsPerRun(5, func() { e.hear("10.0.0.3", packet) })
		require.LessOrEqual(t, allocs, most)
		require.Equal(t, label == "a", allocs > 2, "%s: %v", label, allocs)
		require.EqualValues(t, 6, e.Stats().Received.Probes.Packets-before)
	}
}

// Many instances at one host do not make work for all of them: their number is
// limited, and those of the busiest source make room first.
func TestCrowdedHost(t *testing.T) {
	e := victim(t)
	l := e.links[1]
	announce := func(src, label, host string) {
		p := newHostile(true)
		p.add(1, record(wire("_sd", "_udp", "local"), 12, 1, 4500, wire(label, "_sd", "_udp", "local")))
		p.add(1, record(wire(label, "_sd", "_udp", "local"), 33, 1, 120, srv(1, wire(host, "local"))))
		p.add(1, record(wire(label, "_sd", "_udp", "local"), 16, 1, 4500, []byte("\x03x=1")))
		p.add(1, record(wire(host, "local"), 1, 1, 120, netip.MustParseAddr(src).AsSlice()))
		e.hear(src, p.bytes())
		e.advance(100 * time.Millisecond)
	}
	for i := range 2 * maxUsers {
		announce(fmt.Sprintf("10.0.0.%d", 60+i%10), fmt.Sprint("junk", i), "real")
	}
	require.Len(t, l.hosts["real.local."].users, maxUsers)
	announce("10.0.0.9", "real", "real")
	require.Len(t, l.hosts["real.local."].users, maxUsers)
	require.Contains(t, e.shown, "real")
	announce("10.0.0.60", "b", "real")
	require.Len(t, l.hosts["real.local."].users, maxUsers, "a known instance cannot move there either")
}

func BenchmarkHostile(b *testing.B) {
	for name, packet := range hostilePackets() {
		b.Run(name, func(b *testing.B) {
			e := victim(b)
			b.ReportAllocs()
			b.ReportMetric(float64(len(packet)), "bytes")
			began, n := cpuTime(), 0
			for b.Loop() {
				e.advance(time.Second / 100)
				e.hear(fmt.Sprintf("10.0.0.%d", 3+n%200), packet)
				n++
			}
			b.ReportMetric(float64(cpuTime()-began)/float64(n), "cpu-ns/op")
		})
	}
}
