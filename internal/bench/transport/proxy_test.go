package transport

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// echoing is a socket that sends everything back.
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

// Datagrams come in order, each of them after the delay, and to whoever they are for; and round trips are counted by
// what follows what.
func TestProxy(t *testing.T) {
	const delay = 5 * time.Millisecond
	p, err := newProxy(echoing(t).LocalAddr().(*net.UDPAddr).AddrPort(), delay)
	require.NoError(t, err)
	defer p.close()
	var clients []*net.UDPConn
	for range 2 {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(p.addr()))
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		clients = append(clients, c)
	}
	require.Zero(t, p.roundTrips())
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
		require.EqualValues(t, 1, p.roundTrips()) // at once
		p.reset()
		require.Zero(t, p.roundTrips())
		for n := range 3 {
			_, err := c.Write([]byte("x"))
			require.NoError(t, err)
			_, err = c.Read(make([]byte, 100))
			require.NoError(t, err)
			require.EqualValues(t, n+1, p.roundTrips()) // one after the other
		}
	}
	require.Equal(t, p.passed[client].Load(), p.passed[server].Load())
	require.Positive(t, p.passed[client].Load())
	require.EqualValues(t, 2*(50+3), p.datagrams[client].Load())
	require.EqualValues(t, 2*(50+3), p.datagrams[server].Load())
}

// What was under way when counting began is not counted, and neither is what was sent in answer to less.
func TestProxyReset(t *testing.T) {
	f := &flow{queues: [2]chan datagram{make(chan datagram, 4), make(chan datagram, 4)}}
	p := &proxy{last: f}
	pass := func(to int) {
		close(f.queues[to])
		f.release(to, func([]byte) {})
		f.queues[to] = make(chan datagram, 4)
	}
	f.enqueue(server, nil, 0)
	f.enqueue(server, nil, 0)
	pass(server)
	f.enqueue(client, nil, 0)
	f.enqueue(server, nil, 0) // before that arrives
	pass(client)
	pass(server)
	require.EqualValues(t, 1, p.roundTrips())
	f.enqueue(client, nil, 0)
	pass(client)
	require.EqualValues(t, 1, p.roundTrips())
	f.enqueue(server, nil, 0)
	p.reset()
	pass(server)
	require.Equal(t, [2]int{}, f.depth)
}

// The round trips of the protocols, which do not depend on how fast the machine is: something that is sent alongside may add to
// what is counted, but nothing takes away from it.
func TestRoundTrips(t *testing.T) {
	for _, c := range []struct {
		transport
		cold, warm float64
	}{
		{raw(), 2, 1},
		{ours(), 2, 1},
		{routed(), 2, 1},
		{unknown(), 3, 1},
		{hosts(), 3, 1},
		{ancestor(), 5, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, end, err := links(t.Context(), roundTrip/2, c.transport)
			require.NoError(t, err)
			defer end()
			for _, warm := range []bool{true, false} {
				least := 100.0
				want := map[bool]float64{false: c.cold, true: c.warm}[warm]
				for range 10 {
					_, n, err := distantOnce(t.Context(), all[0], warm)
					require.NoError(t, err)
					if least = min(least, n); least <= want {
						break
					}
				}
				require.Equal(t, want, least, "warm: %v", warm)
			}
		})
	}
}
