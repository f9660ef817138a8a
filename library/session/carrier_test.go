package session_test

import (
	"testing"
	"testing/synctest"

	"github.com/libp2p/go-yamux/v5"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/library/session"
)

// TestMemberMemory: a member that opens one session after another, each with as
// many streams as allowed, takes no more memory than two sessions.
func TestMemberMemory(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		begin := func() *yamux.Session {
			c, err := p.here.Open(t.Context(), p.there.Instance(), session.Route)
			require.NoError(t, err)
			m := session.RawMux(t, c)
			for range session.MaxStreams {
				if _, err := m.OpenStream(t.Context()); err != nil {
					break
				}
			}
			synctest.Wait()
			return m
		}
		var all []*yamux.Session
		for range 5 {
			all = append(all, begin())
		}
		open := 0
		for _, m := range all {
			if !m.IsClosed() {
				open++
			}
		}
		require.Equal(t, 3, open)
		all[0].Close()
		synctest.Wait()
		require.False(t, begin().IsClosed(), "there is room again")
	})
}
