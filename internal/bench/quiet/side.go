package quiet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/trace"
	"strconv"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

const app = "quiet"

// traceFile names the variable with the file that the idle node writes an
// execution trace to, which tells what wakes it. The trace wakes it, too.
const traceFile = "SDP2P_BENCH_TRACE"

// A usage is what a process has used so far.
type usage struct {
	Switches float64 // voluntary context switches
	CPU      float64 // s
}

// Side is a process of the measurement: "peers", and how many nodes that is; or
// "node", and how many peers it connects to, with a stream to each on which
// nothing is sent any more. A node then writes what it has used, for each line
// of in. Both run until in ends.
func Side(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: side node|peers number")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	if args[0] == "peers" {
		for range n {
			node, err := start(ctx, p2p.HandlerFunc(answer))
			if err != nil {
				return err
			}
			defer node.Shutdown(ctx)
		}
		fmt.Fprintln(out)
		_, err := io.Copy(io.Discard, in)
		return err
	}
	return idle(ctx, n, in, out)
}

// idle is the node that is measured.
func idle(ctx context.Context, peers int, in io.Reader, out io.Writer) error {
	node, err := start(ctx, nil)
	if err != nil {
		return err
	}
	defer node.Shutdown(ctx)
	if err := meet(ctx, node, peers); err != nil {
		return err
	}
	fmt.Fprintln(out)
	encoder := json.NewEncoder(out)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		u, err := used()
		if err != nil {
			return err
		}
		if err := encoder.Encode(u); err != nil {
			return err
		}
		if file := os.Getenv(traceFile); file != "" && !trace.IsEnabled() {
			f, err := os.Create(file)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := trace.Start(f); err != nil {
				return err
			}
			defer trace.Stop()
		}
	}
	return nil
}

// meet opens a stream to so many peers.
func meet(ctx context.Context, node *p2p.P2P, peers int) error {
	if peers == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	met := 0
	for peer := range node.Available(ctx) {
		s, err := peer.NewStream(ctx)
		if err != nil {
			return err
		}
		if _, err := s.Write([]byte{1}); err != nil {
			return err
		}
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
			return err
		}
		if met++; met == peers {
			return nil
		}
	}
	return fmt.Errorf("only %d of %d peers were found", met, peers)
}

// answer sends a byte back, and waits for more.
func answer(_ context.Context, s *p2p.Stream) error {
	_, err := io.Copy(s, s)
	return err
}

// start starts a node that others on this host find.
func start(ctx context.Context, h p2p.Handler) (*p2p.P2P, error) {
	lo, err := loopback()
	if err != nil {
		return nil, err
	}
	return p2p.Start(ctx, p2p.Config{
		App: app, Handler: h, Logger: slog.New(slog.DiscardHandler),
		Hooks: []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{Interfaces: []string{lo}})},
	})
}
