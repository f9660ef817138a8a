// Command bench measures all subjects in turn and writes bench/RESULTS.md. It
// is run in the directory internal/bench, and fails only if something cannot be
// measured that should be, never for a figure.
//
//	go run ./cmd/bench                          # as make bench does
//	go run ./cmd/bench -only discovery -short   # a look at one subject; nothing is written
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sdp2p/p2p/internal/bench/block"
	"github.com/sdp2p/p2p/internal/bench/call"
	"github.com/sdp2p/p2p/internal/bench/codec"
	"github.com/sdp2p/p2p/internal/bench/contacts"
	"github.com/sdp2p/p2p/internal/bench/core"
	"github.com/sdp2p/p2p/internal/bench/page"
	"github.com/sdp2p/p2p/internal/bench/quiet"
	"github.com/sdp2p/p2p/internal/bench/relay/fleet"
	"github.com/sdp2p/p2p/internal/bench/report"
	"github.com/sdp2p/p2p/internal/bench/roaming"
	"github.com/sdp2p/p2p/internal/bench/transport"
	"github.com/sdp2p/p2p/internal/bench/tunnel"
)

// A subject is measured and reported as one table.
type subject struct {
	name    string
	modules []string // of peers, for their versions
	run     func(ctx context.Context, short bool) (report.Table, error)
}

var subjects = []subject{
	{"core", []string{"github.com/libp2p/go-libp2p"}, core.Compare},
	{"scaling", nil, core.Scale},
	{"codec", []string{
		"github.com/tinylib/msgp", "google.golang.org/protobuf", "github.com/planetscale/vtprotobuf", "github.com/fxamacker/cbor/v2",
		"github.com/vmihailenco/msgpack/v5",
	}, codec.Compare},
	{"tunnel", []string{"github.com/flynn/noise", "golang.org/x/crypto"}, tunnel.Compare},
	{"transport", []string{"github.com/quic-go/quic-go", "github.com/libp2p/go-libp2p"}, transport.Compare},
	{"connections", nil, transport.Scale},
	{"calls", []string{"google.golang.org/grpc"}, call.Compare},
	{"block", nil, block.Compare},
	{"quiet", nil, quiet.Compare},
	{"people", []string{"rsync", "curl"}, tested("./people", 40*time.Minute)},
	{"roaming", nil, roaming.Compare},
	{"contacts", nil, contacts.Compare},
	{"page", nil, page.Compare},
	{"relay", nil, tested("./relay/away", 40*time.Minute)},
	{"relays", nil, fleet.Compare},
	{"discovery", []string{"github.com/hashicorp/mdns", "avahi-daemon"}, tested("./discovery", 7*time.Minute)},
}

func main() {
	out := flag.String("o", filepath.Join("..", "..", "bench", "RESULTS.md"), "file to write the report to")
	only := flag.String("only", "", "measure this subject only, and write nothing")
	skip := flag.String("skip", "", "do not measure this subject, and write nothing")
	short := flag.Bool("short", false, "measure a little, to see that it works, and write nothing")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx := context.Background()
	text := header(ctx)
	var drawings []drawing
	failed, measured := false, false
	for _, s := range subjects {
		if *only != "" && s.name != *only || s.name == *skip {
			continue
		}
		measured = true
		fmt.Fprintf(os.Stderr, "bench: measuring %s\n", s.name)
		began := time.Now()
		table, err := s.run(ctx, *short)
		if err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", s.name, err)
		}
		if table.Title == "" {
			table = report.Table{Title: s.name, Note: "The measurement failed."}
		}
		fmt.Printf("%s\n(%s: %.0f s)\n\n", table.Markdown(), s.name, time.Since(began).Seconds())
		text += "\n" + table.Markdown()
		for _, p := range table.Plots {
			drawings = append(drawings, drawing{p.Name, p.Save})
		}
		if c := table.Chart; len(c.Panels) > 0 {
			drawings = append(drawings, drawing{c.Name, c.Save})
		}
	}
	if !measured {
		fmt.Fprintf(os.Stderr, "bench: there is no subject %q\n", *only)
		os.Exit(2)
	}
	if *only == "" && *skip == "" && !*short {
		if err := write(*out, text, drawings); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// A drawing is saved beside the report.
type drawing struct {
	name string
	save func(file string) error
}

func write(file, text string, drawings []drawing) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	for _, d := range drawings {
		if err := d.save(filepath.Join(filepath.Dir(file), d.name+".svg")); err != nil {
			return err
		}
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// tested is a subject that is measured by a Go test, which writes its table to
// the file that [report.File] names. The table counts even if the test fails:
// it has what could be measured.
func tested(pkg string, timeout time.Duration) func(context.Context, bool) (report.Table, error) {
	return func(ctx context.Context, short bool) (table report.Table, err error) {
		dir, err := os.MkdirTemp("", "bench")
		if err != nil {
			return table, err
		}
		defer os.RemoveAll(dir)
		file := filepath.Join(dir, "table.json")
		args := []string{"test", "-count=1", "-v", "-timeout", timeout.String(), pkg}
		if short {
			args = append(args, "-short")
		}
		var log bytes.Buffer
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), report.File+"="+file)
		cmd.Stdout, cmd.Stderr = &log, &log
		err = cmd.Run()
		if err != nil {
			err = fmt.Errorf("%w:\n%s", err, strings.TrimSpace(log.String()))
		}
		b, readErr := os.ReadFile(file)
		if readErr == nil {
			readErr = json.Unmarshal(b, &table)
		}
		if err == nil {
			err = readErr
		}
		return table, err
	}
}
