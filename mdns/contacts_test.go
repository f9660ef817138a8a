package mdns

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/shown"
	"github.com/sdp2p/p2p/internal/tags"
)

// circle stands for package contact, as far as a discovery knows it: it holds
// the contacts of one node.
type circle struct {
	self identity.Identity
	set  *tags.Set

	mu      sync.Mutex
	shown   junction.Shown
	ok      bool
	changed chan struct{}
	veils   []bool

	elsewhere int
	seen      map[string]junction.Instance
	events    []string
	matcher   *tags.Matcher
	hosts     shown.Hosts
}

func newCircle(t testing.TB, self identity.Identity, contacts ...identity.RemoteIdentity) *circle {
	set, err := tags.NewSet(self, contacts, nil)
	require.NoError(t, err)
	c := &circle{self: self, set: set, changed: make(chan struct{}), seen: map[string]junction.Instance{}}
	c.matcher = tags.NewMatcher(time.Now)
	c.matcher.SetContacts(set)
	c.rotate()
	return c
}

// rotate begins a new epoch, with another key, label and port.
func (c *circle) rotate() junction.Shown {
	key := identity.New().Remote()
	b := key.Bytes()
	sum := sha256.Sum256(b[:])
	shown := junction.Shown{
		Label: newLabel(), Key: key, At: junction.Socket{Port: 40000 + uint16(sum[0])<<4 + uint16(sum[1]), IPv4: true, IPv6: true}, Epoch: tags.Epoch(time.Now()),
		Tags: c.set.Tags(tags.Epoch(time.Now()), key),
	}
	c.show(shown, true)
	return shown
}

func (c *circle) show(shown junction.Shown, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown, c.ok = shown, ok
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *circle) Show() (junction.Shown, bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown, c.ok, c.changed
}

func (c *circle) Seen(in junction.Instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[in.Label] = in
	c.events = append(c.events, "seen "+in.Label)
	c.matcher.Seen(tags.Instance(in))
}

func (c *circle) Gone(label string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.seen, label)
	c.events = append(c.events, "gone "+label)
	c.matcher.Gone(label)
}

func (c *circle) Elsewhere(string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.elsewhere++
}

func (c *circle) Veil(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.veils = append(c.veils, on)
}

func (c *circle) Announce(ctx context.Context, cfg dnssd.Config, changed <-chan struct{}) error {
	return c.hosts.Announce(ctx, c, cfg, changed)
}

func newLabel() string {
	b := identity.New().Remote().Bytes()
	return hex.EncodeToString(b[:junction.LabelSize/2])
}

// finds reports whether a contact is recognized among the instances seen, under
// a given label.
func (c *circle) finds(id identity.RemoteIdentity, label string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.matcher.Check()
	return slices.ContainsFunc(c.matcher.Matches(id), func(m tags.Match) bool { return m.Label == label })
}

// at returns the addresses of an instance.
func (c *circle) at(label string) []netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[label].Addrs
}

func (c *circle) askedElsewhere() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.elsewhere
}

func (c *circle) labels() (list []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.seen {
		list = append(list, l)
	}
	slices.Sort(list)
	return list
}

func (c *circle) told() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

func (c *circle) veiled() []bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Compact(slices.Clone(c.veils))
}

// eth6 returns the n-th host's interface, with IPv4, a link-local address that
// contains the link-layer one, a stable address and a temporary one.
func eth6(n int) dnssd.Interface {
	return dnssd.Interface{
		Index: 2, Name: "eth0", MTU: 1500, Up: true, Multicast: true,
		Addrs: []netip.Prefix{
			netip.PrefixFrom(addrOf(n), 24),
			netip.MustParsePrefix(fmt.Sprintf("fe80::5054:ff:fe00:%x/64", n)),
			netip.MustParsePrefix(fmt.Sprintf("2001:db8::5054:ff:fe00:%x/64", n)),
			netip.MustParsePrefix(fmt.Sprintf("2001:db8::aaaa:%x/64", n)),
		},
		Temporary: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("2001:db8::bbbb:%x/64", n))},
	}
}

const (
	secretName = "Zoë's very own laptop"
	library    = "d66e3c5a-9dad-11d1-80b4-00c04fd430c8"
)

// hide starts a node that is visible only to its contacts.
func hide(t *testing.T, link *dnssdtest.Link, n int, c *circle, mode Mode) *member {
	t.Helper()
	m := joinAs(t, link, eth6(n), ear{}, p2p.Config{Identity: c.self, Name: secretName}, Config{Mode: mode, Contacts: c})
	require.NoError(t, m.UpdateMetadata(func(m map[string]string) { m[library] = c.self.Remote().String() }))
	return m
}

// isOf reports whether the n-th host sent a frame.
func isOf(f dnssdtest.Frame, n int) bool {
	return f.Src.Addr() == addrOf(n) || strings.HasSuffix(f.Src.Addr().String(), fmt.Sprintf(":fe00:%x", n))
}

// sent returns the messages among frames, only those of one host if host is not
// 0.
func sent(t testing.TB, frames []dnssdtest.Frame, host int) (list []*dns.Msg) {
	for _, f := range frames {
		if host != 0 && !isOf(f, host) {
			continue
		}
		m := new(dns.Msg)
		require.NoError(t, m.Unpack(f.Data))
		list = append(list, m)
	}
	return list
}

func recordsOf(m *dns.Msg) []dns.RR { return slices.Concat(m.Answer, m.Ns, m.Extra) }

// Two contacts find each other by their tags, and a third node finds neither;
// no peer is reported to the app. Each announcement fits in 1,200 bytes.
func TestContactsFindEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a, b, c := identity.New(), identity.New(), identity.New()
		ca, cb := newCircle(t, a, b.Remote()), newCircle(t, b, a.Remote())
		cc := newCircle(t, c, a.Remote(), b.Remote())
		ma, mb, mc := hide(t, link, 1, ca, ContactsOnly), hide(t, link, 2, cb, ContactsOnly), hide(t, link, 3, cc, ContactsOnly)
		pass(1500 * time.Millisecond)
		require.True(t, ca.finds(b.Remote(), cb.shown.Label))
		require.True(t, cb.finds(a.Remote(), ca.shown.Label))
		for _, id := range []identity.RemoteIdentity{a.Remote(), b.Remote()} {
			require.False(t, cc.finds(id, ca.shown.Label) || cc.finds(id, cb.shown.Label), "the third node is not a contact of theirs")
		}
		require.Len(t, cc.labels(), 2)
		require.False(t, ca.finds(c.Remote(), cc.shown.Label))

		in := cb.seen[ca.shown.Label]
		require.Equal(t, ca.shown.Key, in.Key)
		require.Len(t, in.Tags, tags.PerInstance)
		require.Equal(t, []netip.AddrPort{
			netip.AddrPortFrom(addrOf(1), ca.shown.At.Port),
			netip.AddrPortFrom(netip.MustParseAddr("2001:db8::bbbb:1"), ca.shown.At.Port),
		}, in.Addrs, "no address that stays or holds the link-layer address")
		require.True(t, in.From == addrOf(1) || in.From.IsLinkLocalUnicast())

		pass(10 * time.Minute)
		for _, m := range []*member{ma, mb, mc} {
			require.Empty(t, m.Peers())
			require.Zero(t, count[p2p.PeerAvailable](m))
		}
		require.True(t, ca.finds(b.Remote(), cb.shown.Label), "its records must be asked for again")
		require.Empty(t, slices.DeleteFunc(ca.told(), func(e string) bool { return strings.HasPrefix(e, "seen ") }))
		for _, f := range link.Frames() {
			require.LessOrEqual(t, len(f.Data), 1200)
		}
	})
}

// The announcement for 123 contacts is no larger than that for one; 124
// contacts take two instances, with different labels and one host.
func TestManyContacts(t *testing.T) {
	for _, test := range []struct{ contacts, instances int }{{1, 1}, {123, 1}, {124, 2}, {500, 8}} {
		synctest.Test(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			self, contact := identity.New(), identity.New()
			c := newCircle(t, self, contact.Remote())
			for i := range test.contacts - 1 {
				c.shown.Tags = append(c.shown.Tags, tags.Tag{0: 1, 4: byte(i >> 8), 5: byte(i)})
			}
			cc := newCircle(t, contact, self.Remote())
			cfg := p2p.Config{Identity: self}
			ifc := eth6(1)
			ifc.Addrs = slices.DeleteFunc(ifc.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
			ifc.Addrs = append(ifc.Addrs, netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("10.0.1.1/24"), netip.MustParsePrefix("10.0.2.1/24"))
			ifc.Temporary = append(ifc.Temporary, netip.MustParsePrefix("2001:db8:1::bbbb:1/64"))
			joinAs(t, link, ifc, ear{}, cfg, Config{Mode: ContactsOnly, Contacts: c})
			hide(t, link, 2, cc, ContactsOnly)
			pass(3 * time.Second)
			require.Len(t, cc.labels(), test.instances)
			require.Contains(t, cc.labels(), c.shown.Label)
			found := false
			for _, l := range cc.labels() {
				found = found || cc.finds(self.Remote(), l)
			}
			require.True(t, found)
			largest, hosts := 0, map[string]bool{}
			for _, f := range link.Frames() {
				largest = max(largest, len(f.Data))
			}
			for _, m := range sent(t, link.Frames(), 1) {
				for _, rr := range recordsOf(m) {
					if srv, ok := rr.(*dns.SRV); ok {
						hosts[srv.Target] = true
					}
				}
			}
			require.LessOrEqual(t, largest, 1200)
			require.Equal(t, map[string]bool{c.shown.Label + ".local.": true}, hosts)
			t.Log(test.contacts, "contacts:", largest, "bytes")
		})
	}
}

// At the change of an epoch, the old instance is withdrawn at once, and the new
// one announced: with two packets each, over each family. The contact finds the
// node again.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a, b := identity.New(), identity.New()
		ca, cb := newCircle(t, a, b.Remote()), newCircle(t, b, a.Remote())
		ma := hide(t, link, 1, ca, ContactsOnly)
		hide(t, link, 2, cb, ContactsOnly)
		pass(5 * time.Minute)
		old := ca.shown
		before := ma.discovery.Stats().Sent
		link.Forget()
		fresh := ca.rotate()
		pass(10 * time.Millisecond)
		gone := sent(t, link.Frames(), 1)
		require.NotEmpty(t, gone)
		for _, rr := range recordsOf(gone[0]) {
			require.Zero(t, rr.Header().Ttl)
			require.NotContains(t, rr.String(), fresh.Label)
		}
		pass(1500 * time.Millisecond)
		require.True(t, cb.finds(a.Remote(), fresh.Label))
		require.Equal(t, []string{fresh.Label}, cb.labels())
		require.False(t, cb.finds(a.Remote(), old.Label))
		pass(time.Minute)
		after := ma.discovery.Stats().Sent
		require.EqualValues(t, 2, after.Goodbyes.Packets-before.Goodbyes.Packets)
		require.EqualValues(t, 4, after.Announcements.Packets-before.Announcements.Packets)
		require.Zero(t, after.Probes.Packets)

		link.Forget()
		ca.show(junction.Shown{}, false)
		pass(3 * time.Second)
		require.Empty(t, cb.labels())
		ca.show(fresh, true)
		pass(3 * time.Second)
		require.True(t, cb.finds(a.Remote(), fresh.Label))
		txts := map[string]bool{}
		for _, m := range sent(t, link.Frames(), 1) {
			for _, rr := range recordsOf(m) {
				if txt, ok := rr.(*dns.TXT); ok {
					txts[strings.Join(txt.Txt, "|")] = true
				}
			}
		}
		require.Len(t, txts, 1)
		require.Zero(t, ma.logged("not announced"))
		changed := fresh
		changed.Tags = []tags.Tag{{1}}
		ca.show(changed, true)
		pass(3 * time.Second)
		require.Empty(t, cb.labels(), "two layouts with one key would show what is padding")
		require.Equal(t, 1, ma.logged("not announced"))
	})
}

// The layout for a key stays the same after the discovery was disabled for a
// while.
func TestLayoutStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a, b := identity.New(), identity.New()
		ca := newCircle(t, a, b.Remote())
		ma := hide(t, link, 1, ca, ContactsOnly)
		for range 3 {
			pass(3 * time.Second)
			ma.discovery.SetMode(Disabled)
			pass(3 * time.Second)
			ma.discovery.SetMode(ContactsOnly)
		}
		txts := map[string]bool{}
		for _, m := range sent(t, link.Frames(), 1) {
			for _, rr := range recordsOf(m) {
				if txt, ok := rr.(*dns.TXT); ok {
					txts[strings.Join(txt.Txt, "|")] = true
				}
			}
		}
		require.Len(t, txts, 1)
	})
}

// The mode changes in any order. Enabled nodes see enabled nodes, and nodes
// that are visible to contacts only see each other; a former announcement is
// withdrawn; the listener is veiled before the announcement, and unveiled after
// the goodbye.
func TestModesSwitched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a, b := identity.New(), identity.New()
		ca, cb := newCircle(t, a, b.Remote()), newCircle(t, b, a.Remote())
		ma := hide(t, link, 1, ca, Enabled)
		contact := hide(t, link, 2, cb, ContactsOnly)
		public := join(t, link, 3, p2p.Config{}, Config{})
		require.Equal(t, []bool{false}, ca.veiled())
		require.Equal(t, []bool{true}, cb.veiled())
		want := []bool{false}
		sees := func(mode Mode) {
			t.Helper()
			pass(3 * time.Second)
			peer, ok := public.Peer(a.Remote())
			require.Equal(t, mode == Enabled, ok && peer.Available(), mode)
			require.Equal(t, mode == ContactsOnly, cb.finds(a.Remote(), ca.shown.Label), mode)
			require.Equal(t, mode == ContactsOnly, ca.finds(b.Remote(), cb.shown.Label), mode)
			_, ok = ma.Peer(public.Identity())
			require.Equal(t, mode == Enabled, ok, mode)
			_, ok = public.Peer(b.Remote())
			require.False(t, ok)
			_, ok = contact.Peer(public.Identity())
			require.False(t, ok)
			require.Equal(t, mode, ma.discovery.Mode())
			require.Equal(t, want, ca.veiled(), mode)
		}
		sees(Enabled)
		for _, mode := range []Mode{ContactsOnly, Enabled, Disabled, ContactsOnly, Disabled, Enabled, ContactsOnly} {
			if on := mode == ContactsOnly; want[len(want)-1] != on {
				want = append(want, on)
			}
			link.Forget()
			before := ca.rotate().Label
			cb.rotate()
			ma.discovery.SetMode(mode)
			sees(mode)
			for _, m := range sent(t, link.Frames(), 1) {
				for _, rr := range recordsOf(m) {
					live := rr.Header().Ttl > 0
					require.False(t, mode != Enabled && live && strings.Contains(rr.String(), a.String()), rr)
					require.False(t, mode != ContactsOnly && live && strings.Contains(rr.String(), before) && m.Response && mode == Disabled, rr)
				}
			}
			if mode == Disabled {
				link.Forget()
				pass(time.Hour)
				require.Empty(t, sent(t, link.Frames(), 1))
			}
		}
		require.Equal(t, "contacts only", ContactsOnly.String())
		nobodyAnswersFor(t, link, a)
	})
}

// nobodyAnswersFor asks for all records that the first node would have if it
// were enabled, and requires that it does not reveal any of them.
func nobodyAnswersFor(t *testing.T, link *dnssdtest.Link, a identity.Identity) {
	link.Forget()
	q := new(dns.Msg)
	q.RecursionDesired = false
	for _, name := range []string{
		a.String() + "._sd._udp.local.", "_services._dns-sd._udp.local.", a.HostName("eth0") + ".local.",
		"1.0.0.10.in-addr.arpa.", "_workstation._tcp.local.",
	} {
		q.Question = append(q.Question, dns.Question{Name: strings.ReplaceAll(name, "/", "\\047"), Qtype: dns.TypeANY, Qclass: dns.ClassINET})
	}
	packed, err := q.Pack()
	require.NoError(t, err)
	for _, port := range []uint16{dnssd.Port, 5000} {
		link.Inject(packed, netip.AddrPortFrom(addrOf(9), port), dnssd.Groups[dnssd.IPv4])
	}
	pass(5 * time.Second)
	for _, f := range link.Frames() {
		if f.Src.Addr() != addrOf(9) && f.Src.Addr() != addrOf(3) {
			require.Empty(t, reveals(f.Data, a))
		}
	}
	for _, m := range sent(t, link.Frames(), 1) {
		require.NotContains(t, m.String(), "_services")
		require.NotContains(t, m.String(), a.HostName("eth0"))
	}
}

// A discovery that starts in the mode ContactsOnly hides the node before the
// node is started.
func TestHiddenFromTheStart(t *testing.T) {
	c := newCircle(t, identity.New(), identity.New().Remote())
	for _, test := range []struct {
		mode Mode
		on   bool
	}{{ContactsOnly, true}, {Enabled, false}, {Disabled, false}} {
		New(Config{Mode: test.mode, Contacts: c})
		require.Equal(t, test.on, c.veils[len(c.veils)-1])
	}
	require.Len(t, c.veils, 3)
}

// ContactsOnly requires contacts.
func TestContactsRequired(t *testing.T) {
	_, err := p2p.Start(t.Context(), p2p.Config{App: "sd", Hooks: []p2p.Hook{
		ear{}, New(Config{Mode: ContactsOnly, network: dnssdtest.NewHost()}),
	}})
	require.ErrorIs(t, err, ErrNoContacts)
}
