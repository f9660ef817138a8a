package netmon

import (
	"encoding/hex"
	"net/netip"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// system is Windows: notifications of the IP Helper API.
type system struct{}

func newSystem() Source { return system{} }

func (system) Clocks() Clocks { return readClocks() }

// Read reads interfaces, default routes, and the neighbors among their routers.
func (system) Read() (Snapshot, error) {
	s, err := readInterfaces()
	if err != nil {
		return Snapshot{}, err
	}
	var table *windows.MibIpForwardTable2
	if windows.GetIpForwardTable2(windows.AF_UNSPEC, &table) != nil {
		s.findDefaults()
		return s, nil // without routers
	}
	defer windows.FreeMibTable(unsafe.Pointer(table))
	for _, row := range table.Rows() {
		if row.DestinationPrefix.PrefixLength != 0 {
			continue
		}
		next := row.NextHop // copied: the table is freed
		addr, f := addrOf(&next)
		if !addr.IsValid() {
			continue
		}
		g := Gateway{}
		if !addr.IsUnspecified() {
			g = Gateway{Addr: addr, Link: neighbor(row.InterfaceLuid, row.InterfaceIndex, next)}
		}
		s.setGateway(int(row.InterfaceIndex), f, g)
	}
	s.findDefaults()
	return s, nil
}

// addrOf returns an address without its zone, and its family.
func addrOf(raw *windows.RawSockaddrInet) (netip.Addr, int) {
	switch raw.Family {
	case windows.AF_INET:
		return netip.AddrFrom4((*windows.RawSockaddrInet4)(unsafe.Pointer(raw)).Addr), IPv4
	case windows.AF_INET6:
		return netip.AddrFrom16((*windows.RawSockaddrInet6)(unsafe.Pointer(raw)).Addr), IPv6
	}
	return netip.Addr{}, 0
}

// A neighborRow is MIB_IPNET_ROW2.
type neighborRow struct {
	address       windows.RawSockaddrInet
	index         uint32
	luid          uint64
	physical      [32]byte
	physicalSize  uint32
	state         uint32
	flags         uint8
	lastReachable uint32
}

var getIpNetEntry2 = windows.NewLazySystemDLL("iphlpapi.dll").NewProc("GetIpNetEntry2")

// neighbor returns the link-layer address of a neighbor, if it is known.
func neighbor(luid uint64, index uint32, addr windows.RawSockaddrInet) string {
	if getIpNetEntry2.Find() != nil {
		return ""
	}
	row := neighborRow{address: addr, index: index, luid: luid}
	code, _, _ := getIpNetEntry2.Call(uintptr(unsafe.Pointer(&row)))
	const reachable = 2 // NlnsProbe; the states after it are more certain
	if code != 0 || row.state < reachable || row.physicalSize > uint32(len(row.physical)) {
		return ""
	}
	return hex.EncodeToString(row.physical[:row.physicalSize])
}

// The callbacks are created once, since a process can have only a few thousand.
var (
	callback = sync.OnceValue(func() uintptr { return windows.NewCallback(notified) })

	watching struct {
		sync.Mutex
		all map[*events]bool // keeps alive the memory whose addresses the system holds
	}
)

// notified is called by the system, in a thread of its own.
func notified(context, row uintptr, kind uint32) uintptr {
	watching.Lock()
	defer watching.Unlock()
	for e := range watching.all {
		if uintptr(unsafe.Pointer(e)) == context {
			e.changed()
		}
	}
	return 0
}

// events are the notifications of a watch.
type events struct {
	changed func()
	handles []windows.Handle
	stop    chan struct{}
	done    chan struct{}
}

// routerTime is the time between reads of the routers' link-layer addresses,
// for which the system has no notifications.
const routerTime = 10 * time.Second

// Watch requests notifications about addresses and routes.
func (system) Watch(changed, failed func()) (Watcher, error) {
	e := &events{changed: changed, stop: make(chan struct{}), done: make(chan struct{})}
	watching.Lock()
	if watching.all == nil {
		watching.all = make(map[*events]bool)
	}
	watching.all[e] = true
	watching.Unlock()
	go e.remind()
	for _, notify := range []func(uint16, uintptr, unsafe.Pointer, bool, *windows.Handle) error{
		windows.NotifyUnicastIpAddressChange, windows.NotifyRouteChange2,
	} {
		var handle windows.Handle
		if err := notify(windows.AF_UNSPEC, callback(), unsafe.Pointer(e), false, &handle); err != nil {
			e.Close()
			return nil, os.NewSyscallError("iphlpapi", err)
		}
		e.handles = append(e.handles, handle)
	}
	return e, nil
}

func (e *events) remind() {
	defer close(e.done)
	for tick := time.NewTicker(routerTime); ; {
		select {
		case <-tick.C:
			e.changed()
		case <-e.stop:
			tick.Stop()
			return
		}
	}
}

// Wakes returns false: only the clocks show a wake-up.
func (*events) Wakes() bool { return false }

func (*events) Seen(*Snapshot) {}

// Close ends the notifications, and waits for those under way.
func (e *events) Close() {
	for _, handle := range e.handles {
		_ = windows.CancelMibChangeNotify2(handle)
	}
	close(e.stop)
	<-e.done
	watching.Lock()
	defer watching.Unlock()
	delete(watching.all, e)
}
