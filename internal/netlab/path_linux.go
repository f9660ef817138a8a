package netlab

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A PathConfig describes a path over a wide area network.
type PathConfig struct {
	RTT   time.Duration // of which each direction has half
	Loss  float64       // of each packet, in both directions: from 0 to 1
	Seed  uint64        // which packets are lost: the same ones at each run
	Queue int           // most packets in flight in one direction; if 0, 8,192
}

// A Path is a further link between two hosts of a lab: a point-to-point
// interface with an MTU of 1,500 bytes on each, between which this process
// carries all IP packets with a delay and losses. The hosts have no network in
// common there, as on the internet. Its rate is limited only by this process,
// which takes some 10 µs of CPU time for each packet.
type Path struct {
	// Addrs are the addresses of the two hosts on the path.
	Addrs [2]netip.Addr

	cfg  PathConfig
	ends [2]*os.File
	mu   sync.Mutex
	told [2]PathStats
}

// PathStats counts what a direction of a path has carried.
type PathStats struct {
	Packets, Bytes int64 // that the host has sent
	Lost           int   // of these packets, by chance
	Overflown      int   // of them, for lack of room in the queue
}

// PathInterface is the name of a path's interfaces.
const PathInterface = "path0"

// Path makes a path between two hosts, until the test ends. A host has one at
// most.
func (l *Lab) Path(a, b *Host, cfg PathConfig) *Path {
	l.t.Helper()
	if cfg.Queue == 0 {
		cfg.Queue = 8192
	}
	p := &Path{cfg: cfg}
	p.Addrs = [2]netip.Addr{netip.AddrFrom4([4]byte{10, 79, 0, 1}), netip.AddrFrom4([4]byte{10, 80, 0, 1})}
	for i, h := range []*Host{a, b} {
		p.ends[i] = h.tun(PathInterface)
		l.ip("-n", h.ns, "link", "set", PathInterface, "addrgenmode", "none")
		l.ip("-n", h.ns, "link", "set", PathInterface, "mtu", "1500", "txqueuelen", "10000", "up")
		l.ip("-n", h.ns, "addr", "add", p.Addrs[i].String()+"/32", "dev", PathInterface)
		l.ip("-n", h.ns, "route", "add", p.Addrs[1-i].String(), "dev", PathInterface, "src", p.Addrs[i].String())
	}
	var directions sync.WaitGroup
	for from := range p.ends {
		directions.Go(func() { p.carry(from) })
	}
	l.t.Cleanup(func() {
		p.ends[0].Close()
		p.ends[1].Close()
		directions.Wait()
	})
	return p
}

// tun gives a host an interface whose packets this process reads and writes.
func (h *Host) tun(name string) (file *os.File) {
	h.lab.t.Helper()
	require.NoError(h.lab.t, h.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq(name)
		if err == nil {
			request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		file = os.NewFile(uintptr(fd), name) // which polls a descriptor that does not block
		return err
	}))
	return file
}

// A late is a packet in flight.
type late struct {
	due    time.Time
	packet []byte
}

// carry carries the packets of one direction.
func (p *Path) carry(from int) {
	dice, way := newDice(p.cfg, from), make(chan late, p.cfg.Queue)
	var arrival sync.WaitGroup
	arrival.Go(func() {
		for next := range way {
			time.Sleep(time.Until(next.due))
			p.ends[1-from].Write(next.packet) // fails if the interface is gone
		}
	})
	defer arrival.Wait()
	defer close(way)
	for b := make([]byte, 65536); ; {
		n, err := p.ends[from].Read(b)
		if err != nil {
			return
		}
		p.mu.Lock()
		dice.loss = p.cfg.Loss
		p.mu.Unlock()
		now, lost, full := time.Now(), dice.lost(), false
		if !lost {
			select {
			case way <- late{now.Add(p.cfg.RTT / 2), append([]byte(nil), b[:n]...)}:
			default:
				full = true
			}
		}
		p.mu.Lock()
		s := &p.told[from]
		s.Packets++
		s.Bytes += int64(n)
		if lost {
			s.Lost++
		}
		if full {
			s.Overflown++
		}
		p.mu.Unlock()
	}
}

// SetLoss changes how many packets are lost from now on.
func (p *Path) SetLoss(loss float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg.Loss = loss
}

// Stats returns what was carried so far, from the first host and from the
// second.
func (p *Path) Stats() [2]PathStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.told
}

// A dice decides which packets of a direction are lost.
type dice struct {
	*rand.Rand
	loss float64
}

func newDice(cfg PathConfig, direction int) dice {
	return dice{rand.New(rand.NewPCG(cfg.Seed, uint64(direction))), cfg.Loss}
}

// lost decides about the next packet.
func (d dice) lost() bool { return d.Float64() < d.loss }
