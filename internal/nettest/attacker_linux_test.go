package nettest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
)

// lineRate is the rate of an attacking host, in bytes a second, including
// headers.
const lineRate = 2_000_000

// An attackConfig tells an attacker what to do ([attacks]).
type attackConfig struct {
	Mode       string
	Target     netip.AddrPort
	Identities int           // number of its identities
	Streams    int           // number for each connection
	AtOnce     int           // number of simultaneous handshakes
	Return     time.Duration // pause after a lost connection
	Seed       []byte        // seed of a single identity; nil: fresh ones
	Prefix     netip.Prefix  // prefix of its addresses
	Lasts      time.Duration
}

// attackCounts tell what an attacker has done: passing a test is worth nothing
// if there was no attack.
type attackCounts struct {
	Packets, Bytes     int64 // sent, including headers
	Handshakes, Failed int64 // completed or begun; and failed ones
	Up                 int64 // open connections
	Streams            int64 // opened streams
	Payload            int64 // bytes written to streams
	Heard              int64 // bytes of metadata received
	Retries            int64 // Retry packets of the victim that were answered
	LastError          string
}

// An attacker is a client of QUIC with libp2p's TLS that breaks the rules.
type attacker struct {
	cfg     attackConfig
	t       testing.TB
	console *netlab.Console
	line    *line
	tr      *quic.Transport
	ids     []*stranger

	handshakes, failed, up, streams, payload, heard, retries atomic.Int64

	last atomic.Pointer[error]
}

// TestAttacker is not a test but a program that the others run on a host.
func TestAttacker(t *testing.T) {
	var cfg attackConfig
	console := netlab.Program(t, &cfg)
	// In reality, an attacker has processors of its own: here it yields to its
	// victims.
	require.NoError(t, syscall.Setpriority(syscall.PRIO_PROCESS, 0, 10))
	a := &attacker{cfg: cfg, t: t, console: console, line: &line{rate: lineRate}}
	u, err := net.ListenUDP("udp4", nil)
	require.NoError(t, err)
	defer u.Close()
	a.line.PacketConn = u
	a.tr = &quic.Transport{Conn: a.line}
	for range max(cfg.Identities, 1) {
		a.ids = append(a.ids, newStranger(t, cfg.Seed))
	}
	netlab.Handle(console, "counts", func(none) (attackCounts, error) { return a.counts(), nil })
	attack := attacks[cfg.Mode]
	require.NotNil(t, attack, cfg.Mode)
	ctx, cancel := context.WithTimeout(context.Background(), cfg.Lasts)
	defer cancel()
	console.Tell("attacking")
	var done sync.WaitGroup
	done.Go(func() { attack(ctx, a) })
	console.Serve()
	cancel()
	a.tr.Close()
	u.Close()
	done.Wait()
}

func (a *attacker) counts() attackCounts {
	c := attackCounts{
		Packets: a.line.packets.Load(), Bytes: a.line.bytes.Load(), Handshakes: a.handshakes.Load(), Failed: a.failed.Load(),
		Up: a.up.Load(), Streams: a.streams.Load(), Payload: a.payload.Load(), Heard: a.heard.Load(), Retries: a.retries.Load(),
	}
	if err := a.last.Load(); err != nil {
		c.LastError = (*err).Error()
	}
	return c
}

func (a *attacker) fail(err error) {
	if err != nil {
		a.last.Store(&err)
	}
}

// A line limits the rate of sending.
type line struct {
	net.PacketConn
	rate           int
	packets, bytes atomic.Int64

	mu   sync.Mutex
	free time.Time // when everything sent so far has left
}

// headers is the number of bytes that IPv4 and UDP add to a datagram.
const headers = 28

func (l *line) WriteTo(b []byte, to net.Addr) (int, error) {
	l.wait(len(b) + headers)
	return l.PacketConn.WriteTo(b, to)
}

// wait counts a packet and waits for its turn.
func (l *line) wait(size int) {
	const ahead = 50 * time.Millisecond // how much of a pause may be made up for
	l.mu.Lock()
	if early := time.Now().Add(-ahead); l.free.Before(early) {
		l.free = early
	}
	l.free = l.free.Add(time.Duration(size) * time.Second / time.Duration(l.rate))
	pause := time.Until(l.free)
	l.mu.Unlock()
	l.packets.Add(1)
	l.bytes.Add(int64(size))
	time.Sleep(pause)
}

// A stranger is one of the attacker's identities.
type stranger struct {
	id  identity.Identity
	tls *libp2ptls.Identity
}

func newStranger(t testing.TB, seed []byte) *stranger {
	if seed == nil {
		seed = make([]byte, identity.SeedSize)
		_, err := rand.Read(seed)
		require.NoError(t, err)
	}
	s := &stranger{}
	var err error
	s.id, err = identity.FromSeed(seed)
	require.NoError(t, err)
	key, err := crypto.UnmarshalEd25519PrivateKey(s.id.PrivateKey())
	require.NoError(t, err)
	s.tls, err = libp2ptls.NewIdentity(key)
	require.NoError(t, err)
	return s
}

func (s *stranger) config() *tls.Config {
	c, _ := s.tls.ConfigForPeer("")
	c.NextProtos = []string{"libp2p"}
	c.CurvePreferences = []tls.CurveID{tls.X25519} // so that the first flight fits in one packet
	return c
}

func quicConfig() *quic.Config {
	return &quic.Config{
		MaxIdleTimeout: 2 * time.Minute, KeepAlivePeriod: 5 * time.Second, EnableDatagrams: true,
		Versions: []quic.Version{quic.Version1}, MaxIncomingStreams: 1000, InitialPacketSize: 1200,
	}
}

// dial connects, and answers the victim's streams. It reads no more than it has
// to.
func (a *attacker) dial(ctx context.Context, s *stranger, cfg *quic.Config) (*quic.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	c, err := a.tr.Dial(ctx, net.UDPAddrFromAddrPort(a.cfg.Target), s.config(), cfg)
	if err != nil {
		a.failed.Add(1)
		a.fail(err)
		return nil, err
	}
	a.handshakes.Add(1)
	a.up.Add(1)
	go func() {
		defer a.up.Add(-1)
		for {
			stream, err := c.AcceptStream(context.Background())
			if err != nil {
				a.fail(err)
				return
			}
			go a.serve(stream)
		}
	}()
	return c, nil
}

// serve answers the victim's metadata stream like a node of version 2.
func (a *attacker) serve(s *quic.Stream) {
	b := make([]byte, 4096)
	want := len(selecting("/sdp2p/2/meta"))
	n, err := io.ReadAtLeast(s, b, want)
	if err != nil || !strings.Contains(string(b[:n]), "/meta") {
		return
	}
	_, _ = s.Write([]byte(selecting("/sdp2p/2/meta")))
	for told := b[want:n]; ; told = b[:n] {
		if len(told) > 0 {
			a.heard.Add(int64(len(told)))
			if a.cfg.Mode == "told" {
				a.console.Tell("told", fmt.Sprintf("%q", told))
			}
		}
		if n, err = s.Read(b); n == 0 && err != nil {
			return
		}
	}
}

// selecting returns the first bytes of a multistream-select client.
func selecting(protocol string) string {
	return "\x13/multistream/1.0.0\n" + string(rune(len(protocol)+1)) + protocol + "\n"
}

// open opens a stream with a protocol, and writes the first bytes after it.
func (a *attacker) open(ctx context.Context, c *quic.Conn, protocol string, more []byte) (*quic.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	_, err = s.Write(append([]byte(selecting(protocol)), more...))
	a.streams.Add(1)
	return s, err
}

func route(name string) []byte { return append([]byte{byte(len(name))}, name...) }

// startAttack starts an attacker.
func startAttack(t testing.TB, h *netlab.Host, cfg attackConfig) *netlab.Process {
	t.Helper()
	p := h.StartProgram(t, "TestAttacker", cfg)
	p.Await(time.Time{}, "attacking")
	return p
}

// counted returns an attacker's counts so far.
func counted(t testing.TB, p *netlab.Process) attackCounts {
	t.Helper()
	c, err := netlab.Call[attackCounts](p, "counts", none{})
	require.NoError(t, err)
	return c
}
