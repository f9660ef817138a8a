package quic

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// A box stands in front of an address, and forwards packets until it is shut,
// or until it has forwarded a number of answers.
type box struct {
	front   *net.UDPConn
	back    *net.UDPConn
	from    atomic.Pointer[netip.AddrPort]
	shut    atomic.Bool
	answers atomic.Int32 // that it still forwards; negative: any number
}

func newBox(t *testing.T, to netip.AddrPort, answers int32) *box {
	t.Helper()
	b := &box{}
	b.answers.Store(answers)
	var err error
	b.front, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	b.back, err = net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 50)}, net.UDPAddrFromAddrPort(to))
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for p := make([]byte, 1<<16); ; {
			n, from, err := b.front.ReadFromUDPAddrPort(p)
			if err != nil {
				return
			}
			b.from.Store(&from)
			if !b.shut.Load() {
				b.back.Write(p[:n])
			}
		}
	})
	running.Go(func() {
		for p := make([]byte, 1<<16); ; {
			n, err := b.back.Read(p)
			if err != nil {
				return
			}
			if b.shut.Load() {
				continue
			}
			if b.answers.Add(-1) == 0 {
				b.shut.Store(true)
			}
			b.front.WriteToUDPAddrPort(p[:n], *b.from.Load())
		}
	})
	t.Cleanup(func() {
		b.front.Close()
		b.back.Close()
		running.Wait()
	})
	return b
}

func (b *box) addr() netip.AddrPort { return b.front.LocalAddr().(*net.UDPAddr).AddrPort() }

// echo is the handler of the two nodes.
func echo(_ context.Context, s *p2p.Stream) error {
	_, err := io.Copy(s, s)
	return err
}

// chatter has the called node send all the time.
func (n *awayNodes) chatter(ctx context.Context, t *testing.T) {
	peer, _ := n.b.Peer(n.a.Identity())
	s, err := peer.NewStream(ctx)
	if !assert.NoError(t, err) {
		return
	}
	defer s.Reset(p2p.ErrCanceled)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := s.Write([]byte("x")); !assert.NoError(t, err) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// If a direct path dies after the dialer has switched to it and before the
// listener has, this costs nothing but time: the listener stays in the relay,
// and the dialer returns there, although it hears the listener's packets all
// the time.
func TestPathDiesBeforeTheListenerHasSwitched(t *testing.T) {
	t.Parallel()
	n := newPatientNodes(t, true, 2*time.Second)
	ours, theirs := n.dial(t)
	peer, ok := n.a.Peer(n.b.Identity())
	require.True(t, ok)
	s, err := peer.NewStream(t.Context())
	require.NoError(t, err)
	defer s.Close()
	s.SetDeadline(time.Now().Add(time.Minute))
	talk := func() {
		t.Helper()
		_, err = s.Write([]byte("x"))
		require.NoError(t, err)
		_, err = io.ReadFull(s, make([]byte, 1))
		require.NoError(t, err)
	}
	talk()
	require.Eventually(t, func() bool { // a probe may be late on a busy machine
		b := newBox(t, n.direct(), 1) // the listener's answer to the probe
		return ours.move(t.Context(), b.addr()) == nil && b.addr() == ours.remote()
	}, time.Minute, time.Millisecond)
	var talking sync.WaitGroup
	defer talking.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	talking.Go(func() { n.chatter(ctx, t) })
	began := time.Now()
	require.Eventually(t, ours.Relayed, time.Minute, time.Millisecond)
	talk()
	t.Log("goes on after", time.Since(began))
	require.EqualValues(t, 1, n.begun.Load(), "it goes on through the same circuit")
	require.True(t, theirs.Relayed())
	require.False(t, ours.gone() || theirs.gone())

	require.Eventually(t, func() bool { return ours.move(t.Context(), n.direct()) == nil }, time.Minute, time.Millisecond, "it moves once there is another path")
	require.Eventually(t, func() bool { return !theirs.Relayed() }, time.Minute, time.Millisecond)
	talk()
	require.False(t, ours.Relayed())
}

// A circuit is kept until the peer has left it as well, and ends then, without
// a timer of its own.
func TestMoveLeavesTheCircuit(t *testing.T) {
	t.Parallel()
	n := newPatientNodes(t, true, 10*time.Second)
	ours, theirs := n.dial(t)
	l := n.la.running().lanes.at(ours.remote())
	unkept := &lane{link: l.link, addr: l.addr, to: l.to, left: make(chan struct{}, 1)}
	n.la.running().lanes.mu.Lock()
	n.la.running().lanes.all[l.addr] = unkept
	n.la.running().lanes.mu.Unlock()
	require.Eventually(t, func() bool { return ours.move(t.Context(), n.direct()) == nil }, time.Minute, time.Millisecond)
	select {
	case <-unkept.left:
	case <-time.After(time.Minute):
		require.Fail(t, "the connection was not reported to have left the circuit")
	}
	require.Zero(t, unkept.settling.Load())
	require.False(t, ours.Relayed() || theirs.Relayed())
}

// noise returns a function that adds packets to a circuit's direction to the
// dialer, which belong to no connection.
func noise(ctx context.Context, on *atomic.Bool) func(io.Reader) io.Reader {
	first := true
	return func(r io.Reader) io.Reader {
		if !first { // this is the other direction
			return r
		}
		first = false
		out, in := io.Pipe()
		var mu sync.Mutex // held while a frame is written
		go func() {
			for {
				var size [2]byte
				if _, err := io.ReadFull(r, size[:]); err != nil {
					in.CloseWithError(err)
					return
				}
				b := append(size[:], make([]byte, binary.BigEndian.Uint16(size[:]))...)
				if _, err := io.ReadFull(r, b[2:]); err != nil {
					in.CloseWithError(err)
					return
				}
				mu.Lock()
				_, err := in.Write(b)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		}()
		go func() {
			frame := append([]byte{0, 100, 0x40}, make([]byte, 99)...)
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				<-tick.C
				if on.Load() {
					mu.Lock()
					in.Write(frame)
					mu.Unlock()
				}
			}
			in.Close()
		}()
		return out
	}
}

// A relay that keeps sending packets of its own cannot hold on to a connection:
// once its peer has left the circuit as well, the connection stays on its
// direct path, and the circuit ends.
func TestNoiseInTheCircuit(t *testing.T) {
	t.Parallel()
	n := newPatientNodes(t, true, 2*time.Second)
	var on atomic.Bool
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n.meddle = noise(ctx, &on)
	ours, theirs := n.dial(t)
	l := n.la.running().lanes.at(ours.remote())
	on.Store(true)
	require.Eventually(t, func() bool { return ours.move(t.Context(), n.direct()) == nil }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { return l.settling.Load() == 0 }, time.Minute, time.Millisecond)
	require.False(t, ours.Relayed() || theirs.Relayed())
	select {
	case <-l.link.Done():
	case <-time.After(time.Minute):
		require.Fail(t, "the circuit was kept")
	}
}
