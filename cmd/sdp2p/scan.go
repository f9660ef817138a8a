package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/text"
	"github.com/sdp2p/p2p/mdns/scan"
)

const scanHelp = `Nodes' claims are not verified. Ctrl-C ends a scan early and prints the nodes found so far. The table has one line for
each node: its name, its identity, its addresses, the number of its libraries, and how long ago it answered.
With --json there is an array with one object for each node, ordered by identity, and always with these keys:

  identity     the public key, in 43 characters of base64
  fingerprint  of that key, for people to compare
  name         the node's name for itself, or ""
  addresses    array of "ip:port" and "[ip]:port"
  libraries    object: the node's instance in each library, by the library's UUID, as announced
  metadata     object: everything that the node announces, including name and libraries
  heard        when it last answered (RFC 3339)
`

// A node is the output of --json for a node; scanHelp describes it.
type node struct {
	Identity    identity.RemoteIdentity `json:"identity"`
	Fingerprint string                  `json:"fingerprint"`
	Name        string                  `json:"name"`
	Addresses   []netip.AddrPort        `json:"addresses"`
	Libraries   map[string]string       `json:"libraries"`
	Metadata    map[string]string       `json:"metadata"`
	Heard       time.Time               `json:"heard"`
}

// A scanner lists the nodes of an app on the local network, as [scan.Scan]
// does.
type scanner func(ctx context.Context, app string, cfg scan.Config) ([]scan.Node, error)

// setup makes the command.
func (s scanner) setup(flags *flag.FlagSet) action {
	app := flags.String("app", "sd", "whose nodes: the name of an `app`")
	on := flags.String("interface", "", "the `name` of the network interface to scan, instead of all except loopback and point-to-point ones")
	wait := flags.Duration("time", 2*time.Second, "how long to wait for answers, such as 500ms")
	asJSON := flags.Bool("json", false, "print JSON instead of a table")
	return func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
		switch err := p2p.ValidateApp(*app); {
		case len(args) > 0:
			return usageError{fmt.Errorf("%q is one argument too many", args[0])}
		case err != nil:
			return usageError{fmt.Errorf("--app %q: 1 to 12 letters, digits and inner hyphens with at least one letter are required", *app)}
		case *wait <= 0:
			return usageError{fmt.Errorf("--time %v: it has to be positive", *wait)}
		}
		warn := func(err error) { fmt.Fprintf(stderr, "sdp2p scan: incomplete: %v\n", err) }
		hidden := 0
		found, err := s(ctx, *app, scan.Config{Interface: *on, Time: *wait, Warn: warn, Hidden: func(scan.Hidden) { hidden++ }})
		if err != nil {
			names := ""
			all, _ := net.Interfaces() // only a hint
			for _, i := range all {
				names += " " + i.Name
			}
			return fmt.Errorf("%w\n--interface chooses one that works; there are:%s", err, names)
		}
		nodes := make([]node, len(found)) // not nil: that would be null in JSON
		for i, n := range found {
			nodes[i] = describe(n)
		}
		if hidden > 0 {
			fmt.Fprintf(stderr, "sdp2p scan: %s visible to contacts only, and not listed\n", text.Count(hidden, "node is", "nodes are"))
		}
		switch {
		case *asJSON:
			return writeJSON(stdout, nodes)
		case len(nodes) > 0:
			return writeTable(stdout, nodes)
		}
		if hidden > 0 {
			return nil
		}
		fmt.Fprintf(stderr, "No node of the app %q answered. If there is one: is it on this network, and does its firewall let UDP port 5353 through?\n", *app)
		return nil
	}
}

func describe(n scan.Node) node {
	return node{
		Identity: n.Identity, Fingerprint: n.Identity.Fingerprint(), Name: p2p.ParseNodeMetadata(n.Metadata).Name,
		Addresses: append([]netip.AddrPort{}, n.Addrs...), Libraries: p2p.Libraries(n.Metadata), Metadata: n.Metadata, Heard: n.Heard.UTC(),
	}
}

// writeTable prints whole identities, for copying. Fingerprints are for
// comparing, and cannot be parsed.
func writeTable(w io.Writer, nodes []node) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tIDENTITY\tADDRESSES\tLIBRARIES\tAGE")
	for _, n := range nodes {
		addrs := fmt.Sprint(n.Addresses)
		fmt.Fprintf(t, "%s\t%v\t%s\t%d\t%v\n", cmp.Or(printable(n.Name), "-"), n.Identity, addrs[1:len(addrs)-1],
			len(n.Libraries), time.Since(n.Heard).Round(100*time.Millisecond))
	}
	return t.Flush()
}

// printable returns the part of a stranger's text that may go to a terminal:
// its first 32 characters, without any that move the cursor, change the
// direction of writing or are invisible.
func printable(s string) string {
	if r := []rune(s); len(r) > 32 {
		s = string(r[:31]) + "…"
	}
	return strings.TrimSpace(text.Mask(s))
}

// writeJSON also escapes characters that JSON does not require to be escaped,
// but that a terminal may act on. They are all inside strings.
func writeJSON(w io.Writer, document any) error {
	plain, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return err
	}
	var b []byte
	for _, r := range string(plain) {
		if r == '\n' || unicode.IsPrint(r) {
			b = append(b, string(r)...)
		} else {
			for _, unit := range utf16.AppendRune(nil, r) {
				b = fmt.Appendf(b, `\u%04x`, unit)
			}
		}
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
