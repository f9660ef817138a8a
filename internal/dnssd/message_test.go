package dnssd_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// RFC 6762 §17: whatever is asked, by multicast or by unicast, no packet
// exceeds the MTU of 1500, over either family, except for a single large
// record; and that record is sent with the PTR only if it was asked for (RFC
// 6763 §12).
func TestPacketSize(t *testing.T) {
	for _, size := range []int{1170, 1180, 1190, 1200, 1210, 1220, 1230, 1240, 1250, 1260, 1270, 1290, 1310, 1400, 8000} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			var txt []string
			for n := size; n > 0; n -= 100 {
				txt = append(txt, strings.Repeat("x", min(n, 100)-1))
			}
			run(t, hostOn(link, eth(1)), service("a", txt...))
			run(t, hostOn(link, eth(2)))
			o := newOutsider(t, link, 9)
			pass(time.Minute)
			for _, q := range []string{"_sd._udp.local. PTR", "a._sd._udp.local. ANY"} {
				for _, qu := range []string{"", " QU"} {
					o.take()
					o.send(query(q + qu))
					pass(2 * time.Minute)
					var got []string
					for _, m := range o.take() {
						got = append(got, types(append(m.Answer, m.Extra...))...)
					}
					if size < 1200 || size > 1500 || strings.HasSuffix(q, "ANY") { // between: no room beside the PTR
						require.Contains(t, got, "TXT", q)
					}
				}
			}
			for _, f := range link.Frames() {
				limit := 1500 - 28
				if f.Src.Addr().Is6() {
					limit = 1500 - 48
				}
				var m dns.Msg
				require.NoError(t, m.Unpack(f.Data))
				require.True(t, len(f.Data) <= limit || len(m.Answer) == 1 && len(m.Extra) == 0 && size > 1400, "%d: %d bytes", size, len(f.Data))
			}
		})
	}
}

// RFC 6762 §17: a TXT record of 8 KiB is sent alone in a packet, and the other
// packets stay within the MTU; 128 strings arrive.
func TestLargeTXT(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		start := time.Now()
		txt := make([]string, 128)
		for i := range txt {
			txt[i] = fmt.Sprintf("%03d=%s", i, strings.Repeat("\\", 59))
		}
		var logged lockedBuffer
		runWith(t, hostOn(link, eth(1)), dnssd.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}, service("a", txt...))
		b := run(t, hostOn(link, eth(2)))
		pass(5 * time.Second)
		require.Equal(t, txt, b.Instances()[0].TXT)
		require.Len(t, logged.lines(), 1)
		require.Contains(t, logged.lines()[0], "larger than 1300 bytes")
		var large int
		for _, m := range filter(messages(t, link, 1, start), isResponse) {
			require.LessOrEqual(t, len(m.Data), 8972)
			if len(m.Data) > 1472 {
				large++
				require.Equal(t, []string{"TXT"}, types(m.Answer))
				require.Empty(t, m.Extra)
			}
		}
		require.Positive(t, large)
		// A node that starts later gets the record in the answer to its first
		// question.
		c := run(t, hostOn(link, eth(3)))
		pass(2 * time.Second)
		require.Equal(t, txt, c.Instances()[0].TXT)
	})
}
