package carrier

import (
	"testing"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
)

// The peers of several connections move, one of them many times. The
// connections go on over one of two spare sockets each.
func TestMovedCallees(t *testing.T) {
	t.Parallel()
	callee := New(listenUDP(t), Config{})
	defer callee.Close()
	serveEcho(t, transport(t, callee))
	s := New(listenUDP(t), Config{})
	defer s.Close()
	main := transport(t, s)
	var spare [2]*Socket
	var over [2]*quicgo.Transport
	for i := range spare {
		spare[i] = New(listenUDP(t), Config{})
		defer spare[i].Close()
		over[i] = transport(t, spare[i])
	}
	for range 3 {
		dialed := forward(t, at(callee))
		k := dial(t, main, at(dialed))
		now, undo := dialed, func() {}
		for i := range 6 {
			next := forward(t, at(callee))
			redo, ok := spare[i%2].Redirect(at(dialed), at(next))
			require.True(t, ok)
			k.move(over[i%2])
			undo()
			require.NoError(t, now.Close())
			before := next.packets.Load()
			k.echo()
			require.Greater(t, next.packets.Load(), before)
			now, undo = next, redo
		}
	}
}
