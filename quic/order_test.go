package quic

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

func TestOrder(t *testing.T) {
	for name, test := range map[string]struct{ via, want string }{
		"local first":           {"direct 203.0.113.5:1, direct 192.168.1.5:1, direct [fd00::5]:1", "direct 192.168.1.5:1, direct [fd00::5]:1, direct 203.0.113.5:1"},
		"a ticket as it is":     {"manual 203.0.113.5:1, manual [2001:db8::5]:1, manual 172.17.0.1:1", "manual 203.0.113.5:1, manual [2001:db8::5]:1, manual 172.17.0.1:1"},
		"a ticket and an echo":  {"direct 203.0.113.5:1, manual 203.0.113.5:1, manual 172.17.0.1:1", "manual 203.0.113.5:1, manual 172.17.0.1:1, direct 203.0.113.5:1"},
		"in turn, as they came": {"direct 192.168.1.5:1, manual 203.0.113.5:1, direct 10.0.0.5:1", "direct 192.168.1.5:1, manual 203.0.113.5:1, direct 10.0.0.5:1"},
	} {
		t.Run(name, func(t *testing.T) {
			kinds := map[string]p2p.CandidateKind{"direct": p2p.Direct, "manual": p2p.Manual}
			var via []p2p.Candidate
			for text := range strings.SplitSeq(test.via, ", ") {
				kind, addr, _ := strings.Cut(text, " ")
				via = append(via, p2p.Candidate{Kind: kinds[kind], Addr: netip.MustParseAddrPort(addr)})
			}
			order(via, func(netip.AddrPort) bool { return false })
			var got []string
			for _, c := range via {
				got = append(got, c.String())
			}
			require.Equal(t, test.want, strings.Join(got, ", "))
		})
	}
}
