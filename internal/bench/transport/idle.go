package transport

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/bench/report"
	"github.com/sdp2p/p2p/mdns"
)

// A footprint is what a process keeps.
type footprint struct{ heap, stacks, goroutines float64 } // bytes, bytes, how many

func (f footprint) minus(g footprint) footprint {
	return footprint{f.heap - g.heap, f.stacks - g.stacks, f.goroutines - g.goroutines}
}

// weigh collects garbage until there is no more of it, and returns what is
// left.
func weigh() footprint {
	for range 3 { // what a sync.Pool keeps survives one, and finalizers make more
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{float64(m.HeapAlloc), float64(m.StackInuse), float64(runtime.NumGoroutine())}
}

// footprints are samples of them.
type footprints struct{ heap, stacks, goroutines report.Sample }

func (f *footprints) add(p footprint, divided, unit float64) {
	f.heap = append(f.heap, p.heap/divided/unit)
	f.stacks = append(f.stacks, p.stacks/divided/unit)
	f.goroutines = append(f.goroutines, p.goroutines/divided)
}

// addAll adds the figures of footprints, of which the first is ours.
func addAll(t *report.Table, what, unit string, digits int, goals footprint, of []transport, all []footprints) {
	var heap, stacks, goroutines []report.Sample
	for _, f := range all {
		heap, stacks, goroutines = append(heap, f.heap), append(stacks, f.stacks), append(goroutines, f.goroutines)
	}
	add(t, report.Figure{What: what + ": heap", Unit: unit, Digits: digits, Goal: goals.heap}, of, heap)
	add(t, report.Figure{What: "… stacks", Unit: unit, Digits: digits}, of, stacks)
	add(t, report.Figure{What: "… goroutines", Digits: 1, Goal: goals.goroutines}, of, goroutines)
}

// connections measures what an end of an idle connection keeps.
func connections(ctx context.Context, t *report.Table, p plan) error {
	of := []transport{ours(), raw(), hosts()}
	all := make([]footprints, len(of))
	for range p.memory {
		for i, tr := range of {
			f, err := idleConnections(ctx, tr, p)
			if err != nil {
				return fmt.Errorf("%s: %w", tr.name, err)
			}
			all[i].add(f, 2*float64(p.connections), 1<<10)
		}
	}
	addAll(t, "an end of an idle connection", "KiB", 1, footprint{heap: connectionHeap}, of, all)
	return nil
}

// idleConnections returns what a number of connections keep, at both ends.
func idleConnections(ctx context.Context, tr transport, p plan) (f footprint, err error) {
	ctx, cancel := within(ctx)
	defer cancel()
	l, err := tr.listen(ctx)
	if err != nil {
		return f, err
	}
	defer l.close()
	var all []dialer
	defer func() {
		for _, d := range all {
			defer d.close()
		}
	}()
	for range p.connections + 1 {
		d, err := l.dialer(ctx, l.addr())
		if err != nil {
			return f, err
		}
		all = append(all, d)
	}
	defer context.AfterFunc(ctx, func() {
		for _, d := range all {
			d.close()
		}
	})()
	if err := exchange(ctx, all[0]); err != nil { // what is kept for all connections
		return f, err
	}
	if err := pause(ctx, p.settle/2); err != nil {
		return f, err
	}
	before := weigh()
	for _, d := range all[1:] {
		if err := exchange(ctx, d); err != nil {
			return f, err
		}
	}
	if err := pause(ctx, p.settle/2); err != nil {
		return f, err
	}
	f = weigh().minus(before)
	runtime.KeepAlive(all)
	return f, nil
}

// nodes measures what an idle node keeps, and how long it takes to start.
func nodes(ctx context.Context, t *report.Table, p plan) error {
	lo, err := loopback()
	if err != nil {
		return err
	}
	const both, alone, theirs = 0, 1, 2
	m := starting{
		starts: []func(context.Context) (end func(), err error){
			both:   nodeStart(func() []p2p.Hook { return []p2p.Hook{mdns.New(mdns.Config{Interfaces: []string{lo}})} }),
			alone:  nodeStart(func() []p2p.Hook { return nil }),
			theirs: hostStart,
		},
	}
	if err := m.measure(ctx, p); err != nil {
		return err
	}
	nobody := []transport{{name: "SDK"}, {}}
	addAll(t, "an idle node, QUIC and Multicast DNS", "MiB", 2, footprint{heap: nodeHeap, goroutines: nodeGoroutines}, nobody,
		[]footprints{m.kept[both], {}})
	of := []transport{ours(), hosts()}
	addAll(t, "an idle node, QUIC alone", "MiB", 2, footprint{}, of, m.kept[alone:])
	f := report.Figure{What: "start a node until it listens, QUIC and Multicast DNS", Unit: "ms", Digits: 1, Goal: startTime}
	add(t, f, nobody, []report.Sample{m.took[both], nil})
	f.What, f.Goal = "start a node until it listens, QUIC alone", 0
	add(t, f, of, m.took[alone:])
	return nil
}

func nodeStart(hooks func() []p2p.Hook) func(context.Context) (func(), error) {
	return func(ctx context.Context) (func(), error) {
		n, err := startNode(ctx, nil, hooks()...)
		if err != nil {
			return nil, err
		}
		return n.close, nil
	}
}

func hostStart(context.Context) (func(), error) {
	h, err := newHost(false)
	if err != nil {
		return nil, err
	}
	return func() { h.Close() }, nil
}

// starting is what several kinds of nodes keep while they are idle, and the
// milliseconds that they take to start.
type starting struct {
	starts []func(context.Context) (end func(), err error)
	kept   []footprints
	took   []report.Sample
}

func (m *starting) measure(ctx context.Context, p plan) error {
	m.kept, m.took = make([]footprints, len(m.starts)), make([]report.Sample, len(m.starts))
	each := func(times int, settle time.Duration) error {
		for range times {
			for i := range m.starts {
				if err := m.once(ctx, i, settle); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := each(2, 0); err != nil { // warms up: what is made once for all nodes is none of theirs
		return err
	}
	clear(m.took)
	if err := each(p.memory, p.settle); err != nil {
		return err
	}
	return each(p.trips, 0)
}

// once starts a node and ends it, after a pause unless settle is 0.
func (m *starting) once(ctx context.Context, i int, settle time.Duration) error {
	if err := pause(ctx, settle/4); err != nil { // the node before is all gone
		return err
	}
	before := weigh()
	began := time.Now()
	end, err := m.starts[i](ctx)
	if err != nil {
		return err
	}
	defer end()
	m.took[i] = append(m.took[i], time.Since(began).Seconds()*1e3)
	if settle == 0 {
		return nil
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	m.kept[i].add(weigh().minus(before), 1, 1<<20)
	return nil
}

// loopback returns the name of the loopback interface.
func loopback() (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			return i.Name, nil
		}
	}
	return "", fmt.Errorf("this host has no loopback interface")
}
