package session_test

import (
	"fmt"
	"strings"
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

// TestConnPrints: printing a stream does not show the data sent in it.
func TestConnPrints(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		c := p.open(t, "echo")
		defer c.Close()
		const text = "said in the stream"
		_, err := c.Write([]byte(text))
		require.NoError(t, err)
		synctest.Wait() // the answer is back, in the buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d", "%c"} {
			for _, v := range []any{c, struct{ C *session.Conn }{c}, []*session.Conn{c}} {
				printed := fmt.Sprintf(verb, v)
				for _, trace := range []string{text, fmt.Sprintf("%x", text), strings.Trim(fmt.Sprint([]byte(text)), "[]")} {
					require.False(t, strings.Contains(printed, trace), verb)
				}
			}
		}
	})
}
