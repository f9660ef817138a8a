package transport

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p/internal/bench/report"
)

// A flooder forwards a connection's packets, and then sends packets of its own
// that look like that connection's, as fast as it can.
type flooder struct {
	near, far *net.UDPConn
	copied    atomic.Pointer[[]byte] // a packet of the connection's
	sent      atomic.Int64
	running   sync.WaitGroup
}

func newFlooder(to netip.AddrPort) (*flooder, error) {
	near, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	far, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		near.Close()
		return nil, err
	}
	f := &flooder{near: near, far: far}
	var client atomic.Pointer[netip.AddrPort]
	f.running.Go(func() {
		for b := make([]byte, 2048); ; {
			n, from, err := near.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			client.Store(&from)
			if b[0]&0xC0 == 0x40 && n > 64 { // of an established connection (RFC 9000 §17.3.1)
				packet := slices.Clone(b[:n])
				f.copied.Store(&packet)
			}
			far.Write(b[:n])
		}
	})
	f.running.Go(func() {
		for b := make([]byte, 2048); ; {
			n, err := far.Read(b)
			if err != nil {
				return
			}
			if to := client.Load(); to != nil {
				near.WriteToUDPAddrPort(b[:n], *to)
			}
		}
	})
	return f, nil
}

func (f *flooder) addr() netip.AddrPort { return f.near.LocalAddr().(*net.UDPAddr).AddrPort() }

func (f *flooder) close() {
	f.near.Close()
	f.far.Close()
	f.running.Wait()
}

// flood sends until ctx ends.
func (f *flooder) flood(ctx context.Context) error {
	copied := f.copied.Load()
	if copied == nil {
		return fmt.Errorf("no packet was seen")
	}
	packet := make([]byte, 1200)
	copy(packet, (*copied)[:9]) // the connection's ID is that
	rand.Read(packet[9:])
	for ctx.Err() == nil {
		for range 64 {
			f.far.Write(packet)
		}
		f.sent.Add(64)
	}
	return nil
}

// flooded measures what a flood on one connection does to another one of the
// same listener.
func flooded(ctx context.Context, t *report.Table, p plan) error {
	of := []transport{ours(), raw()}
	before, during, rates := make([]report.Sample, len(of)), make([]report.Sample, len(of)), make([]report.Sample, len(of))
	for range p.floods {
		for i, tr := range of {
			alone, beside, rate, err := floodedOnce(ctx, tr, p.exchanges)
			if err != nil {
				return fmt.Errorf("%s: %w", tr.name, err)
			}
			before[i], during[i], rates[i] = append(before[i], alone), append(during[i], beside), append(rates[i], rate)
		}
	}
	add(t, report.Figure{What: "a stream and a byte, 99 of 100", Unit: "ms", Digits: 2}, of, before)
	add(t, report.Figure{What: "… while another connection is flooded", Unit: "ms", Digits: 2}, of, during)
	add(t, report.Figure{What: "… with packets in a millisecond"}, of, rates)
	added := slices.Clone(during[0])
	for i := range added {
		added[i] -= before[0][i]
	}
	t.Add(report.Figure{What: "… that takes longer by", Unit: "ms", Digits: 2, Ours: added, Goal: floodDelay})
	return nil
}

// floodedOnce returns below what 99 of 100 exchanges stay without a flood and
// with one, in ms, and how many packets it has in a millisecond.
func floodedOnce(ctx context.Context, tr transport, exchanges int) (alone, beside, rate float64, err error) {
	l, err := tr.listen(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	defer l.close()
	f, err := newFlooder(l.addr())
	if err != nil {
		return 0, 0, 0, err
	}
	defer f.close()
	var both [2]dialer
	for i, via := range []netip.AddrPort{f.addr(), l.addr()} {
		d, err := l.dialer(ctx, via)
		if err != nil {
			return 0, 0, 0, err
		}
		defer d.close()
		both[i] = d
		for range 10 {
			if err := exchange(ctx, d); err != nil {
				return 0, 0, 0, err
			}
		}
	}
	if alone, err = slowest(ctx, both[1], exchanges); err != nil {
		return 0, 0, 0, err
	}
	flooding, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- f.flood(flooding) }()
	beside, err = slowest(ctx, both[1], exchanges)
	stop()
	if flood := <-ended; err == nil {
		err = flood
	}
	return alone, beside, float64(f.sent.Load()) / (time.Since(began).Seconds() * 1e3), err
}

// slowest returns below what 99 of 100 exchanges stay, in ms.
func slowest(ctx context.Context, d dialer, exchanges int) (float64, error) {
	var took []float64
	for range exchanges {
		if err := pause(ctx, time.Millisecond); err != nil {
			return 0, err
		}
		within, cancel := within(ctx)
		began := time.Now()
		err := exchange(within, d)
		cancel()
		if err != nil {
			return 0, err
		}
		took = append(took, time.Since(began).Seconds()*1e3)
	}
	slices.Sort(took)
	return took[len(took)*99/100], nil
}
