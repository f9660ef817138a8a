package mdns

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
	"github.com/sdp2p/p2p/internal/junction"
)

// shortest is the length from which a string of bytes that occurs in two epochs
// links them.
const shortest = 6

// constants are the strings that every node that is visible only to its
// contacts sends: the name of the service, and the keys in a TXT record.
var constants = []string{"_sd._udp.local.", "v=1", "m=c", "k=", "t0=", "t1=", "t2="}

// A field is a part of a packet that a node has filled in, and the kind of that
// part.
type field struct {
	what string
	data string
}

// fieldsOf returns all fields of a packet, except the structure of DNS
// (lengths, types, classes, times to live, and pointers) and the documented
// constants. Addresses are those of the link.
func fieldsOf(t testing.TB, data []byte) (list []field) {
	m := new(dns.Msg)
	require.NoError(t, m.Unpack(data))
	add := func(what, s string) {
		if !slices.Contains(constants, s) {
			list = append(list, field{what, s})
		}
	}
	name := func(what, s string) {
		for _, c := range []string{"._sd._udp.local.", "_sd._udp.local.", ".local."} {
			if rest, ok := strings.CutSuffix(s, c); ok {
				if rest != "" {
					add(what, rest)
				}
				return
			}
		}
		add(what, s)
	}
	require.Zero(t, m.Id)
	for _, q := range m.Question {
		if !m.Response { // a response repeats the question of a one-shot querier
			name("question", q.Name)
		}
	}
	for _, rr := range recordsOf(m) {
		name("owner", rr.Header().Name)
		switch rr := rr.(type) {
		case *dns.PTR:
			name("PTR", rr.Ptr)
		case *dns.SRV:
			name("target", rr.Target)
			require.Zero(t, rr.Priority|rr.Weight)
		case *dns.TXT:
			for _, s := range unescape(t, rr) {
				for _, c := range constants[1:] {
					s = strings.TrimPrefix(s, c)
				}
				if s != "" {
					add("TXT", s)
				}
			}
		case *dns.NSEC:
			name("next", rr.NextDomain)
		case *dns.A, *dns.AAAA:
		default:
			t.Fatal("a record of another type:", rr)
		}
	}
	return list
}

// unescape returns the strings of a TXT record as they were sent.
func unescape(t testing.TB, rr *dns.TXT) (list []string) {
	b := make([]byte, 4096)
	n, err := dns.PackRR(rr, b, 0, nil, false)
	require.NoError(t, err)
	_, off, err := dns.UnpackDomainName(b[:n], 0)
	require.NoError(t, err)
	for off += 10; off < n; off += 1 + int(b[off]) {
		list = append(list, string(b[off+1:off+1+int(b[off])]))
	}
	return list
}

// substrings returns all substrings of fields that have the shortest length; in
// labels, they have twice that length, since their bytes carry half as much
// information.
func substrings(fields []field) map[string]string {
	all := map[string]string{}
	for _, f := range fields {
		n := shortest
		if junction.IsLabel(f.data) {
			n *= 2
		}
		for i := 0; i+n <= len(f.data); i++ {
			all[f.data[i:i+n]] = f.what
		}
	}
	return all
}

// revealing returns the strings that no packet may contain: a node's identity
// in every form, its name, its library, and its host names.
func revealing(id identity.Identity) (list []string) {
	raw := id.Remote().Bytes()
	x, err := id.Remote().X25519()
	if err != nil {
		panic(err)
	}
	list = []string{
		string(raw[:]), string(x.Bytes()), id.String(), strings.ReplaceAll(id.Remote().Fingerprint(), "-", ""), id.Remote().Fingerprint(),
		hex.EncodeToString(raw[:]), base64.RawURLEncoding.EncodeToString(raw[:]), base64.StdEncoding.EncodeToString(x.Bytes()),
		secretName, library, strings.ReplaceAll(library, "-", ""), "operating_system", "os=Linux", "sdp2p=",
		id.HostName("eth0"), hex.EncodeToString([]byte(id.HostName("eth0"))),
	}
	return list
}

// fold converts ASCII letters to lower case, and leaves all other bytes alone.
func fold(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}

// reveals returns a part of a packet that reveals a node, or "". It looks for
// 12 bytes of a string of hexadecimal digits, of which random labels consist,
// and for 6 bytes of any other string, regardless of case.
func reveals(data []byte, ids ...identity.Identity) string {
	folded := fold(string(data))
	for _, id := range ids {
		for _, secret := range revealing(id) {
			n := shortest
			if strings.Trim(secret, "0123456789abcdef-") == "" {
				n *= 2
			}
			for i := 0; i+n <= len(secret); i++ {
				if part := fold(secret[i : i+n]); strings.Contains(folded, part) {
					return fmt.Sprintf("%q of %q", part, secret)
				}
			}
		}
	}
	return ""
}

// A pair is two contacts on a link, and the fields captured there.
type pair struct {
	t      *testing.T
	link   *dnssdtest.Link
	ids    [2]identity.Identity
	circle [2]*circle
	member [2]*member
	epochs [][]field
}

func newPair(t *testing.T) *pair {
	p := &pair{t: t, link: dnssdtest.NewLink(), ids: [2]identity.Identity{identity.New(), identity.New()}}
	for i := range p.ids {
		p.circle[i] = newCircle(t, p.ids[i], p.ids[1-i].Remote())
		p.member[i] = hide(t, p.link, i+1, p.circle[i], ContactsOnly)
	}
	return p
}

// collect returns the fields sent on a link since the last call, except those
// sent by the hosts in but, and by the host that asks.
func (p *pair) collect(l *dnssdtest.Link, but ...int) (all []field) {
	for _, f := range l.Frames() {
		require.Empty(p.t, reveals(f.Data, p.ids[:]...))
		if !slices.ContainsFunc(append(but, 9), func(n int) bool { return isOf(f, n) }) {
			all = append(all, fieldsOf(p.t, f.Data)...)
		}
	}
	l.Forget()
	return all
}

// keep records the fields sent so far as those of another epoch.
func (p *pair) keep(l *dnssdtest.Link, but ...int) {
	p.epochs = append(p.epochs, p.collect(l, but...))
}

// ask has another host ask for all records that might exist.
func (p *pair) ask() {
	q := new(dns.Msg)
	label := p.circle[0].label()
	for _, name := range []string{"_sd._udp.local.", "_services._dns-sd._udp.local.", label + "._sd._udp.local.", label + ".local."} {
		q.Question = append(q.Question, dns.Question{Name: name, Qtype: dns.TypeANY, Qclass: dns.ClassINET})
	}
	b, err := q.Pack()
	require.NoError(p.t, err)
	p.link.Inject(b, netip.AddrPortFrom(addrOf(9), 5353), netip.MustParseAddrPort("224.0.0.251:5353"))
	p.link.Inject(b, netip.AddrPortFrom(addrOf(9), 40000), netip.MustParseAddrPort("224.0.0.251:5353"))
}

// turn begins an epoch of both nodes. Packets sent during the change are not
// recorded, since they withdraw old names.
func (p *pair) turn() {
	p.circle[0].rotate()
	p.circle[1].rotate()
	pass(5 * time.Second)
	p.collect(p.link)
}

// outOfReach takes the second node out of reach for a while, and back in the
// next epoch. The first one, in an epoch of its own, does not ask for it by
// name.
func (p *pair) outOfReach() {
	p.link.Cut(p.member[1].host)
	pass(4 * time.Minute)
	p.circle[0].rotate()
	pass(3 * time.Second)
	p.collect(p.link) // together with the goodbye
	pass(20 * time.Minute)
	p.keep(p.link, 2)
	p.turn()
	p.link.Cut()
	pass(20 * time.Minute)
	p.keep(p.link)
}

// move moves both nodes to another network.
func (p *pair) move() {
	elsewhere := dnssdtest.NewLink()
	for n, m := range p.member {
		ifc := eth6(n + 1)
		for i, a := range ifc.Addrs {
			if a.Addr().Is4() {
				ifc.Addrs[i] = netip.MustParsePrefix(fmt.Sprintf("192.168.7.%d/24", n+1))
			}
		}
		m.host.Unplug(2)
		m.host.Plug(elsewhere, ifc)
	}
	pass(time.Second)
	p.circle[0].rotate()
	p.circle[1].rotate()
	pass(10 * time.Minute)
	p.keep(elsewhere) // from the beginning
}

// finds reports whether the first node finds the second.
func (p *pair) finds() bool { return p.circle[0].finds(p.ids[1].Remote(), p.circle[1].label()) }

// Nothing that two nodes send in three epochs occurs in two of these, or
// reveals who they are: not even when others ask one of the nodes, when one is
// out of reach, or in another network.
func TestCapture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		for epoch := range 3 {
			if epoch > 0 {
				p.turn()
			}
			pass(5 * time.Minute)
			p.ask()
			pass(10 * time.Minute)
			require.True(t, p.finds())
			p.keep(p.link)
			require.Greater(t, len(p.epochs[epoch]), 20)
		}
		p.outOfReach()
		p.move()
		require.True(t, p.finds())
		p.collect(p.link)
		for i := range p.epochs {
			for j := range i {
				before := substrings(p.epochs[j])
				for part, what := range substrings(p.epochs[i]) {
					require.Empty(t, before[part], "%q in a %s of epochs %d and %d", part, what, j, i)
				}
			}
		}
	})
}

// After a change of the mode, only goodbyes still show the node's identity.
func TestCaptureOfModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a, b := identity.New(), identity.New()
		ca, cb := newCircle(t, a, b.Remote()), newCircle(t, b, a.Remote())
		ma := hide(t, link, 1, ca, Enabled)
		mb := hide(t, link, 2, cb, Enabled)
		pass(time.Minute)
		for _, f := range link.Frames() {
			require.NotEmpty(t, cmp.Or(reveals(f.Data, a, b), queried(t, f.Data)), "the search must find the identity in what is sent")
		}
		link.Forget()
		ma.discovery.SetMode(ContactsOnly)
		mb.discovery.SetMode(ContactsOnly)
		pass(time.Hour)
		ended := false
		for _, f := range link.Frames() {
			m := new(dns.Msg)
			require.NoError(t, m.Unpack(f.Data))
			goodbye := m.Response && !slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { return rr.Header().Ttl > 0 })
			if reveals(f.Data, a, b) == "" {
				ended = ended || m.Response
				continue
			}
			require.True(t, goodbye && !ended, m)
		}
		require.True(t, ended)
	})
}

// queried returns "a query" if the message is one.
func queried(t testing.TB, data []byte) string {
	m := new(dns.Msg)
	require.NoError(t, m.Unpack(data))
	if m.Response {
		return ""
	}
	return "a query"
}
