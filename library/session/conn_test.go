package session_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/library/session"
)

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
