package netlab

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A path loses exactly the packets that its seed determines, and each one that
// arrives has taken the path's time.
func TestPath(t *testing.T) {
	t.Parallel()
	lab := New(t, 2)
	cfg := PathConfig{RTT: 40 * time.Millisecond, Loss: 0.1, Seed: 7}
	p := lab.Path(lab.Hosts[0], lab.Hosts[1], cfg)
	var from, to net.PacketConn
	for i, c := range []*net.PacketConn{&from, &to} {
		require.NoError(t, lab.Hosts[i].Do(func() (err error) {
			*c, err = net.ListenPacket("udp", net.JoinHostPort(p.Addrs[i].String(), "7000"))
			return err
		}))
		defer (*c).Close()
	}
	const packets = 2000
	dice, lost := newDice(cfg, 0), 0
	for first := uint64(0); first < packets; first += 50 { // the receiver's buffer holds these
		want, got := map[uint64]bool{}, map[uint64]bool{}
		began := time.Now()
		for i := first; i < first+50; i++ {
			if dice.lost() {
				lost++
			} else {
				want[i] = true
			}
			_, err := from.WriteTo(binary.BigEndian.AppendUint64(nil, i), to.LocalAddr())
			require.NoError(t, err)
		}
		for b := make([]byte, 100); len(got) < len(want); {
			to.SetReadDeadline(time.Now().Add(Patience))
			n, _, err := to.ReadFrom(b)
			require.NoError(t, err, "%d of %d", len(got), len(want))
			require.Equal(t, 8, n)
			require.GreaterOrEqual(t, time.Since(began), cfg.RTT/2)
			got[binary.BigEndian.Uint64(b)] = true
		}
		require.Equal(t, want, got)
	}
	require.InDelta(t, packets/10, lost, 60)
	to.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, _, err := to.ReadFrom(make([]byte, 100))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "nothing else may arrive")
	stats := p.Stats()[0]
	require.Equal(t, packets, int(stats.Packets))
	require.Equal(t, lost, stats.Lost)
	require.Zero(t, stats.Overflown)
	require.EqualValues(t, packets*(20+8+8), stats.Bytes)
}

// TCP works over a path, and its handshake takes a round trip.
func TestPathTCP(t *testing.T) {
	t.Parallel()
	lab := New(t, 2)
	const rtt, size = 60 * time.Millisecond, 1 << 20
	p := lab.Path(lab.Hosts[0], lab.Hosts[1], PathConfig{RTT: rtt, Loss: 0.01})
	var l net.Listener
	require.NoError(t, lab.Hosts[1].Do(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(p.Addrs[1].String(), "0"))
		return err
	}))
	defer l.Close()
	received := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			var n int64
			if n, err = io.Copy(io.Discard, c); n != size {
				err = errors.Join(err, io.ErrShortWrite)
			}
			c.Close()
		}
		received <- err
	}()
	began := time.Now()
	var c net.Conn
	require.NoError(t, lab.Hosts[0].Do(func() (err error) {
		c, err = net.Dial("tcp", l.Addr().String())
		return err
	}))
	require.GreaterOrEqual(t, time.Since(began), rtt)
	_, err := c.Write(make([]byte, size))
	require.NoError(t, err)
	c.Close()
	require.NoError(t, <-received)
	require.Positive(t, p.Stats()[0].Lost)
}
