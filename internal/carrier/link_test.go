package carrier

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
)

// pipe returns the two ends of a circuit: a TCP connection on loopback, which
// buffers unread bytes like a relay.
func pipe(t testing.TB) (a, b net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	b, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// linked returns two Sockets, each with a link, and a circuit between the
// links.
func linked(t testing.TB) (a, b *Socket, ofA, ofB *Link) {
	a, b = New(listenUDP(t), Config{}), New(listenUDP(t), Config{})
	t.Cleanup(func() { a.Close(); b.Close() })
	ofA, ofB = a.Link(1), b.Link(1)
	one, other := pipe(t)
	ofA.Carry(one)
	ofB.Carry(other)
	return a, b, ofA, ofB
}

// A connection runs through a circuit, also in writes of several packets, and
// goes on over another circuit when the first one ends.
func TestLink(t *testing.T) {
	a, b, ofA, ofB := linked(t)
	serveEcho(t, transport(t, b))
	k := dial(t, transport(t, a), ofA.Addr())
	require.Equal(t, ofA.Addr(), netip.MustParseAddrPort(k.conn.RemoteAddr().String()))
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for range 3 {
		k.echo()
		go func() { _, _ = k.stream.Write(big) }()
		back := make([]byte, len(big))
		_, err := io.ReadFull(k.stream, back)
		require.NoError(t, err)
		require.True(t, bytes.Equal(big, back))

		one, other := pipe(t)
		ended := ofA.Carry(one)
		ofB.Close()
		ofB = b.Link(1) // the accepting side sees a peer at another address
		ofB.Carry(other)
		select {
		case <-ended:
			t.Fatal("the new circuit has ended")
		default:
		}
	}
	require.NoError(t, a.Close())
	<-ofA.Done()
}

// Packets from the network with a source address that no host can have are
// dropped, in each form in which the system may give the address.
func TestVirtualFromNetwork(t *testing.T) {
	for _, ip := range []string{"240.0.0.1", "::ffff:240.0.0.1", "::ffff:255.0.0.1", "100::1"} {
		from := &net.UDPAddr{IP: net.ParseIP(ip), Port: 1}
		require.True(t, isVirtual(from), ip)
		require.True(t, isVirtual(&net.UDPAddr{IP: netip.MustParseAddr(ip).AsSlice()}), ip)
		require.True(t, IsVirtual(netip.MustParseAddr(ip)), ip)
		all := []ipv4.Message{{N: 9, Addr: from}, {N: 9, Addr: there}}
		dropVirtual(all)
		require.Equal(t, []int{0, 9}, []int{all[0].N, all[1].N}, ip)
	}
	for _, ip := range []string{"239.255.255.255", "::ffff:192.0.2.1", "100:0:0:1::1", "1::", "2001:db8::f0f0:1", "::240.0.0.1"} {
		require.False(t, IsVirtual(netip.MustParseAddr(ip)), ip)
		require.False(t, isVirtual(&net.UDPAddr{IP: net.ParseIP(ip)}), ip)
	}
}

// frames returns packets in the form in which a circuit carries them.
func frames(all ...[]byte) (b []byte) {
	for _, p := range all {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	return b
}

// alwaysReadable returns a fake that always has packets from a host.
func alwaysReadable() *fake {
	f := newFake()
	f.read = func() error { return nil }
	return f
}

// A circuit that is kept full leaves their turns to packets from the system and
// to other circuits.
func TestTurns(t *testing.T) {
	s := newBench(t, alwaysReadable())
	greedy, modest := s.Link(1), s.Link(1)
	for l, n := range map[*Link]int{greedy: 4000, modest: 20} {
		l.Carry(&rw{r: bytes.NewReader(nil), endless: frames([]byte("x")), times: n, closed: make(chan struct{})})
	}
	got := map[string]int{}
	for s.injected.queued.Load() < maxQueued+20 { // until greedy is full and modest complete
		runtime.Gosched()
	}
	for range 400 {
		all := make([]ipv4.Message, 1)
		all[0].Buffers = [][]byte{make([]byte, 1500)}
		n, err := s.ReadBatch(all, 0)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		switch all[0].Addr {
		case greedy.udp:
			got["greedy"]++
		case modest.udp:
			got["modest"]++
		default:
			got["system"]++
		}
	}
	require.GreaterOrEqual(t, got["system"], 199, got)
	require.Equal(t, 20, got["modest"], got)
}

// An rw is a circuit that brings the same bytes a number of times, and then
// nothing.
type rw struct {
	r       *bytes.Reader
	endless []byte
	times   int
	closed  chan struct{}
}

func (r *rw) Read(b []byte) (int, error) {
	if r.r.Len() == 0 {
		if r.times == 0 {
			<-r.closed
			return 0, io.EOF
		}
		r.times--
		r.r.Reset(r.endless)
	}
	return r.r.Read(b)
}

func (r *rw) Write(b []byte) (int, error) { return len(b), nil }
func (r *rw) Close() error                { close(r.closed); return nil }

// A packet from a circuit wakes a reader that waits for the system; the owner's
// deadline still applies.
func TestWake(t *testing.T) {
	a, b, ofA, ofB := linked(t)
	require.NoError(t, b.SetReadDeadline(time.Now().Add(time.Hour)))
	for range 200 {
		packet := make([]byte, 100)
		type read struct {
			n    int
			from net.Addr
			err  error
		}
		done := make(chan read, 1)
		go func() {
			n, from, err := b.ReadFrom(packet)
			done <- read{n, from, err}
		}()
		_, err := a.WriteTo([]byte("hello"), ofA.udp)
		require.NoError(t, err)
		require.Equal(t, read{5, ofB.udp, nil}, <-done)
		require.Equal(t, "hello", string(packet[:5]))
	}
	require.NoError(t, b.SetReadDeadline(time.Now()))
	_, _, err := b.ReadFrom(make([]byte, 9))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// A circuit whose other end is not read takes a limited amount, and then
// packets are lost. A circuit whose packets are not read waits.
func TestFullCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, newFake())
		l := s.Link(1)
		mine, theirs := net.Pipe()
		defer theirs.Close()
		l.Carry(mine)
		for range 1000 {
			_, _, err := s.WriteMsgUDP(make([]byte, 1400), nil, l.udp)
			require.NoError(t, err)
			synctest.Wait()
		}
		l.circuit.mu.Lock()
		require.LessOrEqual(t, len(l.circuit.pending), maxPending)
		require.Greater(t, len(l.circuit.pending), maxPending-1500)
		l.circuit.mu.Unlock()

		written := 0
		go func() {
			for {
				if _, err := theirs.Write(frames(make([]byte, 1000))); err != nil {
					return
				}
				written++
			}
		}()
		synctest.Wait()
		require.LessOrEqual(t, written, maxQueued+(32<<10)/1000+2)
		require.EqualValues(t, maxQueued, s.injected.queued.Load())
		l.Close()
		synctest.Wait()
		require.Zero(t, s.injected.queued.Load())
	})
}

// An idle circuit keeps little of the memory that a burst has taken; a circuit
// in use keeps it, and allocates no more.
func TestAfterBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, newFake())
		l := s.Link(1)
		mine, theirs := net.Pipe()
		l.Carry(mine)
		send := func(n int) {
			for range n {
				_, _, err := s.WriteMsgUDP(make([]byte, 1400), nil, l.udp)
				require.NoError(t, err)
			}
		}
		send(1)
		synctest.Wait() // the packet is being written
		send(1000)
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		synctest.Wait()
		kept := func() int {
			l.circuit.mu.Lock()
			defer l.circuit.mu.Unlock()
			return cap(l.circuit.pending)
		}
		for range 2 { // one of the two buffers, which take turns, is large
			large := kept()
			send(1)
			synctest.Wait()
			require.Greater(t, max(large, kept()), maxSpare)
			time.Sleep(idleAfter / 2)
		}
		time.Sleep(idleAfter)
		for range 3 {
			synctest.Wait()
			require.LessOrEqual(t, kept(), maxSpare)
			send(1)
		}
		l.Close()
	})
}

// Bytes that are not a frame end the circuit; a packet longer than the limit is
// skipped.
func TestFrames(t *testing.T) {
	for name, c := range map[string]struct {
		sent []byte
		got  int
	}{
		"empty":     {frames([]byte("a"), nil, []byte("b")), 1},
		"too long":  {frames([]byte("a"), make([]byte, MaxFrame+1), []byte("b")), 1},
		"cut":       {frames([]byte("a"), []byte("bb"))[:6], 1},
		"no packet": {frames([]byte("a"), make([]byte, maxPacket+1), []byte("b")), 2},
		"largest":   {frames(make([]byte, maxPacket)), 1},
		"nothing":   {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newBench(t, newFake())
			l := s.Link(1)
			ended := l.Carry(&rwOnce{bytes.NewReader(c.sent)})
			<-ended
			require.EqualValues(t, c.got, s.injected.queued.Load())
		})
	}
}

type rwOnce struct{ *bytes.Reader }

func (rwOnce) Write(b []byte) (int, error) { return len(b), nil }
func (rwOnce) Close() error                { return nil }

// FuzzFrames lets circuits bring arbitrary bytes.
func FuzzFrames(f *testing.F) {
	f.Add(frames([]byte("a"), make([]byte, MaxFrame)))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if len(sent) > 3*maxQueued {
			return // so that nothing blocks
		}
		s := New(listenUDP(t), Config{})
		defer s.Close()
		l := s.Link(1)
		<-l.Carry(&rwOnce{bytes.NewReader(sent)})
		for p := s.injected.take(); p != nil; p = s.injected.take() {
			require.Positive(t, p.n)
			p.free()
		}
	})
}

// While a Link is held, none of its packets arrives, and after that all of them
// do; packets of other Links always arrive.
func TestHold(t *testing.T) {
	s := New(listenUDP(t), Config{})
	t.Cleanup(func() { s.Close() })
	var links [2]*Link
	var far [2]net.Conn
	for i := range links {
		var near net.Conn
		near, far[i] = pipe(t)
		links[i] = s.Link(1)
		links[i].Carry(near)
	}
	arrived := make(chan string, 16)
	go func() {
		for b := make([]byte, MaxFrame); ; {
			n, _, err := s.ReadFrom(b)
			if err != nil {
				return
			}
			arrived <- string(b[:n])
		}
	}()
	bring := func(i int, what string) {
		_, err := far[i].Write(frames([]byte(what)))
		require.NoError(t, err)
	}
	bring(0, "before")
	require.Equal(t, "before", <-arrived)
	for range 10 {
		release := links[0].Hold()
		bring(0, "held")
		for range 10 {
			bring(1, "another's")
			require.Equal(t, "another's", <-arrived)
		}
		release()
		require.Equal(t, "held", <-arrived)
	}
}
