package away

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/pb"
	stock "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/bench/transport"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/token"
)

const (
	buffer    = 32 << 10 // buffer of a circuit at our server, in bytes
	mostNodes = 4096
	port      = 7374
)

// A serverConfig tells [TestServer] which relay to be.
type serverConfig struct {
	Stock  bool // go-libp2p's relay, otherwise ours
	Buffer int  // buffer of a circuit; 0: the default
	Port   int
}

// A relayEntry is a relay with its address.
type relayEntry struct {
	Identity string
	Addr     string
}

// A usage is the resources that a process has used, and those that it holds.
type usage struct {
	CPU        time.Duration
	Looked     time.Duration // CPU time that the look itself has taken
	Heap       float64       // in bytes, after garbage collection
	Stacks     float64
	Resident   float64
	Goroutines float64
}

// A bill is the number of bytes that a relay of ours has charged when it ends,
// and the number that go-libp2p's part of it has counted.
type bill struct{ Charged, Relayed int64 }

type none struct{}

// This is the account of all nodes.
var (
	issuer  = must(identity.FromSeed([]byte("issuer issuer issuer issuer issu")))
	account = uuid.UUID{19}
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestServer is not a test but a program: a relay.
func TestServer(t *testing.T) {
	var cfg serverConfig
	console := netlab.Program(t, &cfg)
	if cfg.Stock {
		serveStock(t, console, cfg)
	} else {
		serveOurs(t, console, cfg)
	}
	netlab.Handle(console, "usage", func(collect bool) (usage, error) { return look(collect), nil })
	console.Serve()
}

func serveOurs(t *testing.T, console *netlab.Console, cfg serverConfig) {
	ledger := server.NewMemoryLedger(server.Monthly)
	s, err := server.New(server.Config{
		Identity: identity.New(), Listen: []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(cfg.Port))},
		Trusted: func(id identity.RemoteIdentity) bool { return id == issuer.Remote() },
		Ledger:  ledger,
		Limits: server.Limits{
			Reservations: mostNodes, ReservationsPerIP: mostNodes, Strangers: mostNodes, AccountReservations: mostNodes,
			AccountCircuits: mostNodes, AccountConnects: mostNodes, Rate: -1, Quota: -1, Buffer: cfg.Buffer, Leave: -1,
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	console.Tell("started", s.Identity().String())
	netlab.Handle(console, "bill", func(none) (b bill, err error) {
		if err := s.Close(); err != nil {
			return b, err
		}
		if b.Relayed, err = relayed(s); err != nil {
			return b, err
		}
		b.Charged, err = ledger.Used(context.Background(), token.Account{Issuer: issuer.Remote(), Number: account}, 0)
		return b, err
	})
}

// relayed returns the number of bytes that go-libp2p's relay, inside ours, has
// reported to its metrics.
func relayed(s *server.Server) (n int64, err error) {
	page := httptest.NewRecorder()
	s.Metrics().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(page.Body.String()) {
		if v, ok := strings.CutPrefix(line, "sdp2p_relay_relayed_bytes_total "); ok {
			return strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		}
	}
	return 0, errors.New("the metrics do not say what was relayed")
}

// serveStock runs go-libp2p's relay on a host as libp2p.New makes it, with the
// same limits as ours.
func serveStock(t *testing.T, console *netlab.Console, cfg serverConfig) {
	h, err := transport.Unlimited(fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", cfg.Port), nil)
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	resources := stock.DefaultResources()
	resources.Limit = nil
	resources.MaxReservations, resources.MaxReservationsPerIP, resources.MaxReservationsPerASN = mostNodes, mostNodes, mostNodes
	resources.MaxCircuits = mostNodes
	if cfg.Buffer > 0 {
		resources.BufferSize = cfg.Buffer
	}
	r, err := stock.New(h, stock.WithResources(resources), stock.WithMetricsTracer(&tracer{}))
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	id, err := identityOf(h.ID())
	require.NoError(t, err)
	console.Tell("started", id.String())
}

// A tracer counts bytes like that of go-libp2p's metrics.
type tracer struct{ bytes atomic.Int64 }

func (*tracer) RelayStatus(bool)                    {}
func (*tracer) ConnectionOpened()                   {}
func (*tracer) ConnectionClosed(time.Duration)      {}
func (*tracer) ConnectionRequestHandled(pb.Status)  {}
func (*tracer) ReservationAllowed(bool)             {}
func (*tracer) ReservationClosed(int)               {}
func (*tracer) ReservationRequestHandled(pb.Status) {}
func (c *tracer) BytesTransferred(n int)            { c.bytes.Add(int64(n)) }

func identityOf(p peer.ID) (identity.RemoteIdentity, error) {
	key, err := p.ExtractPublicKey()
	if err != nil {
		return identity.RemoteIdentity{}, err
	}
	b, err := key.Raw()
	if err != nil {
		return identity.RemoteIdentity{}, err
	}
	return identity.FromBytes(b)
}

// look returns the resources that this process has used.
func look(collect bool) (u usage) {
	u.CPU = used()
	if collect {
		for range 3 { // a sync.Pool keeps its contents for one collection
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		u.Heap, u.Stacks, u.Goroutines = float64(m.HeapAlloc), float64(m.StackInuse), float64(runtime.NumGoroutine())
		u.Resident = resident()
	}
	u.Looked = used()
	return u
}

// used returns the CPU time of this process so far.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident returns the bytes of memory that the system has given this process.
func resident() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages float64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize())
}

// A relayProcess is a relay that runs on a host.
type relayProcess struct {
	*netlab.Process
	relayEntry
}

// startRelay starts a relay at an address of a host.
func startRelay(t *testing.T, h *netlab.Host, at netip.Addr, cfg serverConfig) *relayProcess {
	t.Helper()
	p := h.StartProgram(t, "TestServer", cfg)
	id := p.Await(time.Time{}, "started").About[0]
	return &relayProcess{p, relayEntry{id, netip.AddrPortFrom(at, uint16(cfg.Port)).String()}}
}

func (r *relayProcess) usage(t *testing.T, collect bool) usage {
	t.Helper()
	u, err := netlab.Call[usage](r.Process, "usage", collect)
	require.NoError(t, err)
	return u
}
