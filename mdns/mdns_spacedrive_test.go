package mdns

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
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

// recordedPackets are Multicast DNS packets that a node of the first
// implementation has sent.
type recordedPackets struct {
	Identities map[string]struct {
		Seed string `json:"seed"`
		Text string `json:"text"`
	} `json:"identities"`
	Announcement string `json:"mdns_announcement_ipv4"`
	KnownAnswer  string `json:"mdns_query_known_answer_in_additional"`
	EmptyQuery   string `json:"mdns_query_empty"`
}

func readRecordedPackets(t testing.TB) (r recordedPackets) {
	b, err := os.ReadFile("../testdata/rust_peer.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &r))
	return r
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// rustAddr is the recorded node's address.
var rustAddr = netip.MustParseAddr("10.77.0.1")

// joinRust starts a node on the recorded node's network.
func joinRust(t *testing.T, link *dnssdtest.Link, cfg p2p.Config) *member {
	t.Helper()
	n := join(t, link, 1, cfg, Config{})
	n.host.Change(dnssd.Interface{
		Index: 2, Name: "eth0", MTU: 1500, Up: true, Multicast: true,
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24")},
	})
	pass(time.Minute)
	return n
}

// said has the recorded node send a packet, and returns the responses to it.
func said(t testing.TB, link *dnssdtest.Link, packet string) (responses []*dns.Msg) {
	t.Helper()
	link.Forget()
	link.Inject(unhex(t, packet), netip.AddrPortFrom(rustAddr, dnssd.Port), dnssd.Groups[dnssd.IPv4])
	pass(2 * time.Second)
	for _, f := range link.Frames() {
		m := new(dns.Msg)
		require.NoError(t, m.Unpack(f.Data))
		if m.Response && f.Src.Addr() != rustAddr {
			responses = append(responses, m)
		}
	}
	return responses
}

// A node of the first implementation is a peer from its announcement until its
// goodbye.
func TestReplayAnnouncement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := readRecordedPackets(t)
		link := dnssdtest.NewLink()
		n := joinRust(t, link, p2p.Config{})
		said(t, link, r.Announcement)
		id, err := identity.Parse(r.Identities["rust"].Text)
		require.NoError(t, err)
		peer, ok := n.Peer(id)
		require.True(t, ok)
		info := peer.Info()
		require.Equal(t, map[string]string{
			"name": "Crab", "version": "0.4.2", "os": "Linux", "device_model": "Other",
			"6ba7b810-9dad-11d1-80b4-00c04fd430c8": "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik",
		}, info.Metadata)
		require.Equal(t, "linux", p2p.ParseNodeMetadata(info.Metadata).OperatingSystem)
		require.Equal(t, []p2p.Candidate{{
			Kind: p2p.Direct, Addr: netip.AddrPortFrom(rustAddr, 7373), Sources: []string{"mdns"},
		}}, info.Candidates)

		var m dns.Msg // the goodbye is the same, with a time to live of 0
		require.NoError(t, m.Unpack(unhex(t, r.Announcement)))
		for _, rr := range m.Answer {
			rr.Header().Ttl = 0
		}
		goodbye, err := m.Pack()
		require.NoError(t, err)
		said(t, link, hex.EncodeToString(goodbye))
		_, ok = n.Peer(id)
		require.False(t, ok)
	})
}

// The recorded node lists records that it knows in the additional section of a
// question: they are ignored, and the question is answered.
func TestReplayKnownAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := readRecordedPackets(t)
		link := dnssdtest.NewLink()
		n := joinRust(t, link, p2p.Config{})
		responses := said(t, link, r.KnownAnswer)
		require.Len(t, responses, 1)
		require.Len(t, responses[0].Answer, 1)
		require.Equal(t, n.Identity().String()+"._sd._udp.local.", responses[0].Answer[0].(*dns.PTR).Ptr)
		require.Empty(t, n.Peers())

		link.Forget()
		require.Empty(t, said(t, link, r.EmptyQuery))
		require.Empty(t, n.Peers())
		require.Zero(t, n.logged("panic"))
	})
}

// A node that is listed there as known answers all the same.
func TestReplayKnownAnswerOfItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := readRecordedPackets(t)
		link := dnssdtest.NewLink()
		key, err := identity.FromSeed(unhex(t, r.Identities["rust"].Seed))
		require.NoError(t, err)
		joinRust(t, link, p2p.Config{Identity: key})
		require.Len(t, said(t, link, r.KnownAnswer), 1)
	})
}
