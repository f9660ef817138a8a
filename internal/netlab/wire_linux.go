package netlab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Do calls f on the host: sockets that f opens belong to the host for good.
func (h *Host) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread, which stays on the host, ends with the goroutine
		ns, err := os.Open("/run/netns/" + h.ns)
		if err != nil {
			done <- err
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("setns: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// A Wire is an attacker's access to the link from the host: it sends frames
// with any source. Its methods are for one goroutine.
type Wire struct {
	fd    int
	mac   net.HardwareAddr // of the host's interface
	frame []byte
	id    uint16 // of the last IPv4 packet, for its fragments
}

const (
	etherSize, ipv4Size, udpSize = 14, 20, 8

	fragmentSize  = 1480 // bytes of an IPv4 packet's payload, a multiple of 8
	moreFragments = 1 << 13
)

// Wire opens the host's interface for writing, until the test ends.
func (h *Host) Wire(t testing.TB) *Wire {
	t.Helper()
	w := &Wire{fd: -1}
	err := h.Do(func() error {
		ifc, err := net.InterfaceByName(Interface)
		if err != nil {
			return err
		}
		w.mac = ifc.HardwareAddr
		if w.fd, err = syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return syscall.Bind(w.fd, &syscall.SockaddrLinklayer{Ifindex: ifc.Index})
	})
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(w.fd) })
	return w
}

// Send multicasts a datagram to a group.
func (w *Wire) Send(src, group netip.AddrPort, payload []byte) error {
	a := group.Addr().AsSlice()
	mac := net.HardwareAddr{0x01, 0x00, 0x5e, a[1] & 0x7f, a[2], a[3]} // RFC 1112 §6.4
	if group.Addr().Is6() {
		mac = net.HardwareAddr{0x33, 0x33, a[12], a[13], a[14], a[15]} // RFC 2464 §7
	}
	return w.SendTo(mac, src, group, payload)
}

// SendTo sends a datagram to the interface with the address mac, whatever its
// destination says. One that is too large for the link is sent in fragments,
// over IPv4 only.
func (w *Wire) SendTo(mac net.HardwareAddr, src, dst netip.AddrPort, payload []byte) error {
	udp := datagram(src, dst, payload)
	if src.Addr().Is6() {
		w.begin(mac, syscall.ETH_P_IPV6)
		w.frame = binary.BigEndian.AppendUint32(w.frame, 6<<28)
		w.frame = binary.BigEndian.AppendUint16(w.frame, uint16(len(udp)))
		w.frame = append(w.frame, syscall.IPPROTO_UDP, 255)
		w.frame = append(append(w.frame, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
		return w.write(udp)
	}
	w.id++
	for off := 0; off < len(udp); off += fragmentSize {
		part := udp[off:min(off+fragmentSize, len(udp))]
		flags := off / 8
		if off+len(part) < len(udp) {
			flags |= moreFragments
		}
		w.begin(mac, syscall.ETH_P_IP)
		w.frame = append(w.frame, 0x45, 0)
		w.frame = binary.BigEndian.AppendUint16(w.frame, uint16(ipv4Size+len(part)))
		w.frame = binary.BigEndian.AppendUint16(w.frame, w.id)
		w.frame = binary.BigEndian.AppendUint16(w.frame, uint16(flags))
		w.frame = append(w.frame, 255, syscall.IPPROTO_UDP, 0, 0)
		w.frame = append(append(w.frame, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
		binary.BigEndian.PutUint16(w.frame[etherSize+10:], checksum(w.frame[etherSize:], 0))
		if err := w.write(part); err != nil {
			return err
		}
	}
	return nil
}

// SendICMP6 sends a message of ICMPv6, of which it sets the checksum, to the
// interface with the address mac.
func (w *Wire) SendICMP6(mac net.HardwareAddr, src, dst netip.Addr, message []byte) error {
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	message[2], message[3] = 0, 0
	sum := checksum(message, uint32(^checksum(pseudo, syscall.IPPROTO_ICMPV6))+uint32(len(message)))
	binary.BigEndian.PutUint16(message[2:], sum)
	w.begin(mac, syscall.ETH_P_IPV6)
	w.frame = binary.BigEndian.AppendUint32(w.frame, 6<<28)
	w.frame = binary.BigEndian.AppendUint16(w.frame, uint16(len(message)))
	w.frame = append(w.frame, syscall.IPPROTO_ICMPV6, 255)
	w.frame = append(append(w.frame, src.AsSlice()...), dst.AsSlice()...)
	return w.write(message)
}

// begin begins a frame.
func (w *Wire) begin(to net.HardwareAddr, protocol uint16) {
	w.frame = append(append(w.frame[:0], to...), w.mac...)
	w.frame = binary.BigEndian.AppendUint16(w.frame, protocol)
}

func (w *Wire) write(rest []byte) error {
	w.frame = append(w.frame, rest...)
	_, err := syscall.Write(w.fd, w.frame)
	return err
}

// datagram returns a UDP datagram with its header (RFC 768).
func datagram(src, dst netip.AddrPort, payload []byte) []byte {
	b := make([]byte, udpSize, udpSize+len(payload))
	binary.BigEndian.PutUint16(b[0:], src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(udpSize+len(payload)))
	b = append(b, payload...)
	pseudo := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
	sum := checksum(b, uint32(^checksum(pseudo, syscall.IPPROTO_UDP))+uint32(len(b)))
	if sum == 0 {
		sum = 0xffff // a sum of zero stands for none
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return b
}

// checksum is the Internet checksum (RFC 1071) of b, with something added to
// the sum.
func checksum(b []byte, sum uint32) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) > 0 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
