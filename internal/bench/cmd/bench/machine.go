package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/sdp2p/p2p/internal/bench/report"
)

// header says when, on what machine and against which versions of the peers is
// measured.
func header(ctx context.Context) string {
	t := report.Table{Columns: []string{"", ""}}
	add := func(what, value string) {
		if value == "" {
			value = "unknown"
		}
		t.Rows = append(t.Rows, []string{what, value})
	}
	add("date", time.Now().UTC().Format(time.DateOnly))
	add("commit", output(ctx, "git", "--no-optional-locks", "describe", "--always", "--dirty", "--exclude=*"))
	add("CPU", cpu(ctx))
	add("cores", fmt.Sprint(runtime.NumCPU()))
	add("kernel", output(ctx, "uname", "-srm"))
	add("system", system())
	add("load before", field("/proc/loadavg"))
	add("Go", runtime.Version())
	for _, s := range subjects {
		for _, peer := range s.modules {
			if strings.Contains(peer, "/") {
				add(peer, output(ctx, "go", "list", "-m", "-f", "{{.Version}}", peer))
			} else {
				add(peer, strings.TrimPrefix(output(ctx, peer, "--version"), peer+" "))
			}
		}
	}
	return `# Measurements

Written by ` + "`make bench`" + `. Figures are medians, with the extremes and the number of measurements in parentheses. Where two
take turns, the ratio is the median of each round's own, and otherwise that of the medians. Goals are for medians: figures
as printed, and ratios before they are rounded.

` + t.Body()
}

// output returns the first line that a program prints; "" if it fails.
func output(ctx context.Context, name string, args ...string) string {
	b, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

func cpu(ctx context.Context) string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return output(ctx, "sysctl", "-n", "machdep.cpu.brand_string")
}

func system() string {
	b, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return runtime.GOOS
}

// field returns the first field of a file; "" if there is none.
func field(file string) string {
	b, _ := os.ReadFile(file)
	value, _, _ := strings.Cut(string(b), " ")
	return value
}
