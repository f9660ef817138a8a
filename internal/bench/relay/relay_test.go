package relay

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// echoing returns a socket that sends everything back.
func echoing(t *testing.T) *net.UDPConn {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	go func() {
		for b := make([]byte, 100); ; {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return c
}

// Datagrams arrive in order, each of them after the delay, and at the right
// receiver; round trips are counted by which datagram follows which.
func TestRelay(t *testing.T) {
	const delay = 5 * time.Millisecond
	p, err := New(echoing(t).LocalAddr().(*net.UDPAddr).AddrPort(), delay)
	require.NoError(t, err)
	defer p.Close()
	var clients []*net.UDPConn
	for range 2 {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(p.Addr()))
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		clients = append(clients, c)
	}
	require.Zero(t, p.RoundTrips())
	for i, c := range clients {
		began := time.Now()
		const burst = 50
		text := func(n int) string { return fmt.Sprintf("%d of %d", n, i) }
		for n := range burst {
			_, err := c.Write([]byte(text(n)))
			require.NoError(t, err)
		}
		for n := range burst {
			b := make([]byte, 100)
			got, err := c.Read(b)
			require.NoError(t, err)
			require.Equal(t, text(n), string(b[:got]))
			require.GreaterOrEqual(t, time.Since(began), 2*delay)
		}
		require.EqualValues(t, 1, p.RoundTrips()) // all at once
		p.Reset()
		require.Zero(t, p.RoundTrips())
		for n := range 3 {
			_, err := c.Write([]byte("x"))
			require.NoError(t, err)
			_, err = c.Read(make([]byte, 100))
			require.NoError(t, err)
			require.EqualValues(t, n+1, p.RoundTrips()) // one after another
		}
	}
	require.Equal(t, p.Passed(Client), p.Passed(Server))
	require.Positive(t, p.Passed(Client))
	require.EqualValues(t, 2*2*(50+3), p.Datagrams())
}

// Datagrams in transit when counting began are not counted, nor are the answers
// to them.
func TestReset(t *testing.T) {
	f := &flow{queues: [2]chan datagram{make(chan datagram, 4), make(chan datagram, 4)}}
	p := &Relay{last: f}
	pass := func(to End) {
		close(f.queues[to])
		f.release(to, func([]byte) {})
		f.queues[to] = make(chan datagram, 4)
	}
	f.enqueue(Server, nil, 0)
	f.enqueue(Server, nil, 0)
	pass(Server)
	f.enqueue(Client, nil, 0)
	f.enqueue(Server, nil, 0) // before the first one arrives
	pass(Client)
	pass(Server)
	require.EqualValues(t, 1, p.RoundTrips())
	f.enqueue(Client, nil, 0)
	pass(Client)
	require.EqualValues(t, 1, p.RoundTrips())
	f.enqueue(Server, nil, 0)
	p.Reset()
	pass(Server)
	require.Equal(t, [2]int{}, f.depth)
}
