// Drop sends files and folders to another device on the local network.
//
//	go run ./examples/drop receive DIR
//	go run ./examples/drop send PATH... [--to NAME]
//	go run ./examples/drop --demo PATH
//
// Without --to the sender lists the devices that receive, and asks. What arrives is verified with BLAKE3; Ctrl-C on either
// side cancels on both. The demo sends PATH from one process to another on this computer.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/quic"
	"golang.org/x/term"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "drop: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	hostname, _ := os.Hostname()
	flags := flag.NewFlagSet("drop", flag.ExitOnError)
	name := flags.String("name", hostname, "the `name` that others see")
	to := flags.String("to", "", "send to the device with this `name` or fingerprint")
	show := flags.String("demo", "", "send this `path` between two processes on this computer")
	on := flags.String("interface", "", "find devices on these network `interfaces` only")
	var words []string
	for flags.Parse(args); flags.NArg() > 0; flags.Parse(args) { // flags may stand anywhere
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	cfg := p2p.Config{App: "drop", Name: *name}
	cfg.Hooks = []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{Interfaces: strings.Fields(*on)})}
	switch {
	case *show != "" && len(words) == 0:
		return demo(ctx, *show)
	case len(words) == 2 && words[0] == "receive":
		return receive(ctx, cfg, words[1])
	case len(words) >= 2 && words[0] == "send":
		return send(ctx, cfg, *to, words[1:])
	}
	return errors.New("one of these, please: drop receive DIR, drop send PATH..., drop --demo PATH")
}

// interruptible returns a context that Ctrl-C ends.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// who describes a peer. Names are quoted, since they may contain anything.
func who(p *p2p.Peer) string { return fmt.Sprintf("%q (%s)", p.Name(), p.Identity().Fingerprint()) }

// explain says why a transfer failed.
func explain(ctx context.Context, err error, other string) error {
	if ctx.Err() != nil {
		return errors.New("cancelled")
	}
	if errors.Is(err, cancelled) {
		return fmt.Errorf("cancelled by %s", other)
	}
	return fmt.Errorf("the transfer with %s failed: %w", other, err)
}

// progress returns a bar for a transfer, which is seen on terminals only.
func progress(what offer) *progressbar.ProgressBar {
	if term.IsTerminal(int(os.Stderr.Fd())) {
		return progressbar.DefaultBytes(what.bytes)
	}
	return progressbar.DefaultBytesSilent(what.bytes)
}

// A transfer is one stream. The sender writes an offer, a tar archive, and the BLAKE3 hash of the archive (32 bytes), and
// ends its direction. The receiver ends the other one when everything is verified and in its place; if something is wrong,
// it resets the stream. Either side resets it with this code when its user cancels.
const cancelled = p2p.FirstAppCode

// An offer says what is going to be sent.
//
//	size  field
//	4     files
//	8     bytes  of all files together, signed
type offer struct {
	files uint32
	bytes int64
}

// AppendBinary appends m to b.
func (m *offer) AppendBinary(b []byte) ([]byte, error) {
	return proto.AppendUint64(proto.AppendUint32(b, m.files), uint64(m.bytes)), nil
}

// DecodeFrom reads m.
func (m *offer) DecodeFrom(d *proto.Decoder) error {
	*m = offer{d.Uint32(), int64(d.Uint64())}
	if m.bytes < 0 {
		d.Fail(fmt.Errorf("%w offer of %d bytes", proto.ErrInvalid, m.bytes))
	}
	return d.Err()
}

// String returns a form like "812 files, 9.4 MB".
func (m *offer) String() string {
	return fmt.Sprintf("%d files, %.1f MB", m.files, float64(m.bytes)/1e6)
}

// since returns a form like "812 files, 9.4 MB in 0.61 s (15.4 MB/s)".
func (m *offer) since(began time.Time) string {
	seconds := time.Since(began).Seconds()
	return fmt.Sprintf("%v in %.2f s (%.1f MB/s)", m, seconds, float64(m.bytes)/1e6/seconds)
}

// hostile matches what could be taken for something else than a name: drive letters, the devices of Windows, backslashes,
// control characters, and those that turn the direction of writing; and names that are too long.
var hostile = regexp.MustCompile(
	`(?i)[\\\p{Cc}\x{202A}-\x{202E}\x{2066}-\x{2069}]|(^|/)([a-z]:|(con|prn|aux|nul|com\d|lpt\d)([./]|$)|[^/]{256})`)

// safe tells whether path is relative, with slashes, and leads to something further down.
func safe(path string) bool {
	return len(path) <= 4096 && path != "." && fs.ValidPath(path) && filepath.IsLocal(path) && !hostile.MatchString(path)
}
