package transport

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/bench/report"
	"github.com/sdp2p/p2p/quic"
)

const scaleNote = `
Connections: nodes of this process that all connect with each other over QUIC on loopback, so that both ends of each connection are
here. What an end keeps is measured after a collection, compared with the same nodes before they were connected. The time
to the first byte is that of a new connection with an exchange of a byte, one after the other; the median of the last hundred.

Streams: so many on one connection at a time, of which each is opened, exchanges a byte, and is closed, over and over. What a
stream keeps is measured while all are open, or 200 of them, at both ends. QUIC allows 256 on a connection; the next one waits.
`

// Scale measures what connections and streams cost, against how many there are.
func Scale(ctx context.Context, short bool) (report.Table, error) {
	meshes := []int{2, 5, 15, 46, 64} // which are 1, 10, 105, 1035 and 2016 connections
	if short {
		meshes = meshes[:3]
	}
	t := report.Table{
		Title: "Scaling of connections and streams", Note: scaleNote,
		Columns: []string{"what", "number", "heap of an end", "goroutines of an end", "to the first byte", "an exchange"},
	}
	kept := &report.Curve{Name: "heap of an end of a connection, KiB"}
	first := &report.Curve{Name: "to the first byte of a connection, µs"}
	rate := &report.Curve{Name: "an exchange, number of streams at a time, µs"}
	add := func(c *report.Curve, x int, y float64) {
		c.X, c.Y = append(c.X, float64(x)), append(c.Y, y)
	}
	for _, nodes := range meshes {
		m, err := mesh(ctx, nodes)
		if err != nil {
			return t, fmt.Errorf("%d nodes: %w", nodes, err)
		}
		t.Rows = append(t.Rows, []string{"connections", fmt.Sprint(m.connections), fmt.Sprintf("%.1f KiB", m.heap),
			fmt.Sprintf("%.1f", m.goroutines), fmt.Sprintf("%.0f µs", m.first.Median()), "–"})
		add(kept, m.connections, m.heap)
		add(first, m.connections, m.first.Median())
	}
	for n := 1; n <= 256; n *= 4 {
		heap, took, err := atATime(ctx, n, short)
		if err != nil {
			return t, fmt.Errorf("%d streams: %w", n, err)
		}
		each := "–"
		if n >= 16 { // of fewer, nothing is to be seen beside all else
			each = fmt.Sprintf("%.1f KiB", heap)
		}
		t.Rows = append(t.Rows, []string{"streams at a time", fmt.Sprint(n), each, "–", "–", fmt.Sprintf("%.1f µs", took.Median())})
		add(rate, n, took.Median())
	}
	t.Plots = []report.Plot{{
		Name: "scaling-connections", Title: "What a connection or a stream costs", X: "how many there are", Y: "KiB, or µs",
		Curves: []*report.Curve{kept, first, rate},
	}}
	return t, nil
}

// unlimited starts a node without limits that only a test reaches.
func unlimited(ctx context.Context) (*node, *p2p.Scope, error) {
	n := &node{listener: quic.New(quic.Config{Limits: quic.Limits{Connections: -1, ConnectionsPerPeer: -1, Strangers: -1, StrangersPerAddr: -1, StrangersPerNet: -1, StrangerIdle: -1, Memory: -1, StrangerMemory: -1}}), book: &book{make(chan *p2p.Scope, 1)}}
	var err error
	n.P2P, err = p2p.Start(ctx, p2p.Config{
		App: "bench", Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error { return serve(s) }),
		MaxStreamsPerPeer: -1, MaxStreams: -1, MaxStrangerStreams: -1, Logger: slog.New(slog.DiscardHandler), Hooks: []p2p.Hook{n.listener, n.book},
	})
	if err != nil {
		return nil, nil, err
	}
	return n, <-n.book.scope, nil
}

// meet returns what a node opens streams to another one with.
func meet(n *node, scope *p2p.Scope, id identity.RemoteIdentity, addr netip.AddrPort) (*ourDialer, error) {
	if err := scope.Discovered(id, nil, []p2p.Candidate{{Kind: p2p.Direct, Addr: addr, Version: 2}}); err != nil {
		return nil, err
	}
	peer, ok := n.Peer(id)
	if !ok {
		return nil, fmt.Errorf("%v was discovered and is not known", id)
	}
	return &ourDialer{node: n, peer: peer}, nil
}

type meshed struct {
	connections      int
	heap, goroutines float64 // KiB and number, of an end
	first            report.Sample
}

// mesh connects nodes with each other.
func mesh(ctx context.Context, size int) (m meshed, err error) {
	var all []*node
	var scopes []*p2p.Scope
	defer func() {
		for _, n := range all {
			n.close()
		}
	}()
	for range size {
		n, scope, err := unlimited(ctx)
		if err != nil {
			return m, err
		}
		all, scopes = append(all, n), append(scopes, scope)
	}
	before := weigh()
	for i, n := range all {
		for _, o := range all[:i] {
			d, err := meet(n, scopes[i], o.Identity(), o.addr())
			if err != nil {
				return m, err
			}
			began := time.Now()
			if err := exchange(ctx, d); err != nil {
				return m, err
			}
			m.first = append(m.first, float64(time.Since(began).Microseconds()))
			m.connections++
		}
	}
	m.first = m.first[max(0, len(m.first)-100):]
	if err := pause(ctx, time.Second); err != nil {
		return m, err
	}
	kept := weigh().minus(before)
	m.heap, m.goroutines = kept.heap/1024/float64(2*m.connections), kept.goroutines/float64(2*m.connections)
	return m, nil
}

// mostOpen is how many streams are open at a time without any that waits: QUIC,
// as go-libp2p has it, allows 256 on a connection.
const mostOpen = 200

// atATime measures so many at a time on one connection: KiB of an end, and µs
// for an exchange.
func atATime(ctx context.Context, n int, short bool) (heap float64, took report.Sample, err error) {
	a, scope, err := unlimited(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer a.close()
	b, _, err := unlimited(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer b.close()
	d, err := meet(a, scope, b.Identity(), b.addr())
	if err != nil {
		return 0, nil, err
	}
	if err := exchange(ctx, d); err != nil {
		return 0, nil, err
	}
	if took, err = together(ctx, d, n, short); err != nil {
		return 0, nil, err
	}
	heap, err = keptOpen(ctx, d, min(n, mostOpen))
	return heap, took, err
}

// together measures so many exchanges at a time.
func together(ctx context.Context, d *ourDialer, n int, short bool) (took report.Sample, err error) {
	rounds, times := 7, 4096
	if short {
		rounds, times = 3, 512
	}
	for range rounds {
		began := time.Now()
		errs := make(chan error, n)
		for range n {
			go func() {
				var err error
				for range max(1, times/n) {
					if err = exchange(ctx, d); err != nil {
						break
					}
				}
				errs <- err
			}()
		}
		for range n {
			if err := <-errs; err != nil {
				return nil, err
			}
		}
		took = append(took, float64(time.Since(began).Microseconds())/float64(n*max(1, times/n)))
	}
	return took, nil
}

// keptOpen measures what so many streams keep that are open at a time.
func keptOpen(ctx context.Context, d *ourDialer, n int) (heap float64, err error) {
	before := weigh()
	var opening sync.WaitGroup
	var arrived, end sync.WaitGroup
	end.Add(1)
	arrived.Add(n)
	errs := make(chan error, n)
	for range n {
		opening.Go(func() {
			errs <- func() error {
				s, err := d.open(ctx)
				if err == nil {
					_, err = s.Write([]byte{1}) // the other end has it, and waits for more
				}
				arrived.Done()
				end.Wait()
				if s != nil {
					s.Close()
				}
				return err
			}()
		})
	}
	arrived.Wait()
	err = pause(ctx, 200*time.Millisecond)
	kept := weigh().minus(before)
	end.Done()
	opening.Wait()
	for range n {
		if e := <-errs; e != nil {
			err = e
		}
	}
	return kept.heap / 1024 / float64(2*n), err
}
