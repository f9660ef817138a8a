package fleet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/server"
)

// A usage is what the relay's process has used, and what it keeps.
type usage struct {
	CPU        time.Duration
	Heap       float64 // bytes, after garbage was collected
	Stacks     float64
	Resident   float64 // 0 where the system does not say
	Goroutines float64
	Looked     time.Duration // CPU, with what looking has cost
}

// A hello is what the relay's process says first.
type hello struct {
	Identity identity.RemoteIdentity
	Addr     netip.AddrPort
}

const mostClients = 4096 // of a measurement

// Side runs a relay that trusts everybody's tokens, on loopback, until in ends,
// and answers each line with its usage.
func Side(in io.Reader, out io.Writer) error {
	s, err := server.New(server.Config{
		Identity: identity.New(), Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Trusted: func(identity.RemoteIdentity) bool { return true },
		Ledger:  server.NewMemoryLedger(server.Monthly),
		Limits:  server.Limits{Reservations: mostClients, ReservationsPerIP: mostClients, Strangers: mostClients, Leave: -1},
	})
	if err != nil {
		return err
	}
	defer s.Close()
	answers := json.NewEncoder(out)
	if err := answers.Encode(hello{s.Identity(), s.Addrs()[0]}); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		u := usage{CPU: used()} // without what looking costs
		for range 3 {           // what a sync.Pool keeps survives one
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		u.Heap, u.Stacks, u.Goroutines = float64(m.HeapAlloc), float64(m.StackInuse), float64(runtime.NumGoroutine())
		u.Resident = resident()
		u.Looked = used()
		if err := answers.Encode(u); err != nil {
			return err
		}
	}
	return nil
}

// resident returns the bytes of memory that the system has given the process; 0
// if it does not say.
func resident() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages float64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize())
}

// A side is a relay's process.
type side struct {
	hello
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
	log     bytes.Buffer
	looking time.Duration // CPU time that looking has cost
}

func startSide(ctx context.Context, dir string) (*side, error) {
	file := filepath.Join(dir, "side")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", file, "github.com/sdp2p/p2p/internal/bench/relay/fleet/side").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w: %s", err, out)
	}
	s := &side{cmd: exec.CommandContext(ctx, file)}
	s.cmd.Stderr = &s.log
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.answers = json.NewDecoder(out)
	if err := s.answers.Decode(&s.hello); err != nil {
		s.stop()
		return nil, fmt.Errorf("the relay does not start: %w: %s", err, s.log.String())
	}
	return s, nil
}

func (s *side) stop() {
	s.in.Close()
	_ = s.cmd.Wait() // it is not needed any more
}

// look returns what the relay has used, without what looking has cost.
func (s *side) look() (u usage, err error) {
	if _, err := fmt.Fprintln(s.in); err != nil {
		return u, err
	}
	if err := s.answers.Decode(&u); err != nil {
		return u, err
	}
	cost := u.Looked - u.CPU
	u.CPU -= s.looking
	s.looking += cost
	return u, nil
}
