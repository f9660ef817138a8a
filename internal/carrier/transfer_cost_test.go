package carrier

import (
	"io"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
)

// Sending and receiving without errors allocates no more than the system's
// socket itself.
func TestAllocations(t *testing.T) {
	f := newFake()
	f.read = func() error { f.reads = f.reads[:0]; return nil }
	s := newBench(t, f)
	w := s.Way(there.AddrPort())
	b, oob := make([]byte, 1200), make([]byte, 64)
	all := make([]ipv4.Message, 8)
	calls := map[string]func(){
		"WriteMsgUDP":     func() { _, _, _ = s.WriteMsgUDP(b, oob, there) },
		"WriteTo":         func() { _, _ = s.WriteTo(b, there) },
		"Way.WriteMsgUDP": func() { _, _, _ = w.WriteMsgUDP(b, oob, there) },
		"ReadBatch":       func() { _, _ = s.ReadBatch(all, 0) },
		"ReadFrom":        func() { _, _, _ = s.ReadFrom(b) },
	}
	for name, f := range calls {
		require.Zero(t, testing.AllocsPerRun(1000, f), name)
	}
	_, ok := s.Redirect(there.AddrPort(), here.AddrPort())
	require.True(t, ok)
	require.Zero(t, testing.AllocsPerRun(1000, calls["WriteMsgUDP"]), "also with redirected addresses")
}

// With real sockets, the allocations are those of the bare socket.
func TestAllocationsOfSystem(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this system reads packets one by one")
	}
	bare, on := newUDP(listenUDP(t)), New(listenUDP(t), Config{})
	defer on.Close()
	message := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1500)}, OOB: make([]byte, 128)}}
	b := make([]byte, 1200)
	allocs := func(k kernel) float64 {
		const runs = 2000
		to := net.UDPAddrFromAddrPort(at(k))
		n := 1e9
		for range 5 { // allocations of other tests may count, too
			n = min(n, testing.AllocsPerRun(1, func() {
				for range runs {
					if _, _, err := k.WriteMsgUDP(b, nil, to); err != nil {
						panic(err)
					}
					if _, err := k.ReadBatch(message, 0); err != nil {
						panic(err)
					}
				}
			})/runs)
		}
		return n
	}
	// With the race detector, a sync.Pool forgets one entry of four at random.
	require.InDelta(t, allocs(bare), allocs(on), 0.5)
}

// bulk makes a connection between two sockets. It returns a function that sends
// bytes over it and waits until they have arrived, and a function that counts
// the lost packets.
func bulk(b *testing.B, callee, dialer net.PacketConn) (send func(bytes int64), lost func() uint64) {
	listener, err := transport(b, callee).Listen(serverTLS(b), nil)
	require.NoError(b, err)
	received := make(chan int64)
	go func() {
		conn, err := listener.Accept(b.Context())
		if err != nil {
			return
		}
		for {
			s, err := conn.AcceptUniStream(b.Context())
			if err != nil {
				return
			}
			n, _ := io.Copy(io.Discard, onlyReader{s})
			received <- n
		}
	}()
	conn, err := transport(b, dialer).Dial(b.Context(), net.UDPAddrFromAddrPort(at(callee)), clientTLS, &quicgo.Config{})
	require.NoError(b, err)
	part := make([]byte, 64<<10)
	return func(bytes int64) {
		s, err := conn.OpenUniStream()
		require.NoError(b, err)
		for sent := int64(0); sent < bytes; sent += int64(len(part)) {
			_, err := s.Write(part)
			require.NoError(b, err)
		}
		require.NoError(b, s.Close())
		require.Equal(b, bytes, <-received)
	}, func() uint64 { return conn.ConnectionStats().PacketsLost }
}

// An onlyReader hides its other methods, one of which io.Copy would use.
type onlyReader struct{ io.Reader }

// BenchmarkBulk sends 16 MiB over QUIC with bare sockets and with Sockets at
// both ends, in turns, so that other work of the computer affects both. The
// share is the throughput with Sockets divided by the other, as the median of
// all turns; lost is the number of packets lost for each 16 MiB, although the
// path loses none.
func BenchmarkBulk(b *testing.B) {
	const size = 16 << 20
	calleeOn, dialerOn := New(listenUDP(b), Config{}), New(listenUDP(b), Config{})
	b.Cleanup(func() { calleeOn.Close(); dialerOn.Close() })
	bare, lostBare := bulk(b, listenUDP(b), listenUDP(b))
	on, lostOn := bulk(b, calleeOn, dialerOn)
	ways := [2]func(int64){bare, on}
	for _, send := range ways { // until the windows have grown
		send(4 * size)
	}
	var shares []float64
	before, beforeOn := lostBare(), lostOn()
	b.SetBytes(2 * size)
	for i := 0; b.Loop(); i++ {
		var took [2]time.Duration
		for j := range ways {
			n := (i + j) % 2
			began := time.Now()
			ways[n](size)
			took[n] = time.Since(began)
		}
		shares = append(shares, took[0].Seconds()/took[1].Seconds())
	}
	b.ReportMetric(float64(lostBare()-before)/float64(b.N), "lost-bare")
	b.ReportMetric(float64(lostOn()-beforeOn)/float64(b.N), "lost")
	slices.Sort(shares)
	b.ReportMetric(shares[len(shares)/2], "share")
}
