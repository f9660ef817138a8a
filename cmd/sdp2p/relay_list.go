package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/directory"
)

// A listFile is the flags of "sdp2p relay list".
type listFile struct {
	key, relays, out, show string
	life                   time.Duration
	number                 uint64
}

func signList(args []string, stdout io.Writer) error {
	var f listFile
	flags := flag.NewFlagSet("list", flag.ContinueOnError)
	flags.StringVar(&f.key, "key", "", "")
	flags.StringVar(&f.relays, "relays", "", "")
	flags.StringVar(&f.out, "out", "", "")
	flags.StringVar(&f.show, "show", "", "")
	flags.DurationVar(&f.life, "for", directory.MaxLife, "")
	flags.Uint64Var(&f.number, "number", 0, "")
	if err := parse(flags, args); err != nil {
		return err
	}
	if f.show != "" {
		return showList(f.show, stdout)
	}
	if f.key == "" || f.relays == "" || f.out == "" {
		return usageError{errors.New("either --key, --relays and --out are required, or --show")}
	}
	return f.sign(stdout)
}

// sign signs a list, and replaces the previous one.
func (f listFile) sign(stdout io.Writer) error {
	key, err := identity.Load(f.key)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, remedy(f.key, false, err))
	}
	now := time.Now()
	l := directory.List{Number: f.number, Issued: now, Expiry: now.Truncate(time.Minute).Add(f.life)}
	if l.Number == 0 {
		l.Number = uint64(now.Unix())
	}
	if l.Servers, err = readRelays(f.relays); err != nil {
		return err
	}
	if err := directory.WriteFile(f.out, l, key); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%d relays, number %d, until %s, signed by %v\n", len(l.Servers), l.Number, l.Expiry.UTC().Format(time.RFC3339), key.Remote())
	return err
}

// readRelays reads a file with a relay in each line: its key, its zone or "-",
// and its addresses. "#" begins a comment.
func readRelays(path string) (all []relay.Server, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		s, err := parseRelay(fields)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		all = append(all, s)
	}
	if len(all) == 0 && lines.Err() == nil {
		return nil, fmt.Errorf("%s names no relay: nodes would be left without relays", path)
	}
	return all, lines.Err()
}

func parseRelay(fields []string) (s relay.Server, err error) {
	if len(fields) < 3 {
		return s, errors.New("not KEY ZONE ADDR …")
	}
	if s.Identity, err = identity.Parse(fields[0]); err != nil {
		return s, err
	}
	if fields[1] != "-" {
		s.Zone = fields[1]
	}
	for _, text := range fields[2:] {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			return s, err
		}
		s.Addrs = append(s.Addrs, a)
	}
	return s, nil
}

func showList(path string, stdout io.Writer) error {
	l, err := directory.ReadFile(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "# number %d, %s to %s, signed by %v\n", l.Number, l.Issued.UTC().Format(time.RFC3339), l.Expiry.UTC().Format(time.RFC3339), l.Signer)
	for _, s := range l.Servers {
		line := []string{s.Identity.String(), s.Zone}
		if s.Zone == "" {
			line[1] = "-"
		}
		for _, a := range s.Addrs {
			line = append(line, a.String())
		}
		fmt.Fprintln(stdout, strings.Join(line, " "))
	}
	return l.Fresh(time.Now())
}
