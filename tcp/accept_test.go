package tcp

import (
	"crypto/tls"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// Peers that make secure connections, hold back their hellos, and then send
// them all at once get no more lanes than the limits allow: for one peer, in
// all, and for strangers.
func TestHellosAtOnce(t *testing.T) {
	for name, limits := range map[string]Limits{
		"of one peer": {LanesPerPeer: 3},
		"in all":      {Lanes: 3},
		"strangers":   {Expected: 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPreyWith(t, Config{Limits: limits}, func(s *p2p.Stream) error {
				_, err := io.Copy(s, s)
				return err
			})
			key := func() identity.Identity { return p.key }
			if limits.Expected > 0 {
				_, over := p.listener.Expect()
				defer over()
				key = identity.New
			}
			var all []*tls.Conn
			for range 8 {
				c, err := p.dial(t, key(), nil)
				require.NoError(t, err)
				all = append(all, c)
			}
			waiting := func() (n int) { // number of connections that wait for a hello
				p.listener.running().door.mu.Lock()
				defer p.listener.running().door.mu.Unlock()
				return len(p.listener.running().door.inside)
			}
			require.Eventually(t, func() bool { return waiting() == len(all) }, patience, time.Millisecond)
			for _, c := range all {
				_, err := c.Write(helloFrame(t, forStream))
				require.NoError(t, err)
			}
			lanes := 0
			for _, c := range all {
				if k, _ := readFrame(t, c); k == frameHello {
					lanes++
				} else {
					require.Equal(t, frameReset, k)
				}
			}
			require.Equal(t, 3, lanes)
		})
	}
}
