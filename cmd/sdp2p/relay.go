package main

import (
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/server/daemon"
	"github.com/sdp2p/p2p/relay/token"
)

const relayHelp = `Without an argument it runs a relay until it is told to end (SIGTERM, Ctrl-C); it then asks its clients to move to others.
It does not need root. FILE has any of these flags, as NAME = VALUE in each line; the command line takes precedence.
The key by which clients identify the relay is in the state folder: "sdp2p id relay-state/relay.pem" shows it.

sdp2p relay token --issuer KEY --node NODE --account UUID [--rights reserve,connect] [--for 24h] [--relay RELAY] [--rate 4MB]
                  [--quota 50GB] [--serial N]
        prints a token: NODE may use relays that trust the issuer, and the account pays. KEY is a key file that signs nothing
        else; "sdp2p id --create KEY" makes one. A program that issues tokens uses package relay/token.

sdp2p relay list --key KEY --relays FILE --out LIST [--for 24h] [--number N]
        signs the list of relays that apps with package relay/directory fetch from a web server, and writes it to LIST. Each line
        of FILE is KEY ZONE ADDR …, with "-" for no zone. A list is valid for a day at most; its number is the time in seconds
        unless it is given.
sdp2p relay list --show LIST
        prints a list.

sdp2p relay usage [--state relay-state] [--format table|csv|json] [--period 2026-03]
        prints the bytes of each account in each period, even while the relay runs. Held bytes are granted to circuits, at most
        8 MiB for each relay and a little more, and counted until they are settled, within minutes after the last circuit.
`

func relays(flags *flag.FlagSet) action {
	var o daemon.Options
	o.Register(flags)
	config := flags.String("config", "", "a file with any of these")
	return func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
		if len(args) > 0 {
			switch args[0] {
			case "token":
				return issueToken(args[1:], stdout)
			case "list":
				return signList(args[1:], stdout)
			case "usage":
				return showUsage(args[1:], stdout)
			}
			return usageError{fmt.Errorf("%q is not token, list or usage", args[0])}
		}
		if err := daemon.LoadFile(flags, *config); err != nil {
			return err
		}
		return o.Run(ctx, stderr)
	}
}

// parse parses the flags of a subcommand.
func parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		return usageError{err}
	}
	if flags.NArg() > 0 {
		return usageError{fmt.Errorf("%q is one argument too many", flags.Arg(0))}
	}
	return nil
}

func issueToken(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("token", flag.ContinueOnError)
	issuer := flags.String("issuer", "", "")
	rights := flags.String("rights", "reserve,connect", "")
	life := flags.Duration("for", token.MaxLife, "")
	var t token.Token
	flags.TextVar(&t.Node, "node", identity.RemoteIdentity{}, "")
	flags.TextVar(&t.Relay, "relay", identity.RemoteIdentity{}, "")
	flags.TextVar(&t.Account, "account", uuid.Nil, "")
	flags.Func("rate", "", func(s string) error { return setSize(&t.Rate, s) })
	flags.Func("quota", "", func(s string) error { return setSize(&t.Quota, s) })
	serial := flags.Uint("serial", 0, "")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *issuer == "" || t.Node.IsZero() || t.Account == uuid.Nil {
		return usageError{errors.New("--issuer, --node and --account are required")}
	}
	var err error
	if t.Rights, err = token.ParseRights(*rights); err != nil {
		return usageError{err}
	}
	if t.Serial = uint32(*serial); uint(t.Serial) != *serial {
		return usageError{errors.New("the serial has 32 bits")}
	}
	key, err := identity.Load(*issuer)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, remedy(*issuer, false, err))
	}
	t.NotBefore = time.Now().Truncate(time.Minute)
	t.Expiry = t.NotBefore.Add(*life)
	if t, err = t.Sign(key); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, t.Text())
	return err
}

func setSize(to *uint64, s string) error {
	n, err := daemon.ParseSize(s)
	if n < 0 {
		n = 1<<63 - 1
	}
	*to = uint64(n)
	return err
}

// A usage is the output of --format json for an account in a period.
type usage struct {
	Period  string                  `json:"period"`
	Issuer  identity.RemoteIdentity `json:"issuer"`
	Account uuid.UUID               `json:"account"`
	Bytes   int64                   `json:"bytes"`
	Held    int64                   `json:"held"`
}

func showUsage(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("usage", flag.ContinueOnError)
	state := flags.String("state", "relay-state", "")
	format := flags.String("format", "table", "")
	period := flags.String("period", "", "")
	if err := parse(flags, args); err != nil {
		return err
	}
	uses, err := server.ReadLedger(filepath.Join(*state, daemon.LedgerFile))
	if err != nil {
		return err
	}
	all := []usage{} // not null in JSON
	for _, u := range uses {
		if name := u.Period.String(); strings.HasPrefix(name, *period) {
			all = append(all, usage{name, u.Account.Issuer, u.Account.Number, u.Bytes, u.Held})
		}
	}
	switch *format {
	case "json":
		return writeJSON(stdout, all)
	case "csv":
		return writeCSV(stdout, all)
	case "table":
		return writeUsage(stdout, all)
	}
	return usageError{fmt.Errorf("--format %q is not table, csv or json", *format)}
}

var usageColumns = []string{"period", "issuer", "account", "bytes", "held"}

func (u usage) row() []string {
	return []string{u.Period, u.Issuer.String(), u.Account.String(), strconv.FormatInt(u.Bytes, 10), strconv.FormatInt(u.Held, 10)}
}

func writeCSV(w io.Writer, all []usage) error {
	c := csv.NewWriter(w)
	c.Write(usageColumns)
	for _, u := range all {
		c.Write(u.row())
	}
	c.Flush()
	return c.Error()
}

func writeUsage(w io.Writer, all []usage) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.ToUpper(strings.Join(usageColumns, "\t")))
	for _, u := range all {
		row := u.row()
		if row[1] == "" {
			row[1] = "-" // configured by key
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}
