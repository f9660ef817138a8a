package tcp_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// A path forwards UDP packets between one node, which writes to it, and
// another, unless it drops them.
type path struct {
	front, back *net.UDPConn
	from        atomic.Pointer[netip.AddrPort]
	drops       atomic.Bool
}

func newPath(t *testing.T, to *device) *path {
	port, _ := to.udp.Port()
	loopback := net.IPv4(127, 0, 0, 1)
	p := &path{}
	var err error
	p.front, err = net.ListenUDP("udp4", &net.UDPAddr{IP: loopback})
	require.NoError(t, err)
	p.back, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: loopback, Port: int(port)})
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for b := make([]byte, 1<<16); ; {
			n, from, err := p.front.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			p.from.Store(&from)
			if !p.drops.Load() {
				p.back.Write(b[:n])
			}
		}
	})
	running.Go(func() {
		for b := make([]byte, 1<<16); ; {
			n, err := p.back.Read(b)
			if err != nil {
				return
			}
			if !p.drops.Load() {
				p.front.WriteToUDPAddrPort(b[:n], *p.from.Load())
			}
		}
	})
	t.Cleanup(func() {
		p.front.Close()
		p.back.Close()
		running.Wait()
	})
	return p
}

// While nothing is heard on a connection over UDP, new streams take lanes, and
// once it answers again, they do no more; none arrives twice. A machine that
// stands still may lose the connection before, but not each time.
func TestSilentUDP(t *testing.T) {
	for range 3 {
		if survivesSilence(t) {
			return
		}
	}
	t.Fatal("a stream takes a lane only once the connection over UDP was lost")
}

// survivesSilence reports whether the connection was still there when a stream
// took a lane.
func survivesSilence(t *testing.T) bool {
	var served atomic.Int32
	handler := p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
		served.Add(1)
		return echo(ctx, s)
	})
	m := newMeeting()
	a, b := newDevice(t, p2p.Config{}, m), newDevice(t, p2p.Config{Handler: handler}, m)
	way := newPath(t, b)
	require.NoError(t, a.udp.SetManualPeers([]string{way.front.LocalAddr().String()}))
	ab := a.sees(t, b.Identity())
	until(t, a.P2P, func() bool { return ab.Connected() && p2p.LanePort(ab.Info().Metadata) != 0 })
	before, lane := open(t, t.Context(), ab)
	if lane {
		return false
	}
	written := int32(1)

	way.drops.Store(true)
	_, err := before.Write([]byte("x"))
	require.NoError(t, err)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var s *p2p.Stream
	for lane = false; !lane; <-tick.C {
		s, err = ab.NewStream(t.Context())
		require.NoError(t, err)
		local, _ := s.Endpoints()
		if _, lane = local.(*net.TCPAddr); !lane {
			s.Reset(p2p.ErrCanceled) // the silence is not noticed yet
		}
	}
	written++
	require.NoError(t, exchange(t, s))
	require.NoError(t, s.Close())

	way.drops.Store(false)
	if _, err = io.ReadFull(before, make([]byte, 1)); err != nil {
		require.ErrorIs(t, err, p2p.ErrConnectionLost)
		return false
	}
	for lane = true; lane; <-tick.C {
		written++
		_, lane = open(t, t.Context(), ab)
	}
	require.Equal(t, written, served.Load())
	return true
}
