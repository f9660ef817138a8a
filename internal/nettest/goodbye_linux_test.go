package nettest

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dns"
	"github.com/sdp2p/p2p/internal/netlab"
)

// A forger sends goodbyes, and SRV records that replace the real one, only to
// one host: the node that they concern does not hear them, and cannot defend
// itself. It must not be lost, even if its multicasts do not arrive, as long as
// its connection is alive. Nor may the forger's other records hide its address.
func TestGoodbyeToOneHost(t *testing.T) {
	for _, connected := range []bool{false, true} {
		t.Run(fmt.Sprint("connected ", connected), func(t *testing.T) {
			t.Parallel()
			lab := netlab.New(t, 3)
			n := start(t, lab.Hosts[0], onLAN)
			victim := start(t, lab.Hosts[2], onLAN)
			n.discovers(victim, "mdns")
			victim.discovers(n, "mdns")
			if connected {
				_, err := netlab.Call[echoed](n.Process, "hold", holdArgs{Peer: victim.id})
				require.NoError(t, err)
				mute(n.host, victim.host)
			}
			attacker := lab.Hosts[1]
			wire, from, mac := attacker.Wire(t), netip.AddrPortFrom(attacker.Addr4(), mdnsPort), n.host.MAC()
			goodbye := forgedRecords(victim.id, "forged.local.", attacker.Addr4(), 0)[:1]
			replacement := forgedRecords(victim.id, "forged.local.", attacker.Addr4(), 4500)[1:]
			began := time.Now()
			for i := range 12 {
				require.NoError(t, wire.SendTo(mac, from, group4, pack(t, &dns.Message{Response: true, Answer: goodbye})))
				require.NoError(t, wire.SendTo(mac, from, group4, pack(t, &dns.Message{Response: true, Answer: replacement})))
				time.Sleep(500 * time.Millisecond)
				require.True(t, mentions(n.candidates(victim), victim.host.Addr4()), "%v: %v", time.Since(began), n.candidates(victim))
				if i == 8 {
					unmute(n.host)
				}
			}
			time.Sleep(2 * time.Second)
			require.Zero(t, n.count("expired", victim))
			require.True(t, mentions(n.candidates(victim), victim.host.Addr4()))
			n.echoes(victim)
			victim.Stop()
			stopped := time.Now()
			n.Await(stopped, "unavailable", victim.id)
			t.Log("seen to have gone after", time.Since(stopped))
		})
	}
}

// mute blocks all Multicast DNS from another host.
func mute(h, from *netlab.Host) {
	h.Run("nft", "add table inet deaf")
	h.Run("nft", "add chain inet deaf in { type filter hook input priority 0; }")
	h.Run("nft", fmt.Sprintf("add rule inet deaf in udp sport 5353 ip saddr %v drop", from.Addr4()))
	h.Run("nft", fmt.Sprintf("add rule inet deaf in udp sport 5353 ip6 saddr { %v, %v } drop", from.Addr6(), from.LinkLocal()))
}

func unmute(h *netlab.Host) { h.Run("sh", "-c", "nft delete table inet deaf 2>/dev/null || true") }
