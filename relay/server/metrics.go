package server

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/pb"
)

// A counter counts by labels, whose set is bounded.
type counter struct {
	mu sync.Mutex
	by map[string]int64
}

func (c *counter) add(labels string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]int64{}
	}
	c.by[labels]++
}

// metrics are a relay's metrics. It also implements go-libp2p's tracer, which
// counts bytes when they are sent.
type metrics struct {
	started  time.Time
	tokens   counter // by status
	hops     counter // by message, status and reason
	evicted  atomic.Int64
	circuits atomic.Int64 // open
	opened   atomic.Int64
	ended    atomic.Int64
	relayed  atomic.Int64 // bytes

	mu           sync.Mutex
	reservations int64
}

func (m *metrics) start() { m.started = time.Now() }

// RelayStatus is part of go-libp2p's tracer, as the others are.
func (m *metrics) RelayStatus(bool) {}

// ConnectionOpened counts an attempt to make a circuit.
func (m *metrics) ConnectionOpened() { m.opened.Add(1) }

// ConnectionClosed counts the end of a circuit.
func (m *metrics) ConnectionClosed(time.Duration) { m.ended.Add(1) }

// ConnectionRequestHandled is counted by the gate.
func (m *metrics) ConnectionRequestHandled(pb.Status) {}

// ReservationAllowed counts a reservation.
func (m *metrics) ReservationAllowed(renewed bool) {
	if !renewed {
		m.change(1)
	}
}

// ReservationClosed counts reservations that have ended.
func (m *metrics) ReservationClosed(n int) { m.change(int64(-n)) }

func (m *metrics) change(by int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reservations += by
}

// ReservationRequestHandled is counted by the gate.
func (m *metrics) ReservationRequestHandled(pb.Status) {}

// BytesTransferred counts relayed bytes.
func (m *metrics) BytesTransferred(n int) { m.relayed.Add(int64(n)) }

// Metrics returns the page of metrics, in Prometheus' text format.
func (s *Server) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		s.writeMetrics(w)
	})
}

// Health returns a page whose status is 200 while the relay accepts clients,
// and 503 while it leaves.
func (s *Server) Health() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if s.leaving.Load() {
			http.Error(w, "leaving", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	})
}

func (s *Server) writeMetrics(w io.Writer) {
	m := &s.metrics
	all, members := s.sessions.counts()
	accounts := 0
	s.accounts.each(func(*account) { accounts++ })
	m.mu.Lock()
	reservations := m.reservations
	m.mu.Unlock()
	s.treasury.mu.Lock()
	unsettled, away := len(s.treasury.unsettled), s.treasury.now().Before(s.treasury.away)
	s.treasury.mu.Unlock()
	up := 1
	if away {
		up = 0
	}
	write := func(name, kind, help string, v any) {
		fmt.Fprintf(w, "# HELP sdp2p_relay_%[1]s %[2]s\n# TYPE sdp2p_relay_%[1]s %[3]s\nsdp2p_relay_%[1]s %[4]v\n", name, help, kind, v)
	}
	write("start_time_seconds", "gauge", "When the relay was started, in seconds since 1970.", m.started.Unix())
	write("connections", "gauge", "Connections that are open.", all)
	write("members", "gauge", "Nodes that have shown a token or are known.", members)
	write("strangers_evicted_total", "counter", "Connections that were closed since there were too many strangers.", m.evicted.Load())
	write("reservations", "gauge", "Nodes that can be called.", reservations)
	write("circuits", "gauge", "Circuits that are open or being opened.", m.circuits.Load())
	write("circuits_opened_total", "counter", "Circuits of which the callee was asked.", m.opened.Load())
	write("circuits_closed_total", "counter", "Circuits that have ended.", m.ended.Load())
	write("relayed_bytes_total", "counter", "Bytes that have passed, in both directions.", m.relayed.Load())
	write("accounts", "gauge", "Accounts in use.", accounts)
	write("grants_unsettled", "gauge", "Grants that wait for the ledger.", unsettled)
	write("ledger_up", "gauge", "Whether the ledger has answered.", up)
	writeCounter(w, "tokens_total", "Tokens that were shown, by answer.", &m.tokens, "status")
	writeCounter(w, "requests_total", "Requests of clients, by kind and answer of the relay's own checks.", &m.hops, "type", "status", "reason")
}

// writeCounter writes a counter with labels, sorted.
func writeCounter(w io.Writer, name, help string, c *counter, labels ...string) {
	fmt.Fprintf(w, "# HELP sdp2p_relay_%[1]s %[2]s\n# TYPE sdp2p_relay_%[1]s counter\n", name, help)
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	for values, n := range c.by {
		var pairs []string
		for i, v := range strings.Split(values, "\x00") {
			if v != "" {
				pairs = append(pairs, fmt.Sprintf("%s=%q", labels[i], v))
			}
		}
		lines = append(lines, fmt.Sprintf("sdp2p_relay_%s{%s} %d\n", name, strings.Join(pairs, ","), n))
	}
	slices.Sort(lines)
	io.WriteString(w, strings.Join(lines, ""))
}
