package roaming

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sdp2p/p2p/internal/bench/report"
)

const (
	timeout = 45 * time.Minute
	runs    = 20 // of each row
	beside  = 4  // processes that take those of rows that wait, at once

	root = "../.." // of the SDK's module, seen from this one

	figuresEnv = "SDP2P_NETTEST_FIGURES"
	labEnv     = "SDP2P_NETTEST"
	soakEnv    = "SDP2P_SOAK"
)

// What the rows need: little of the processors, and then much waiting; or all
// of them.
const (
	brief   = "^TestRoaming(Address|Interface|Gateway|Both|Silence|TwentyTimes)$"
	waiting = "^TestRoaming(Away|Stopped)$"
	busy    = "^TestRoaming(Fifty|Bulk)$|^TestRestartedPeer$"
)

var columns = []string{"what", "until it goes on", "runs that failed", "goal", "reached", quicGo, goLibp2p}

// Compare measures how long streams stand still.
func Compare(ctx context.Context, short bool) (report.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t := report.Table{Title: "Roaming", Note: note, Columns: columns}
	dir, err := os.MkdirTemp("", "roaming")
	if err != nil {
		return t, err
	}
	defer os.RemoveAll(dir)
	m := &measurement{file: filepath.Join(dir, "figures"), short: short}
	var errs []error
	if why := noNamespaces(ctx); why != "" {
		t.Note += "\n**Not everything was measured:** what takes hosts of its own, since " + why + ".\n"
	} else {
		errs = append(errs, m.run(ctx, dir))
	}
	figures, err := m.read()
	errs = append(errs, err, fill(&t, figures, short))
	share, err := m.socket(ctx)
	if errs = append(errs, err); err == nil {
		addShare(&t, share)
	}
	return t, errors.Join(errs...)
}

// noNamespaces says why there can be no network namespaces; "" if there can.
func noNamespaces(ctx context.Context) string {
	if runtime.GOOS != "linux" {
		return "network namespaces need Linux"
	}
	if os.Geteuid() != 0 {
		return "network namespaces need root"
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return "there is no program ip"
	}
	name := "bench-" + strconv.Itoa(os.Getpid())
	if out, err := exec.CommandContext(ctx, "ip", "netns", "add", name).CombinedOutput(); err != nil {
		return "ip netns says " + strings.TrimSpace(string(out))
	}
	_ = exec.CommandContext(ctx, "ip", "netns", "del", name).Run()
	return ""
}

// A measurement has figures written to a file.
type measurement struct {
	file  string
	short bool
}

// run runs the tests. Those that fail are in the table; only what cannot be run
// is an error.
func (m *measurement) run(ctx context.Context, dir string) error {
	ours, theirs := filepath.Join(dir, "nettest.test"), filepath.Join(dir, "roaming.test")
	if err := m.build(ctx, root, "./internal/nettest", ours); err != nil {
		return err
	}
	if err := m.build(ctx, ".", "./roaming", theirs); err != nil {
		return err
	}
	count := runs
	var all sync.WaitGroup
	if m.short {
		count = 1
	} else {
		for range beside {
			all.Go(func() { m.test(ctx, ours, waiting, runs/beside, 12) })
		}
	}
	all.Go(func() { m.test(ctx, theirs, "^TestOthers$", min(count, 5), 8) })
	m.test(ctx, ours, brief, count, 2)
	all.Wait()
	m.test(ctx, ours, busy, count, 1)
	return ctx.Err()
}

func (m *measurement) build(ctx context.Context, in, pkg, to string) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", to, pkg)
	cmd.Dir = in
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// test runs tests so often, some of them at once, and prints what fails.
func (m *measurement) test(ctx context.Context, binary, which string, count, atOnce int) {
	cmd := exec.CommandContext(ctx, binary, "-test.run="+which, fmt.Sprint("-test.count=", count), fmt.Sprint("-test.parallel=", atOnce), "-test.timeout="+timeout.String())
	cmd.Env = append(os.Environ(), labEnv+"=1", figuresEnv+"="+m.file)
	if m.short {
		cmd.Args = append(cmd.Args, "-test.short")
	} else {
		cmd.Env = append(cmd.Env, soakEnv+"=1")
	}
	out, err := cmd.CombinedOutput()
	if err == nil {
		return
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "--- FAIL") || strings.Contains(line, "Error:") {
			fmt.Fprint(os.Stderr, "bench: ", line)
		}
	}
}

// A figure is a run of a row, as a test writes it.
type figure struct {
	Row     string
	Seconds float64
	Failed  bool // of ours: a test. Of others: the stream has ended
}

// read returns what was written, by row.
func (m *measurement) read() (map[string][]figure, error) {
	all := map[string][]figure{}
	b, err := os.ReadFile(m.file)
	if errors.Is(err, os.ErrNotExist) {
		return all, nil
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		var f figure
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return all, err
		}
		all[f.Row] = append(all[f.Row], f)
	}
	return all, err
}
