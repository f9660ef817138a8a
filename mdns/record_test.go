package mdns

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
	"github.com/sdp2p/p2p/p2ptest"
)

// A node's metadata is announced completely, up to the largest size, with the
// node's own fields first.
func TestFullMetadata(t *testing.T) {
	n, err := p2p.Start(t.Context(), p2p.Config{
		App: "test", Name: "n", Version: "1", Hooks: []p2p.Hook{p2ptest.NewNetwork(p2ptest.Config{}).Listener(p2ptest.ListenerConfig{})},
	})
	require.NoError(t, err)
	defer n.Shutdown(context.Background())
	require.NoError(t, n.UpdateMetadata(func(m map[string]string) {
		for i := 0; len(m) < 128; i++ {
			m[fmt.Sprint("a", i)] = "v"
		}
	}))
	announced, err := services(n)
	require.NoError(t, err)
	require.Len(t, announced, 1)
	require.Equal(t, n.Identity().String(), announced[0].Instance)
	require.Len(t, announced[0].TXT, 129)
	require.Equal(t, "name=n", announced[0].TXT[0])
	require.Contains(t, announced[0].TXT[:6], "sdp2p=2")
	engine, err := dnssd.New(dnssd.Config{Service: "_test._udp"})
	require.NoError(t, err)
	require.NoError(t, engine.Publish(announced...))

	metadata, candidates := parseInstance(dnssd.Instance{
		Name: announced[0].Instance, TXT: announced[0].TXT,
		Addrs: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:1")}, OffLink: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:1")},
		LinkLocal: []netip.AddrPort{netip.MustParseAddrPort("[fe80::1%lo]:1")},
	})
	require.Equal(t, n.Metadata(), metadata)
	require.Len(t, candidates, 3)
	require.Equal(t, "[fe80::1%lo]:1", candidates[2].Addr.String(), "a link-local address is the last candidate")
	require.Equal(t, 2, candidates[0].Version)
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
