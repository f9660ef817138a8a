package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/text"
	"github.com/sdp2p/p2p/mdns/scan"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
)

const doctorHelp = `It reports what works on this host (ok), what may cause trouble (warn) and what does (fail), each with advice:

  interfaces   the interfaces that are up, their addresses, and whether discovery uses them and QUIC's packets fit
  container    if this is a container or a virtual machine in a network of its own: who can reach it, and which address to type
  multicast    whether a query of its own comes back, and what other devices send, on each interface, over IPv4 and over IPv6
  port         whether the UDP port is free, and whether packets from another address of this host arrive. A firewall may still
               treat packets from outside differently: to find out, run the doctor on another device with this host's address
  socket       what the system grants for fast transfers
  clock        whether the time is plausible. It is compared only with the clocks of contacts
  contacts     how many nodes of the app are visible to their contacts only, if any: other nodes may be hidden among them. For each
               --contact, whether it announces itself to the key of --key, and whether the two clocks are too far apart
  token        for each --token: for which node and relay, until when, and with which rights
  relay        for each --relay: whether this node can be called through it, and where it sees this host. With --key the doctor
               takes the app's place there while it runs: nobody reaches the app through these relays meanwhile
  nat          how the router between this host and the relays assigns ports: none, cone, or symmetric, which takes two relays
               at different IP addresses to find out
  path         with --relay and PEER: whether the peer is reached through the relays, whether a direct path was found, and why not
  peer         PEER, the 43 characters of an identity, is looked up by discovery, and each address that it announces is tried.
               ADDRESS is "host", "host:port", "ip", "ip:port" or "[ipv6]:port", with port 7373 if none is given; each address
               of a name is tried. The node that answers has proved the identity shown, and chosen its name itself

It takes twice --time, or a little more, and three times with PEER; with --relay some seconds more. It announces no node; with an argument, the peer sees a node "sdp2p doctor" for a moment.
On Linux it finds out most: which ICMP message came back and from whom, multicast groups, neighbors, and the age of addresses.
After Ctrl-C nothing is printed. With --json it prints one object, always with these keys:

  verdict  "ok", "warn" or "fail": the worst of those below
  checks   array of objects, in the order of the table: topic (see above), subject, verdict, code (see below), value, and
           advice or ""
  heard    array of objects, one for each other device whose multicast was heard: interface, family ("IPv4" or "IPv6"), source,
           packets
  peer     null without an argument, otherwise an object: asked, reached (by one candidate at least), and candidates, an array of
           objects: address, reached, milliseconds (until its identity was proved and its metadata arrived; otherwise how long
           it was tried), identity, fingerprint and name of the node there, or ""
  outside  null without --relay, otherwise an object: nat ("none", "cone", "symmetric" or "unknown"), path ("direct", "relay", or
           "" if no PEER was reached through the relays), and relays, an array of objects: address, identity, reserved,
           observed (where it sees this host, or ""), milliseconds (of a round trip, or 0)

The texts of value and advice are for people, and may change. The codes do not change; they mean:

`

// A verdict is the doctor's verdict on a check.
type verdict string

const (
	fine verdict = "ok"
	warn verdict = "warn"
	fail verdict = "fail"
)

// worse reports whether v is worse than o.
func (v verdict) worse(o verdict) bool { return v == fail && o != fail || v == warn && o == fine }

// A check is one line of the table.
type check struct {
	Topic   string  `json:"topic"`
	Subject string  `json:"subject"`
	Verdict verdict `json:"verdict"`
	Code    code    `json:"code"`
	Value   string  `json:"value"`
	Advice  string  `json:"advice"`
}

// A report is the output of --json; doctorHelp describes it.
type report struct {
	Verdict verdict     `json:"verdict"`
	Checks  []check     `json:"checks"`
	Heard   []source    `json:"heard"`
	Peer    *peerReport `json:"peer"`
	Outside *outReport  `json:"outside"`
}

// A source is a device whose multicast packets were heard.
type source struct {
	Interface string     `json:"interface"`
	Family    string     `json:"family"`
	Source    netip.Addr `json:"source"`
	Packets   int        `json:"packets"`
}

type peerReport struct {
	Asked      string      `json:"asked"`
	Reached    bool        `json:"reached"`
	Candidates []candidate `json:"candidates"`
}

// A candidate is one address that was tried.
type candidate struct {
	Address      netip.AddrPort          `json:"address"`
	Reached      bool                    `json:"reached"`
	Milliseconds float64                 `json:"milliseconds"`
	Identity     identity.RemoteIdentity `json:"identity"`
	Fingerprint  string                  `json:"fingerprint"`
	Name         string                  `json:"name"`
}

// An outReport is the part of a report about the world beyond the local
// network.
type outReport struct {
	NAT    mapping       `json:"nat"`
	Path   string        `json:"path"`
	Relays []relayReport `json:"relays"`
}

type relayReport struct {
	Address      netip.AddrPort          `json:"address"`
	Identity     identity.RemoteIdentity `json:"identity"`
	Reserved     bool                    `json:"reserved"`
	Observed     netip.AddrPort          `json:"observed"`
	Milliseconds float64                 `json:"milliseconds"`
}

// A doctor is one check-up.
type doctor struct {
	outside  outside
	contacts []identity.RemoteIdentity

	app  string
	on   string // the only interface to use; "" for those that discovery uses
	port uint16
	wait time.Duration

	network   dnssd.Network
	scan      scanner // nil for none
	lookup    func(ctx context.Context, host string) ([]netip.Addr, error)
	describe  func(*facts)      // adds the system's knowledge of the links; may be nil
	neighbors func() []neighbor // nil for none
}

func checkUp(flags *flag.FlagSet) action {
	d := &doctor{
		network: dnssd.System(), scan: scan.Scan, describe: describeLinks, neighbors: listNeighbors,
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
	}
	flags.StringVar(&d.app, "app", "sd", "whose nodes: the name of an `app`")
	port := flags.Uint("port", quic.DefaultPort, "the UDP `port` of this host to check: the app's quic.Config.Port")
	flags.StringVar(&d.on, "interface", "", "the `name` of the only network interface to check, instead of all that discovery uses")
	flags.DurationVar(&d.wait, "time", 3*time.Second, "how long to listen, and how long an address may take to answer, such as 500ms")
	asJSON := flags.Bool("json", false, "print JSON instead of a table")
	var file reportFile
	flags.StringVar(&file.path, "report", "", "also write a new `FILE` for a bug report, as text, without secrets and names of devices")
	flags.StringVar(&file.state, "state", "", "with --report: the `FILE` with the app's state, a p2p.State as JSON, from which names are removed")
	d.outside.register(flags)
	flags.Func("contact", "with --key: the `KEY` of a contact of the app to look for, which may be visible to its contacts only; may be repeated", d.addContact)
	return func(ctx context.Context, args []string, stdout, _ io.Writer) error {
		switch err := p2p.ValidateApp(d.app); {
		case len(args) > 1:
			return usageError{fmt.Errorf("%q is one argument too many; flags go before PEER or ADDRESS", args[1])}
		case err != nil:
			return usageError{fmt.Errorf("--app %q: 1 to 12 letters, digits and inner hyphens with at least one letter are required", d.app)}
		case *port == 0 || *port > math.MaxUint16:
			return usageError{fmt.Errorf("--port %d: 1 to 65535 are required", *port)}
		case d.wait <= 0:
			return usageError{fmt.Errorf("--time %v: it has to be positive", d.wait)}
		case file.state != "" && file.path == "":
			return usageError{errors.New("--state requires --report")}
		}
		d.port = uint16(*port)
		if err := d.outside.check(len(d.contacts) > 0); err != nil {
			return err
		}
		var t *target
		if len(args) == 1 {
			var err error
			if t, err = parseTarget(args[0]); err != nil {
				return usageError{err}
			}
		}
		r, err := d.examine(ctx, t)
		if err == nil {
			err = file.write(d, r, args)
		}
		if err == nil && *asJSON {
			err = writeJSON(stdout, r)
		} else if err == nil {
			err = r.write(stdout)
		}
		if err == nil && r.Verdict == fail {
			err = fmt.Errorf("of %d checks, %d failed; the lines with %q say what to do", len(r.Checks), r.count(fail), fail)
		}
		return err
	}
}

// examine makes all checks. It fails if ctx ends.
func (d *doctor) examine(ctx context.Context, t *target) (*report, error) {
	f := d.observe(ctx, t)
	if ctx.Err() != nil {
		return nil, errors.New("interrupted before everything was checked")
	}
	return f.report(), nil
}

// observe collects the facts.
func (d *doctor) observe(ctx context.Context, t *target) *facts {
	began := time.Now()
	f := &facts{system: system, on: d.on, app: d.app, port: d.port, wait: d.wait}
	d.links(f)
	var ears []earFacts
	var ports []portFacts
	var peer *peerFacts
	var out *outsideFacts
	var all, listening sync.WaitGroup
	listening.Go(func() { ears = d.listen(ctx, f) })
	all.Go(func() {
		ports = d.ports(ctx, f)
		if t == nil {
			return
		}
		if !t.peer.IsZero() { // only one of two sockets at the port of discovery gets a unicast answer
			listening.Wait()
		}
		peer = d.lookFor(ctx, t) // not before, so that no other node's address leads to the socket of that check
	})
	all.Go(func() {
		listening.Wait()
		f.contacts = d.lookForContacts(ctx)
	})
	if len(d.outside.servers) > 0 {
		all.Go(func() { out = d.goOutside(ctx, t) })
	}
	listening.Wait()
	all.Wait()
	f.ears, f.ports, f.peer, f.outside, f.socket = ears, ports, peer, out, askSocket()
	if d.neighbors != nil {
		f.neighbors = d.neighbors()
	}
	now := time.Now()
	f.clock = clockFacts{began.Round(0), now.Round(0), now.Sub(began), built()}
	return f
}

// links lists the interfaces.
func (d *doctor) links(f *facts) {
	all, err := d.network.Interfaces()
	if err != nil {
		f.listErr = err
		return
	}
	slices.SortFunc(all, func(a, b dnssd.Interface) int { return cmp.Compare(a.Index, b.Index) })
	enabled := map[string]bool{}
	list, _ := net.Interfaces()
	for _, i := range list {
		enabled[i.Name] = i.Flags&net.FlagUp != 0
	}
	for _, i := range all {
		f.links = append(f.links, linkFacts{Interface: i, enabled: i.Up || enabled[i.Name]})
	}
	if d.describe != nil {
		d.describe(f)
	}
}

// report returns the report that follows from the facts.
func (f *facts) report() *report {
	r := &report{Verdict: fine, Checks: f.diagnose(), Heard: []source{}}
	for _, c := range r.Checks {
		if c.Verdict.worse(r.Verdict) {
			r.Verdict = c.Verdict
		}
	}
	for _, x := range f.ears {
		r.Heard = append(r.Heard, x.sources...)
	}
	if p := f.peer; p != nil {
		r.Peer = &peerReport{Asked: p.text, Reached: p.reached(), Candidates: []candidate{}}
		for _, w := range p.ways {
			r.Peer.Candidates = append(r.Peer.Candidates, w.candidate())
		}
	}
	r.Outside = f.outsideReport()
	return r
}

// outsideReport returns the part of --json about the world beyond the local
// network.
func (f *facts) outsideReport() *outReport {
	o := f.outside
	if o == nil {
		return nil
	}
	kind, _ := f.nat()
	r := &outReport{NAT: kind, Relays: []relayReport{}}
	if o.reached() {
		r.Path = o.far.path.Kind.String()
	}
	for _, s := range o.relays {
		r.Relays = append(r.Relays, relayReport{
			s.Server.Addrs[0], s.Server.Identity, s.State == relay.Ready, s.Observed, float64(s.RTT.Microseconds()) / 1000,
		})
	}
	return r
}

// candidate returns the part of --json about an address.
func (w *wayFacts) candidate() candidate {
	c := candidate{Address: w.addr, Reached: w.err == nil, Milliseconds: float64(w.there.took.Microseconds()) / 1000}
	if id := w.there.id; !id.IsZero() {
		c.Identity, c.Fingerprint, c.Name = id, id.Fingerprint(), w.there.name
	}
	return c
}

func (r *report) count(v verdict) (n int) {
	for _, c := range r.Checks {
		if c.Verdict == v {
			n++
		}
	}
	return n
}

// write prints the table, with advice below the line that it is about.
func (r *report) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", c.Verdict, c.Topic, cmp.Or(text.Mask(c.Subject), "-"), text.Mask(c.Value))
		if c.Advice != "" {
			fmt.Fprintf(t, "\t\t\t→ %s\n", text.Mask(c.Advice))
		}
	}
	fmt.Fprintf(t, "\n%d ok, %d warn, %d fail\n", r.count(fine), r.count(warn), r.count(fail))
	return t.Flush()
}
