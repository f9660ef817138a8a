package mdns

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"regexp"
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
)

// The tests in this file run nodes on a network in memory, in a synctest
// bubble.

// An ear is a listener with an address to announce, which does not listen.
type ear struct{}

func (ear) Name() string { return "ear" }

func (ear) Run(ctx context.Context, s *p2p.Scope) error {
	err := s.AddAddr(netip.AddrPortFrom(netip.IPv4Unspecified(), 7373))
	s.Ready()
	<-ctx.Done()
	return err
}

func (ear) Dial(_ context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
	e := &p2p.DialError{Peer: to}
	for _, c := range via {
		e.Attempts = append(e.Attempts, p2p.Attempt{Candidate: c, Err: p2p.ErrUnavailable})
	}
	return nil, e
}

// A member is a node on the network.
type member struct {
	*p2p.P2P
	discovery *Discovery
	host      *dnssdtest.Host

	mu     sync.Mutex
	events []p2p.Event
	lines  []string // the log, from level Info on
}

// addrOf returns the IPv4 address of the n-th host.
func addrOf(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }

// join starts a node on the n-th host of a link. It ends at the latest with the
// test's bubble.
func join(t *testing.T, link *dnssdtest.Link, n int, cfg p2p.Config, mc Config) *member {
	t.Helper()
	return joinAs(t, link, dnssd.Interface{
		Index: 2, Name: "eth0", MTU: 1500, Up: true, Multicast: true, Addrs: []netip.Prefix{netip.PrefixFrom(addrOf(n), 24)},
	}, ear{}, cfg, mc)
}

// joinAs starts a node with an interface and a listener.
func joinAs(t *testing.T, link *dnssdtest.Link, ifc dnssd.Interface, l p2p.Listener, cfg p2p.Config, mc Config) *member {
	t.Helper()
	m := &member{host: dnssdtest.NewHost()}
	m.host.Plug(link, ifc)
	mc.network = m.host
	m.discovery = New(mc)
	cfg.App = "sd"
	cfg.Logger = slog.New(slog.NewTextHandler(m, nil))
	cfg.Hooks = []p2p.Hook{l, m.discovery}
	var err error
	m.P2P, err = p2p.Start(t.Context(), cfg)
	require.NoError(t, err)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for e := range m.Watch(context.Background()) {
			m.mu.Lock()
			m.events = append(m.events, e)
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, m.Shutdown(context.Background()))
		<-watched
	})
	return m
}

// Write records a line of the log.
func (m *member) Write(line []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, string(line))
	return len(line), nil
}

func (m *member) logged(text string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, line := range m.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// count returns the number of events of a type so far.
func count[E p2p.Event](m *member) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if _, ok := e.(E); ok {
			n++
		}
	}
	return n
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A change of metadata leads to one event at other nodes, and so do several at
// the same time; a hundred changes within a second lead to two announcements
// and two events. Refreshes, for hours, lead to none.
func TestMetadataChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := join(t, link, 1, p2p.Config{}, Config{})
		b := join(t, link, 2, p2p.Config{}, Config{})
		pass(time.Minute)
		set := func(i int) {
			require.NoError(t, a.UpdateMetadata(func(m map[string]string) { m["n"] = fmt.Sprint(i) }))
		}
		sees := func(i int) {
			t.Helper()
			peer, ok := b.Peer(a.Identity())
			require.True(t, ok)
			require.Equal(t, fmt.Sprint(i), peer.Info().Metadata["n"])
		}
		announced := func() uint64 { return a.discovery.Stats().Sent.Announcements.Packets }
		require.Zero(t, count[p2p.PeerMetadataModified](b))

		before := announced()
		set(1)
		pass(time.Second)
		sees(1)
		pass(time.Hour)
		require.Equal(t, 1, count[p2p.PeerMetadataModified](b))
		require.EqualValues(t, 2, announced()-before, "it is repeated once (RFC 6762 §8.3)")

		for i := range 100 {
			set(100 + i)
		}
		pass(time.Minute)
		sees(199)
		require.Equal(t, 2, count[p2p.PeerMetadataModified](b))

		before = announced()
		for i := range 100 {
			set(200 + i)
			pass(9 * time.Millisecond)
		}
		pass(300 * time.Millisecond)
		sees(299)
		require.EqualValues(t, 2, announced()-before)
		require.Equal(t, 4, count[p2p.PeerMetadataModified](b))

		pass(4 * time.Hour)
		require.Equal(t, 4, count[p2p.PeerMetadataModified](b))
		require.Equal(t, 1, count[p2p.PeerAvailable](b))
		require.Zero(t, count[p2p.PeerUnavailable](b))
		require.Positive(t, b.discovery.Stats().Sent.Queries.Packets)
		require.Positive(t, b.discovery.Stats().Received.Responses.Packets)
	})
}

// 64 libraries and 128 entries, 8 KiB in all, arrive completely, with any
// characters. Metadata with one library more, or with a string that does not
// fit, is refused when it is set, and nothing changes.
func TestLargeMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := join(t, link, 1, p2p.Config{Name: "Zoë \\ \"=\" laptop"}, Config{})
		b := join(t, link, 2, p2p.Config{}, Config{})
		library := func(i int) string { return fmt.Sprintf("d66e0000-0000-0000-0000-%012x", i) }
		require.NoError(t, a.UpdateMetadata(func(m map[string]string) {
			for i := range p2p.MaxLibraries {
				m[library(i)] = identity.New().Remote().String()
			}
			for i := 0; len(m) < 128; i++ {
				m[fmt.Sprintf("k%02d", i)] = `\"=` + strings.Repeat("é", 11)
			}
			for encoded := 0; encoded < 8<<10; { // one entry takes what is left
				encoded = 2
				for k, v := range m {
					encoded += 2 + len(k) + 2 + len(v)
				}
				require.LessOrEqual(t, encoded, 8<<10)
				m["k00"] += strings.Repeat("x", min(8<<10-encoded, 254-len("k00")-len(m["k00"])))
				if len(m["k00"]) == 251 {
					break
				}
			}
		}))
		large := a.Metadata()
		require.Len(t, large, 128)
		pass(5 * time.Second)
		peer, ok := b.Peer(a.Identity())
		require.True(t, ok)
		require.Equal(t, large, peer.Info().Metadata)
		require.Equal(t, 1, a.logged("larger than 1300 bytes"))

		c := join(t, link, 3, p2p.Config{}, Config{})
		pass(5 * time.Second)
		peer, ok = c.Peer(a.Identity())
		require.True(t, ok)
		require.Equal(t, large, peer.Info().Metadata, "also at a node that came later")

		for _, refused := range []map[string]string{
			{library(p2p.MaxLibraries): identity.New().Remote().String()},
			{"key": strings.Repeat("x", 252)},
			{"key=": "x"},
			{"key": "\xff"},
		} {
			require.Error(t, a.UpdateMetadata(func(m map[string]string) {
				delete(m, "k00") // now there would be room
				for k, v := range refused {
					m[k] = v
				}
			}), refused)
		}
		require.Equal(t, large, a.Metadata())
	})
}

// If two devices have the same key, the second one reports that, once, with the
// address of the first one; what others see does not change for a day. When the
// first one leaves, the second takes its place.
func TestSameKeyTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		key := identity.New()
		var told []netip.Addr
		first := join(t, link, 1, p2p.Config{Identity: key}, Config{})
		observer := join(t, link, 3, p2p.Config{}, Config{})
		pass(time.Minute)
		second := join(t, link, 2, p2p.Config{Identity: key}, Config{Conflict: func(other netip.Addr) { told = append(told, other) }})
		pass(24 * time.Hour)
		other, ok := second.discovery.Conflict()
		require.True(t, ok)
		require.Equal(t, addrOf(1), other)
		require.Equal(t, []netip.Addr{addrOf(1)}, told)
		require.Equal(t, 1, second.logged("announced by somebody else"))
		_, ok = first.discovery.Conflict()
		require.False(t, ok)
		require.Zero(t, first.logged("announced by somebody else"))
		require.Len(t, first.Peers(), 1, "the observer, but not the node itself")
		require.Equal(t, 1, count[p2p.PeerAvailable](observer))
		require.Zero(t, count[p2p.PeerUnavailable](observer)+count[p2p.PeerMetadataModified](observer))
		peer, _ := observer.Peer(key.Remote())
		require.Equal(t, addrOf(1), peer.Info().Candidates[0].Addr.Addr())

		require.NoError(t, first.Shutdown(t.Context()))
		pass(2 * time.Minute)
		_, ok = second.discovery.Conflict()
		require.False(t, ok)
		require.Equal(t, []netip.Addr{addrOf(1), {}}, told)
		peer, ok = observer.Peer(key.Remote())
		require.True(t, ok)
		require.Equal(t, addrOf(2), peer.Info().Candidates[0].Addr.Addr())
	})
}

// An announcement of the first implementation is understood: it has no version,
// the system under a key and a word of its own, libraries, and an SRV record
// for each of its listeners.
func TestAncestorsAnnouncement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := join(t, link, 1, p2p.Config{}, Config{})
		key, library, in := identity.New().Remote(), "6ba7b810-9dad-11d1-80b4-00c04fd430c8", identity.New().Remote()
		name := key.String() + "._sd._udp.local."
		host := key.String() + ".sd.local."
		m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
		header := func(name string, typ uint16, ttl uint32, class uint16) dns.RR_Header {
			return dns.RR_Header{Name: name, Rrtype: typ, Class: class, Ttl: ttl}
		}
		m.Answer = []dns.RR{
			&dns.PTR{Hdr: header("_sd._udp.local.", dns.TypePTR, 4500, 1), Ptr: name},
			&dns.SRV{Hdr: header(name, dns.TypeSRV, 120, 0x8001), Port: 7001, Target: host},
			&dns.SRV{Hdr: header(name, dns.TypeSRV, 120, 0x8001), Port: 7002, Target: host},
			&dns.TXT{Hdr: header(name, dns.TypeTXT, 4500, 0x8001), Txt: []string{
				"name=Oscars Laptop", "os=MacOS", "device_model=MacBook Pro", "version=0.0.1", library + "=" + in.String(),
			}},
			&dns.A{Hdr: header(host, dns.TypeA, 120, 0x8001), A: addrOf(9).AsSlice()},
			&dns.A{Hdr: header(host, dns.TypeA, 120, 0x8001), A: addrOf(8).AsSlice()},
		}
		b, err := m.Pack()
		require.NoError(t, err)
		pass(time.Minute)
		link.Inject(b, netip.AddrPortFrom(addrOf(9), dnssd.Port), dnssd.Groups[dnssd.IPv4])
		pass(time.Second)
		peer, ok := a.Peer(key)
		require.True(t, ok)
		parsed := p2p.ParseNodeMetadata(peer.Info().Metadata)
		require.Equal(t, "Oscars Laptop", parsed.Name)
		require.Equal(t, "macos", parsed.OperatingSystem)
		require.Equal(t, "MacBook Pro", parsed.DeviceModel)
		require.Equal(t, "0.0.1", parsed.Version)
		require.Equal(t, in.String(), peer.Info().Metadata[library])
		var at []string
		for _, c := range peer.Info().Candidates {
			require.Zero(t, c.Version, "the node may speak version 1")
			at = append(at, c.Addr.String())
		}
		slices.Sort(at)
		require.Equal(t, []string{"10.0.0.8:7001", "10.0.0.8:7002", "10.0.0.9:7001", "10.0.0.9:7002"}, at)
	})
}

// An announcement contains what the first implementation reads: the label as
// unpadded standard base64, and the strings name, os (in its words),
// device_model, version, and libraries.
func TestAnnouncementForAncestor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		library, in := "6ba7b810-9dad-11d1-80b4-00c04fd430c8", identity.New().Remote().String()
		a := join(t, link, 1, p2p.Config{
			Name: "laptop", DeviceModel: "X", Version: "2", Metadata: map[string]string{library: in, "operating_system": "macos"},
		}, Config{})
		pass(5 * time.Second)
		var records []dns.RR
		for _, f := range link.Frames() {
			var m dns.Msg
			require.NoError(t, m.Unpack(f.Data))
			if m.Response {
				records = append(m.Answer, m.Extra...)
			}
		}
		said := map[string]string{}
		ports := map[uint16]bool{}
		for _, rr := range records {
			switch rr := rr.(type) {
			case *dns.PTR:
				if rr.Hdr.Name == "_sd._udp.local." {
					label, ok := strings.CutSuffix(rr.Ptr, "._sd._udp.local.")
					require.True(t, ok)
					b, err := base64.RawStdEncoding.DecodeString(label)
					require.NoError(t, err)
					require.Equal(t, a.Identity().Bytes(), [32]byte(b))
				}
			case *dns.SRV:
				ports[rr.Port] = true
			case *dns.TXT:
				for _, s := range rr.Txt {
					key, value, _ := strings.Cut(s, "=")
					said[key] = value
				}
			}
		}
		require.Len(t, ports, 1)
		require.Equal(t, "laptop", said["name"])
		require.Contains(t, []string{"MacOS", "Linux", "Windows", "IOS", "Android"}, said["os"])
		require.Equal(t, "X", said["device_model"])
		require.Equal(t, "2", said["version"])
		require.Equal(t, in, said[library])
	})
}

// docs/protocol.md shows an announcement byte by byte.
func TestDocumentedAnnouncement(t *testing.T) {
	text, err := os.ReadFile("../docs/protocol.md")
	require.NoError(t, err)
	_, block, ok := strings.Cut(string(text), "```announcement\n")
	require.True(t, ok)
	block, _, _ = strings.Cut(block, "```")
	var documented []byte
	for _, token := range regexp.MustCompile(`"[^"]*"|;.*|\S+`).FindAllString(block, -1) {
		switch {
		case token[0] == ';':
		case token[0] == '"':
			documented = append(documented, token[1:len(token)-1]...)
		default:
			b, err := hex.DecodeString(token)
			require.NoError(t, err)
			documented = append(documented, b...)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		key, err := identity.FromSeed(make([]byte, identity.Size))
		require.NoError(t, err)
		join(t, link, 1, p2p.Config{Identity: key, Name: "Zoë", Version: "0.1", Metadata: map[string]string{
			"operating_system": "linux", "os": "Linux", "6ba7b810-9dad-11d1-80b4-00c04fd430c8": key.Remote().String(),
		}}, Config{})
		pass(5 * time.Second)
		require.True(t, slices.ContainsFunc(link.Frames(), func(f dnssdtest.Frame) bool { return bytes.Equal(f.Data, documented) }))
	})
}
