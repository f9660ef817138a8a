package quic

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

func identities(t *testing.T, n int) (all []identity.RemoteIdentity) {
	t.Helper()
	for i := range n {
		id, err := identity.FromSeed(fmt.Appendf(nil, "%032d", i))
		require.NoError(t, err)
		all = append(all, id.Remote())
	}
	return all
}

// Looking for a peer in vain costs other hosts little, whatever addresses are
// announced: for one peer less than 2 KB/s over half a minute, including packet
// headers, and for any number of peers 20 packets a second.
func TestLooksInVain(t *testing.T) {
	const (
		packet = 1200 + 48
		lasts  = 30 * time.Second
	)
	ids := identities(t, 200)
	for _, peers := range []int{1, len(ids)} {
		synctest.Test(t, func(t *testing.T) {
			l, sent, began := &looks{}, 0, time.Now()
			for time.Since(began) < lasts {
				for _, id := range ids[:peers] {
					if end, ok := l.begin(id, seekTime); ok {
						sent += packets(seekTime)
						time.AfterFunc(seekTime, func() { end(false) })
					}
				}
				time.Sleep(10 * time.Millisecond)
			}
			if peers == 1 {
				require.Less(t, float64(sent*packet), 2000*lasts.Seconds())
			}
			require.LessOrEqual(t, float64(sent), 128+20*lasts.Seconds())
			require.Greater(t, sent, 20, "peers are looked for all the time")
		})
	}
}

// A look that is answered, or that sends nothing, costs nothing.
func TestLooksAnswered(t *testing.T) {
	ids := identities(t, 5000)
	synctest.Test(t, func(t *testing.T) {
		l := &looks{}
		for range 100 {
			end, ok := l.begin(ids[0], 3*time.Second)
			require.True(t, ok)
			time.Sleep(time.Millisecond)
			end(true)
		}
		for range (lookBurst-packets(seekTime))/flightPackets + 1 {
			end, ok := l.begin(ids[0], seekTime)
			require.True(t, ok)
			end(false) // at once: the peer was found elsewhere
		}
		_, ok := l.begin(ids[0], seekTime)
		require.False(t, ok)
		_, ok = l.begin(ids[1], seekTime)
		require.True(t, ok, "other peers may still be looked for")
		for _, id := range ids {
			if end, ok := l.begin(id, seekTime); ok {
				end(true)
			}
		}
		require.LessOrEqual(t, len(l.of), maxLookers)
	})
}

// The count of packets matches the packets that are sent.
func TestLookPackets(t *testing.T) {
	t.Parallel()
	require.Equal(t, []int{2, 2, 4, 4, 6, 8}, []int{
		packets(0), packets(199 * time.Millisecond), packets(201 * time.Millisecond), packets(seekTime), packets(time.Second), packets(2 * time.Second),
	})
	m := newMoving(t)
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)})
	require.NoError(t, err)
	defer silent.Close()
	began := time.Now()
	for time.Since(began) < 3*time.Second {
		_, err := m.ours.endpoint.relocate(m.ours, unmap(silent.LocalAddr().(*net.UDPAddr).AddrPort()))
		require.Error(t, err)
	}
	took := time.Since(began)
	var got []int
	for b := make([]byte, 2000); ; {
		silent.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := silent.Read(b)
		if err != nil {
			break
		}
		got = append(got, n)
	}
	require.LessOrEqual(t, float64(len(got)), lookBurst+lookPace*took.Seconds()+2)
	require.NotEmpty(t, got)
	require.Equal(t, 1200, slices.Max(got))
	m.talk(t, 1)
}
