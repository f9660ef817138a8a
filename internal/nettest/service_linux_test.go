package nettest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
)

// These are a node's calls for tests of its service.
type (
	connectArgs struct { // "connect": makes a new connection, and an echo over it
		Peer   string
		Within time.Duration
		Keep   bool // use an existing connection, if there is one
	}
	connected struct {
		Took time.Duration
		Err  string
	}

	pumpArgs struct { // "pump": sends a number of bytes in each direction, at the same time
		Peer  string
		Bytes int64
	}

	usage struct { // "usage"
		CPU time.Duration // of the process so far
		RSS int64         // bytes of memory in use
	}
)

// A tracker is a hook that tracks peers.
type tracker struct{ ids []string }

func (*tracker) Name() string { return "tracker" }

func (h *tracker) Run(ctx context.Context, s *p2p.Scope) error {
	for _, text := range h.ids {
		id, err := identity.Parse(text)
		if err != nil {
			return err
		}
		s.Track(id)
	}
	s.Ready()
	<-ctx.Done()
	return nil
}

// slowly returns a Config.Allow that is slow for streams of peers that the node
// does not track, or nil.
func slowly(cfg nodeConfig) func(context.Context, p2p.Request) error {
	if cfg.Slow == 0 {
		return nil
	}
	tracked := map[string]bool{}
	for _, id := range cfg.Track {
		tracked[id] = true
	}
	return func(_ context.Context, r p2p.Request) error {
		if r.Action == p2p.OpenStream && !tracked[r.Peer.String()] {
			time.Sleep(cfg.Slow)
		}
		return nil
	}
}

// handleService registers the node's calls for tests of its service. Streams
// that the node holds end when stop is called.
func handleService(console *netlab.Console, node *p2p.P2P) (stop func()) {
	holding, stop := context.WithCancel(context.Background())
	netlab.Handle(console, "connect", func(a connectArgs) (connected, error) {
		id, err := identity.Parse(a.Peer)
		if err != nil {
			return connected{}, err
		}
		leave := func() {
			if !a.Keep {
				node.Revoke(id) // this closes all connections
				node.Reinstate(id)
			}
		}
		leave()
		defer leave()
		ctx, cancel := context.WithTimeout(context.Background(), a.Within)
		defer cancel()
		began := time.Now()
		r, err := echo(ctx, node, echoArgs{a.Peer, "hello"})
		took := connected{Took: time.Since(began), Err: r.DialError}
		if err != nil {
			took.Err = err.Error()
		}
		return took, nil
	})
	streams := &holder{console: console}
	netlab.Handle(console, "hold", func(a holdArgs) (echoed, error) { return streams.hold(holding, node, a) })
	netlab.Handle(console, "went on", func(since time.Time) (wentOn, error) { return streams.wentOn(since), nil })
	netlab.Handle(console, "pump", func(a pumpArgs) (time.Duration, error) { return pump(holding, node, a) })
	netlab.Handle(console, "held", func(none) (int64, error) { return streams.rounds.Load(), nil })
	netlab.Handle(console, "usage", func(none) (usage, error) { return measure() })
	return stop
}

// pump sends the bytes of pumped, and requires the same from the other side.
func pump(ctx context.Context, node *p2p.P2P, a pumpArgs) (time.Duration, error) {
	id, err := identity.Parse(a.Peer)
	if err != nil {
		return 0, err
	}
	peer, ok := node.Peer(id)
	if !ok {
		return 0, p2p.ErrUnavailable
	}
	began := time.Now()
	s, err := peer.Open(ctx, "pump")
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if err := binary.Write(s, binary.LittleEndian, a.Bytes); err != nil {
		return 0, err
	}
	err = exchangePumped(s, a.Bytes)
	return time.Since(began), err
}

// servePump is the other side of pump.
func servePump(_ context.Context, s *p2p.Stream) error {
	var n int64
	if err := binary.Read(s, binary.LittleEndian, &n); err != nil {
		return err
	}
	return exchangePumped(s, n)
}

func exchangePumped(s *p2p.Stream, n int64) error {
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(s, io.LimitReader(pumped(), n), make([]byte, 64<<10))
		sent <- errors.Join(err, s.CloseWrite())
	}()
	want, got := make([]byte, 64<<10), make([]byte, 64<<10)
	for source, left := pumped(), n; left > 0; {
		size := min(left, int64(len(got)))
		if _, err := io.ReadFull(s, got[:size]); err != nil {
			return err
		}
		if _, err := io.ReadFull(source, want[:size]); err != nil {
			return err
		}
		if !bytes.Equal(got[:size], want[:size]) {
			return errors.New("other bytes came")
		}
		left -= size
	}
	if _, err := s.Read(got); err != io.EOF {
		return fmt.Errorf("more came: %w", err)
	}
	return <-sent
}

// pumped returns a reader of bytes without repetitions.
func pumped() io.Reader { return rand.NewChaCha8([32]byte{1}) }

// tellFailed reports whether a stream's error says that the connection was
// lost.
func tellFailed(console *netlab.Console, event, peer string, err error) {
	console.Tell(event, peer, strconv.FormatBool(errors.Is(err, p2p.ErrConnectionLost)), err.Error())
}

// measure returns the resources that the process has used.
func measure() (u usage, err error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return u, err
	}
	u.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscanf(rest, "%d kB", &u.RSS); err != nil {
		return u, err
	}
	u.RSS <<= 10
	return u, nil
}
