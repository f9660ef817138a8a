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
	size := func(module, pkg string) (report.Sample, error) {
		if !p.programs {
			return nil, nil
		}
		return size(ctx, module, pkg)
	}
	theirs, err := size(benchModule, "./transport/hello")
	if err != nil {
		return err
	}
	for _, p := range []struct{ what, pkg string }{
		{"program with QUIC and Multicast DNS", "./examples/hello"},
		{"program with QUIC, Multicast DNS and a tunnel", "./examples/vault"},
	} {
		mine, err := size(ourModule, p.pkg)
		if err != nil {
			return err
		}
		t.Add(report.Figure{What: p.what, Unit: "MiB", Digits: 1, Goal: programSize, Peer: "go-libp2p", Theirs: theirs, Ours: mine})
	}
	return nil
}

// size builds a package of a module and returns the MiB that it takes.
func size(ctx context.Context, module, pkg string) (report.Sample, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	where, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return nil, fmt.Errorf("go list -m %s: %w", module, err)
	}
	file := filepath.Join(dir, "program")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, pkg)
	build.Dir = strings.TrimSpace(string(where))
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build %s: %w: %s", pkg, err, out)
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	return report.Sample{float64(info.Size()) / (1 << 20)}, nil
}
