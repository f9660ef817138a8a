package mdns

import (
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
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
	"github.com/sdp2p/p2p/internal/tags"
)

// A forger announces instances on a contact's link.
type forger struct {
	t       *testing.T
	link    *dnssdtest.Link
	contact *circle // it is copied and impersonated
	n       int
}

// announce announces an instance, from one of 200 addresses in turn.
func (f *forger) announce(label string, txt []string) {
	host := newLabel() + ".local."
	name := label + "._sd._udp.local."
	src := netip.AddrFrom4([4]byte{10, 0, 0, byte(20 + f.n%200)})
	h := func(name string, typ uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: typ, Class: dns.ClassINET | 1<<15, Ttl: 120}
	}
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true}
	ptr := h("_sd._udp.local.", dns.TypePTR)
	ptr.Class = dns.ClassINET
	m.Answer = []dns.RR{
		&dns.PTR{Hdr: ptr, Ptr: name},
		&dns.SRV{Hdr: h(name, dns.TypeSRV), Port: 1, Target: host},
		&dns.TXT{Hdr: h(name, dns.TypeTXT), Txt: escape(txt)},
		&dns.A{Hdr: h(host, dns.TypeA), A: src.AsSlice()},
	}
	packed, err := m.Pack()
	require.NoError(f.t, err)
	f.link.Inject(packed, netip.AddrPortFrom(src, dnssd.Port), dnssd.Groups[dnssd.IPv4])
}

// forge announces one instance: one of no node, a malformed one, or one that
// impersonates the contact.
func (f *forger) forge() {
	txts, err := tags.Layout(identity.New().Remote(), nil)
	require.NoError(f.t, err)
	txt, label, n := txts[0], newLabel(), f.n
	switch n % 10 {
	case 0:
		txt = txt[:3+n/10%4] // 0 to 3 strings of tags
	case 1:
		txt = append(txt, "t3="+txt[3][3:])
	case 2:
		txt[2] = "k=" + strings.Repeat("A", n/10%64)
	case 3:
		txt[4] = txt[4][:n/10%len(txt[4])]
	case 4: // a copy of the contact's, at another host
		txts, err = f.contact.layout()
		require.NoError(f.t, err)
		txt = txts[0]
	case 5: // impersonates the contact
		label = f.contact.label()
	}
	f.announce(label, txt)
	f.n++
}

// flood forges 1,000 instances a minute.
func (f *forger) flood(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		f.forge()
		pass(60 * time.Millisecond)
	}
}

// 1,000 malformed or forged instances a minute from 200 sources, some of which
// impersonate the contact, do not keep the contact from being found, and the
// tables stay within their bounds.
func TestForgedInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a, b := identity.New(), identity.New()
		ca, cb := newCircle(t, a, b.Remote()), newCircle(t, b, a.Remote())
		hide(t, link, 1, ca, ContactsOnly)
		f := &forger{t: t, link: link, contact: ca}
		f.flood(time.Minute)
		mb := hide(t, link, 2, cb, ContactsOnly)
		genuine := func() bool {
			cb.mu.Lock()
			defer cb.mu.Unlock()
			cb.matcher.Check()
			return slices.ContainsFunc(cb.matcher.Matches(a.Remote()), func(m tags.Match) bool {
				return slices.Contains(m.Addrs, netip.AddrPortFrom(addrOf(1), ca.shown.At.Port))
			})
		}
		find := func() {
			start := time.Now()
			for !genuine() {
				require.Less(t, time.Since(start), 5*time.Minute) // by chance: 17 s in 1 of 6, over 30 s in 1 of 40
				f.flood(time.Second)
			}
			t.Log("found after", time.Since(start))
		}
		find()
		f.flood(time.Minute)
		require.True(t, genuine())
		ca.rotate()
		find()
		require.LessOrEqual(t, len(cb.labels()), 1024)
		require.Empty(t, mb.Peers())
	})
}

func (c *circle) label() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown.Label
}

func (c *circle) layout() ([][]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return tags.Layout(c.shown.Key, c.shown.Tags)
}

// escape encodes bytes as package dns expects them in a TXT record.
func escape(txt []string) (list []string) {
	for _, s := range txt {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, "\\%03d", s[i])
		}
		list = append(list, b.String())
	}
	return list
}
