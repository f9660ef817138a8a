package carrier

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
)

var (
	here  = &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 7000}
	there = &net.UDPAddr{IP: net.IPv4(192, 0, 2, 9).To4(), Port: 7373}
)

// failure is an error as package net returns it.
func failure(call string, errno syscall.Errno) error {
	return &net.OpError{Op: "write", Net: "udp", Err: os.NewSyscallError(call, errno)}
}

// A fake is a system socket that behaves as a test wants.
type fake struct {
	write func(b, oob []byte, to *net.UDPAddr) error // if nil, every packet is sent
	read  func() error                               // if nil, it waits

	mu                      sync.Mutex
	closed                  chan struct{}
	deadline                time.Time
	changed                 chan struct{}
	readBuffer, writeBuffer int
	controls                int
	reads                   []time.Time
	writes                  int
}

func newFake() *fake { return &fake{closed: make(chan struct{}), changed: make(chan struct{})} }

func (f *fake) isClosed() bool {
	select {
	case <-f.closed:
		return true
	default:
		return false
	}
}

func (f *fake) count() (reads []time.Time, writes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads, f.writes
}

func (f *fake) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (int, int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	if f.isClosed() {
		return 0, 0, net.ErrClosed
	}
	if f.write != nil {
		if err := f.write(b, oob, to); err != nil {
			return 0, 0, err
		}
	}
	return len(b), len(oob), nil
}

func (f *fake) WriteTo(b []byte, to net.Addr) (int, error) {
	n, _, err := f.WriteMsgUDP(b, nil, to.(*net.UDPAddr))
	return n, err
}

func (f *fake) ReadBatch([]ipv4.Message, int) (int, error) {
	f.mu.Lock()
	f.reads = append(f.reads, time.Now())
	f.mu.Unlock()
	if f.isClosed() {
		return 0, net.ErrClosed
	}
	if f.read != nil {
		if err := f.read(); err != nil {
			return 0, err
		}
		return 1, nil
	}
	for {
		f.mu.Lock()
		deadline, changed := f.deadline, f.changed
		f.mu.Unlock()
		var passed <-chan time.Time
		if !deadline.IsZero() {
			passed = time.After(time.Until(deadline))
		}
		select {
		case <-f.closed:
			return 0, net.ErrClosed
		case <-passed:
			return 0, os.ErrDeadlineExceeded
		case <-changed:
		}
	}
}

func (f *fake) ReadFrom([]byte) (int, net.Addr, error) {
	n, err := f.ReadBatch(nil, 0)
	return n, there, err
}

func (f *fake) ReadMsgUDP(_, _ []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	n, err = f.ReadBatch(nil, 0)
	return n, 0, 0, there, err
}

func (f *fake) Close() error {
	if f.isClosed() {
		return net.ErrClosed
	}
	close(f.closed)
	return nil
}

func (f *fake) LocalAddr() net.Addr { return here }

func (f *fake) SetReadDeadline(t time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deadline = t
	close(f.changed)
	f.changed = make(chan struct{})
	if f.isClosed() {
		return net.ErrClosed
	}
	return nil
}

func (f *fake) SetWriteDeadline(time.Time) error      { return nil }
func (f *fake) SetDeadline(t time.Time) error         { return f.SetReadDeadline(t) }
func (f *fake) SetReadBuffer(bytes int) error         { f.readBuffer = bytes; return nil }
func (f *fake) SetWriteBuffer(bytes int) error        { f.writeBuffer = bytes; return nil }
func (f *fake) SyscallConn() (syscall.RawConn, error) { return fakeRaw{f}, nil }

type fakeRaw struct{ *fake }

func (f fakeRaw) Control(g func(uintptr)) error { f.controls++; g(0); return nil }
func (fakeRaw) Read(func(uintptr) bool) error   { return errors.ErrUnsupported }
func (fakeRaw) Write(func(uintptr) bool) error  { return errors.ErrUnsupported }

// A bench is a Socket on fakes, and a record of what it does.
type bench struct {
	*Socket
	mu     sync.Mutex
	routed bool
	next   func() (*fake, error) // returns the socket of the next rebinding
	fakes  []*fake
	log    bytes.Buffer
}

func newBench(t *testing.T, first *fake) *bench {
	b := &bench{routed: true, fakes: []*fake{first}, next: func() (*fake, error) { return newFake(), nil }}
	b.Socket = newSocket(first, Config{
		Routed: func(netip.AddrPort) bool { b.mu.Lock(); defer b.mu.Unlock(); return b.routed },
		Logger: slog.New(slog.NewTextHandler(&b.log, nil)),
	})
	b.open = func() (kernel, error) {
		f, err := b.next()
		if err != nil {
			return nil, err
		}
		b.fakes = append(b.fakes, f)
		return f, nil
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func (b *bench) setRouted(routed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.routed = routed
}

// rebound returns how often the socket was bound anew.
func (b *bench) rebound() int { return len(b.fakes) - 1 }

func (b *bench) logged() int { return strings.Count(b.log.String(), "\n") }

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
