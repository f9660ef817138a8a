package transport

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sdp2p/p2p/internal/bench/report"
)

const (
	ourModule   = "github.com/sdp2p/p2p"
	benchModule = ourModule + "/internal/bench"
)

// programs measures how large programs are.
func programs(ctx context.Context, t *report.Table, p plan) error {
	size := func(module, dir string) (report.Sample, error) {
		if !p.programs {
			return nil, nil
		}
		return size(ctx, module, dir)
	}
	// A module of its own, inside this one's directory: libp2p.New needs an
	// older quic-go than the SDK.
	theirs, err := size(benchModule, "transport/hello")
	if err != nil {
		return err
	}
	for _, p := range []struct{ what, dir string }{
		{"program with QUIC and Multicast DNS", "examples/hello"},
		{"program with QUIC, Multicast DNS and a tunnel", "examples/vault"},
	} {
		mine, err := size(ourModule, p.dir)
		if err != nil {
			return err
		}
		t.Add(report.Figure{What: p.what, Unit: "MiB", Digits: 1, Goal: programSize, Peer: "go-libp2p", Theirs: theirs, Ours: mine})
	}
	return nil
}

// size builds the program in a directory inside a module's, by the module that
// the directory itself belongs to, and returns the MiB that it takes.
func size(ctx context.Context, module, dir string) (report.Sample, error) {
	temp, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	where, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return nil, fmt.Errorf("go list -m %s: %w", module, err)
	}
	file := filepath.Join(temp, "program")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, ".")
	build.Dir = filepath.Join(strings.TrimSpace(string(where)), dir)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build %s: %w: %s", dir, err, out)
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	return report.Sample{float64(info.Size()) / (1 << 20)}, nil
}
