package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/text"
)

const statusHelp = `ADDRESS is where the app serves its package debugpage: a port such as :7380 of this computer, an address and a port,
or a URL. The text lists the node's hooks, its peers, and the latest events; --json prints everything that the page has,
as documented at State in package p2p.
`

const (
	statusTime = 10 * time.Second
	statusSize = 64 << 20 // bytes of JSON
	statusLast = 10       // events that are listed
)

func status(flags *flag.FlagSet) action {
	asJSON := flags.Bool("json", false, "print JSON instead of text")
	return func(ctx context.Context, args []string, stdout, _ io.Writer) error {
		switch {
		case len(args) == 0 || args[0] == "":
			return usageError{errors.New("which ADDRESS?")}
		case len(args) > 1:
			return usageError{fmt.Errorf("%q is one argument too many; flags go before ADDRESS", args[1])}
		}
		page, err := pageAt(args[0])
		if err != nil {
			return usageError{err}
		}
		data, err := stateAt(ctx, page)
		if err != nil {
			return err
		}
		if *asJSON {
			return writeJSON(stdout, json.RawMessage(data))
		}
		var s p2p.State
		if err := json.Unmarshal(data, &s); err != nil {
			return fmt.Errorf("%v answers, but not with the state of a node: %w", page, err)
		}
		return writeStatus(stdout, s)
	}
}

// pageAt returns the URL of a page's state.
func pageAt(address string) (*url.URL, error) {
	switch {
	case strings.Contains(address, "://"):
	case strings.HasPrefix(address, ":"):
		address = "http://127.0.0.1" + address
	default:
		address = "http://" + address
	}
	page, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if page.Scheme != "http" && page.Scheme != "https" || page.Host == "" {
		return nil, fmt.Errorf("%q is neither a port, an address and a port, nor a URL", address)
	}
	return page.JoinPath("state"), nil
}

// stateAt fetches the state of a page.
func stateAt(ctx context.Context, page *url.URL) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, page.String(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultTransport.RoundTrip(r) // which does not follow redirects
	if err != nil {
		return nil, fmt.Errorf("%w\nDoes the app run, and does it serve package debugpage there?", err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, statusSize))
	switch {
	case err != nil:
		return nil, err
	case answer.StatusCode != http.StatusOK:
		first, _, _ := strings.Cut(string(data), "\n")
		return nil, fmt.Errorf("%v answers %s: %s", page, text.Mask(answer.Status), text.Mask(first))
	case !json.Valid(data):
		return nil, fmt.Errorf("%v answers, but not with the state of a node", page)
	}
	return data, nil
}

// writeStatus writes the parts of a state that fit a terminal.
func writeStatus(w io.Writer, s p2p.State) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "node\t%s\napp\t%s\nidentity\t%v\nruns for\t%v\n", cmp.Or(printable(s.Metadata["name"]), "-"), printable(s.App), s.Identity,
		s.Time.Sub(s.Started).Round(time.Second))
	for _, h := range s.Hooks {
		state := "serves"
		switch {
		case h.Stopped:
			state = "has stopped: " + cmp.Or(text.Mask(h.Cause), "without an error")
		case !h.Ready:
			state = "does not serve yet"
		}
		at := ""
		for _, a := range h.Addrs {
			at += " " + text.Mask(a.String()) // a zone may be anything
		}
		fmt.Fprintf(t, "hook %s\t%s%s\n", printable(h.Name), state, at)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(t, "\nPEER\tIDENTITY\tPATH\tRTT\tSENT\tRECEIVED\tSTREAMS\n")
	for _, p := range s.Peers {
		writePeer(t, p)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(t)
	for _, e := range s.Events[max(0, len(s.Events)-statusLast):] {
		writeEvent(t, e)
	}
	return t.Flush()
}

func writePeer(w io.Writer, p p2p.PeerState) {
	path, rtt := "none", "-"
	if p.Unreachable != "" {
		path = "none: " + text.Mask(p.Unreachable)
	}
	if len(p.Connections) > 0 {
		c := p.Connections[0]
		path, rtt = text.Mask(c.Path.String()), cmp.Or(c.RTT.Round(100*time.Microsecond).String(), "-")
	}
	var bytes p2p.Bytes
	for _, b := range p.Bytes {
		bytes.Sent, bytes.Received = bytes.Sent+b.Sent, bytes.Received+b.Received
	}
	streams := 0
	for _, open := range p.Streams {
		streams += open.Number
	}
	fmt.Fprintf(w, "%s\t%v\t%s\t%s\t%d\t%d\t%d\n", cmp.Or(printable(p.Name), "-"), p.Identity, path, rtt, bytes.Sent, bytes.Received, streams)
}

func writeEvent(w io.Writer, e p2p.Note) {
	what := e.What
	if e.Times > 1 {
		what = fmt.Sprintf("%s, %d times", what, e.Times)
	}
	peer := "-"
	if !e.Peer.IsZero() {
		peer = e.Peer.Fingerprint()
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", e.Time.Local().Format(time.TimeOnly), printable(what), peer, printable(e.Hook), text.Mask(cmp.Or(e.Error, e.Cause)))
}
