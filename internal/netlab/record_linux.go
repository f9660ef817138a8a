package netlab

import (
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Recording is a recording of all frames that hosts send on a segment.
type Recording struct {
	mu     sync.Mutex
	frames []Frame
}

// A Frame is a frame that a host has sent.
type Frame struct {
	From string // its link-layer address
	Type uint16 // of the payload
	Data []byte // the payload
}

// Record records until the test ends.
func (s *Segment) Record(t testing.TB) *Recording {
	t.Helper()
	r := &Recording{}
	var fd, bridge int
	require.NoError(t, (&Host{lab: s.lab, ns: s.hub}).Do(func() (err error) {
		ifc, err := net.InterfaceByName("br0")
		if err != nil {
			return err
		}
		bridge = ifc.Index
		every := binary.NativeEndian.Uint16([]byte{0, syscall.ETH_P_ALL})
		if fd, err = syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, int(every)); err != nil {
			return err
		}
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<20)
		return syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 100_000})
	}))
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		defer syscall.Close(fd)
		for b := make([]byte, 64<<10); ; {
			select {
			case <-stop:
				return
			default:
			}
			n, from, err := syscall.Recvfrom(fd, b, 0)
			link, ok := from.(*syscall.SockaddrLinklayer)
			if err != nil || !ok || n < etherSize || link.Pkttype == syscall.PACKET_OUTGOING || link.Ifindex == bridge {
				continue
			}
			f := Frame{net.HardwareAddr(b[6:12]).String(), binary.BigEndian.Uint16(b[12:]), slices.Clone(b[etherSize:n])}
			r.mu.Lock()
			r.frames = append(r.frames, f)
			r.mu.Unlock()
		}
	})
	t.Cleanup(func() { close(stop); done.Wait() })
	return r
}

// Take returns the frames that were not taken yet.
func (r *Recording) Take() (frames []Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	frames, r.frames = r.frames, nil
	return frames
}
