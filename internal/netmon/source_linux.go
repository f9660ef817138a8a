package netmon

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// system is Linux: netlink, and a timer that ends when the clock is set.
type system struct{ bounces bounces }

func newSystem() Source { return &system{} }

// Clocks reads the clocks, among them the one that counts sleep.
func (*system) Clocks() Clocks {
	c := readClocks()
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) == nil {
		c.Boot = time.Duration(t.Nano())
	}
	return c
}

// events reads the kernel's messages.
type events struct {
	s       *system
	changed func()
	failed  func()
	files   []*os.File // the socket, and the timer if there is one
	running sync.WaitGroup
	wakes   atomic.Bool // the timer reports waking

	mu      sync.Mutex
	closed  bool
	routers map[hop]string // with the link-layer addresses that the monitor knows
}

// Watch subscribes to the kernel's groups. Android does not let apps do so.
func (s *system) Watch(changed, failed func()) (Watcher, error) {
	const flags = syscall.SOCK_RAW | syscall.SOCK_CLOEXEC | syscall.SOCK_NONBLOCK
	fd, err := syscall.Socket(syscall.AF_NETLINK, flags, syscall.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
		unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE | unix.RTMGRP_NEIGH
	if err := syscall.Bind(fd, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK, Groups: groups}); err != nil {
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	e := &events{s: s, changed: changed, failed: failed}
	e.open(fd, e.read)
	if fd, err = unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err == nil {
		e.wakes.Store(true)
		e.open(fd, e.watchClock)
	}
	return e, nil
}

// open starts a goroutine that reads from a file until Close.
func (e *events) open(fd int, read func(*os.File)) {
	f := os.NewFile(uintptr(fd), "netmon")
	e.files = append(e.files, f)
	e.running.Go(func() { read(f) })
}

// Close closes the files, and waits for the goroutines.
func (e *events) Close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	for _, f := range e.files {
		_ = f.Close()
	}
	e.running.Wait()
}

// Seen records which neighbors are routers.
func (e *events) Seen(s *Snapshot) {
	routers := make(map[hop]string)
	for n := range s.Interfaces {
		i := &s.Interfaces[n]
		for _, g := range i.Gateways {
			if g.Addr.IsValid() {
				routers[hop{i.Index, g.Addr}] = g.Link
			}
		}
	}
	e.mu.Lock()
	e.routers = routers
	e.mu.Unlock()
}

// Wakes reports whether there is a timer.
func (e *events) Wakes() bool { return e.wakes.Load() }

func (e *events) read(socket *os.File) {
	buf := make([]byte, 16<<10)
	for {
		n, err := socket.Read(buf)
		switch {
		case errors.Is(err, syscall.ENOBUFS): // some were lost
			e.changed()
		case err != nil:
			e.mu.Lock()
			closed := e.closed
			e.mu.Unlock()
			if !closed {
				e.failed()
			}
			return
		case e.matters(buf[:n]):
			e.changed()
		}
	}
}

// matters reports whether messages concern anything that the monitor compares.
func (e *events) matters(b []byte) (yes bool) {
	messages(b, func(typ uint16, b []byte) {
		switch typ {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			e.s.bounces.link(typ, b)
			yes = true
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			yes = true
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			// A VPN may replace a default route by halves, and some by eighths.
			if len(b) >= unix.SizeofRtMsg && b[1] <= 3 && number(b[8:])&unix.RTM_F_CLONED == 0 {
				yes = true
			}
		case unix.RTM_NEWNEIGH:
			if h, link := parseNeighbor(b); link != "" {
				e.mu.Lock()
				known, router := e.routers[h]
				e.mu.Unlock()
				if router && known != link {
					yes = true
				}
			}
		}
	})
	return yes
}

// watchClock waits for the clock to be set, which the kernel also does when the
// computer resumes.
func (e *events) watchClock(timer *os.File) {
	defer e.wakes.Store(false)
	raw, err := timer.SyscallConn()
	if err != nil {
		return
	}
	b := make([]byte, 8)
	for {
		far := unix.ItimerSpec{Value: unix.NsecToTimespec(time.Now().UnixNano() + 1<<55)} // in a year
		set := func(fd uintptr) {
			err = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &far, nil)
		}
		if closed := raw.Control(set); closed != nil || err != nil {
			return
		}
		if _, err := timer.Read(b); err != nil && !errors.Is(err, syscall.ECANCELED) {
			return
		}
		e.changed()
	}
}

// bounces count how often interfaces were switched off, for those that have no
// carrier whose changes the kernel counts.
type bounces struct {
	mu sync.Mutex
	n  map[int]uint64
}

// link takes a message about a link.
func (b *bounces) link(typ uint16, body []byte) {
	if len(body) < unix.SizeofIfInfomsg {
		return
	}
	index := int(int32(number(body[4:])))
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case typ == unix.RTM_DELLINK && body[0] == unix.AF_UNSPEC:
		delete(b.n, index)
	case typ == unix.RTM_NEWLINK && number(body[8:])&unix.IFF_UP == 0:
		if b.n == nil {
			b.n = make(map[int]uint64)
		}
		b.n[index]++
	}
}

func (b *bounces) of(index int) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n[index]
}
