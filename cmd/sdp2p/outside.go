package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/token"
)

const (
	maxRelays = 8 // to check; a client may use each of a list of this length
	// upgradeTime is how long an attempt to find a direct path may take once it
	// has begun.
	upgradeTime = 12 * time.Second
)

// An outside is what the doctor is to check beyond the local network.
type outside struct {
	relays  string // as they were entered
	servers []relay.Server
	tokens  []string // files
	keyFile string
	key     identity.Identity // from keyFile, or a new one
}

func (o *outside) register(flags *flag.FlagSet) {
	flags.Func("relay", "`KEY@IP:PORT` of a relay to check, or several separated by spaces; may be repeated", o.add)
	flags.Func("token", "a `file` with a token for the relays; may be repeated", func(file string) error {
		o.tokens = append(o.tokens, file)
		return nil
	})
	flags.StringVar(&o.keyFile, "key", "", "with --contact or --relay: the app's key `file`, since tokens are issued for it. End the app first: a relay serves the newer connection of a key, so that nobody reaches the app through these relays while the doctor runs")
}

// add parses relays in the form that apps use.
func (o *outside) add(text string) (err error) {
	o.relays += " " + text
	o.servers, err = relay.ParseServers(o.relays)
	return err
}

// check returns an error if the flags do not fit together, and reads the key.
func (o *outside) check(contacts bool) (err error) {
	switch {
	case contacts && o.keyFile == "":
		return usageError{errors.New("--contact requires the app's own key: --key FILE")}
	case len(o.servers) == 0 && (len(o.tokens) > 0 || o.keyFile != "" && !contacts):
		return usageError{errors.New("--token requires --relay KEY@IP:PORT, and --key requires --relay or --contact")}
	case len(o.servers) > maxRelays:
		return usageError{fmt.Errorf("%d relays, of at most %d", len(o.servers), maxRelays)}
	case len(o.tokens) > relay.MaxTokens:
		return usageError{fmt.Errorf("%d tokens, of at most %d", len(o.tokens), relay.MaxTokens)}
	case o.keyFile == "":
		o.key = identity.New()
		return nil
	}
	if o.key, err = identity.Load(o.keyFile); err != nil {
		return fmt.Errorf("%w\n%s", err, remedy(o.keyFile, false, err))
	}
	return nil
}

// An outsideFacts is what was observed beyond the local network.
type outsideFacts struct {
	node     identity.RemoteIdentity
	known    bool // node is the app's, not a new one
	now      time.Time
	tokens   []tokenFacts
	startErr error
	relays   []relay.Status // in the order of the flags
	far      *farFacts      // nil if no peer was asked for
}

// A tokenFacts is a file with a token.
type tokenFacts struct {
	file  string
	token token.Token
	err   error // of reading it
}

// A farFacts is the outcome of calling a peer through relays.
type farFacts struct {
	peer    identity.RemoteIdentity
	err     error         // why there is no connection
	took    time.Duration // until there was a connection
	path    p2p.Path      // in the end
	upgrade relay.Upgrade // of that connection
}

// readToken reads a file with a token's text.
func readToken(file string) tokenFacts {
	text, err := os.ReadFile(file)
	if err != nil {
		return tokenFacts{file: file, err: err}
	}
	t, err := token.Parse(string(text))
	return tokenFacts{file, t, err}
}

// goOutside checks relays with a node of its own, and calls a peer through
// them.
func (d *doctor) goOutside(ctx context.Context, t *target) *outsideFacts {
	o := d.outside
	f := &outsideFacts{node: o.key.Remote(), known: o.keyFile != "", now: time.Now()}
	var shown []token.Token
	for _, file := range o.tokens {
		read := readToken(file)
		f.tokens = append(f.tokens, read)
		if read.err == nil && f.known { // another node's token is not shown
			shown = append(shown, read.token)
		}
	}
	listener := quic.New(quic.Config{})
	client := relay.New(relay.Config{Listener: listener, Tokens: shown})
	node, err := p2p.Start(ctx, p2p.Config{
		App: d.app, Name: "sdp2p doctor", Identity: o.key, Hooks: []p2p.Hook{listener, client}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		f.startErr = err
		return f
	}
	defer shutdown(ctx, node)
	for some := range slices.Chunk(o.servers, relay.Reservations) { // a client reserves at no more at a time
		_ = client.Set(some)
		f.relays = append(f.relays, settle(ctx, client, 2*d.wait)...)
	}
	if t != nil && !t.peer.IsZero() {
		_ = client.Set(o.servers)
		f.far = d.goFar(ctx, client, node.Track(t.peer), t.peer)
	}
	return f
}

// settle waits until the relays have answered, and returns their states.
func settle(ctx context.Context, client *relay.Client, patience time.Duration) []relay.Status {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	poll(ctx, func() bool {
		return !slices.ContainsFunc(client.States(), func(s relay.Status) bool { return s.State != relay.Ready && s.Err == nil })
	})
	return client.States()
}

// poll calls done repeatedly until it returns true or ctx has ended.
func poll(ctx context.Context, done func() bool) {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !done() {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// goFar connects to a peer through relays, and waits until an attempt to find a
// direct path has ended.
func (d *doctor) goFar(ctx context.Context, client *relay.Client, peer *p2p.Peer, id identity.RemoteIdentity) *farFacts {
	f := &farFacts{peer: id}
	if peer == nil {
		f.err = p2p.ErrSelf
		return f
	}
	began := time.Now()
	dialing, cancel := context.WithTimeout(ctx, 2*d.wait+upgradeTime)
	defer cancel()
	s, err := peer.NewStream(dialing)
	f.took = time.Since(began)
	if err != nil {
		f.err = err
		return f
	}
	defer s.Close()
	of := func() (up relay.Upgrade) {
		for _, up = range client.Upgrades() {
			if up.Peer == id {
				return up
			}
		}
		return relay.Upgrade{}
	}
	waiting, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	begun := func() bool { u := of(); return u.Attempts > 0 || len(u.Told) > 0 || u.Direct }
	poll(waiting, begun)
	if begun() {
		ending, cancel := context.WithTimeout(ctx, upgradeTime)
		defer cancel()
		poll(ending, func() bool { u := of(); return u.Attempts > 0 || u.Direct })
	}
	f.path, f.upgrade = peer.Path(), of()
	return f
}

// reached reports whether the peer was reached, through a relay or then
// directly.
func (f *outsideFacts) reached() bool { return f != nil && f.far != nil && f.far.err == nil }

// A mapping is how the router between this host and the internet gives it ports
// (RFC 4787 §4.1).
type mapping string

const (
	noNAT        mapping = "none"
	coneNAT      mapping = "cone"
	symmetricNAT mapping = "symmetric"
	unknownNAT   mapping = "unknown"
)

// nat returns how ports are mapped, from the addresses at which relays have
// seen the same socket.
func (f *facts) nat() (kind mapping, seen []netip.AddrPort) {
	var own []netip.AddrPort
	var relays []netip.Addr // that have seen another address than this host's
	for _, s := range f.outside.relays {
		switch o := s.Observed; {
		case !o.IsValid():
		case f.owns(o.Addr()):
			own = append(own, o)
		case len(seen) == 0 || seen[0].Addr().Is4() == o.Addr().Is4():
			seen, relays = append(seen, o), append(relays, s.Server.Addrs[0].Addr())
		}
	}
	differs := func(a netip.AddrPort) bool { return a != seen[0] }
	switch {
	case len(seen) == 0 && len(own) > 0:
		return noNAT, own
	case slices.ContainsFunc(seen, differs):
		return symmetricNAT, seen
	case !slices.ContainsFunc(relays, func(a netip.Addr) bool { return a != relays[0] }):
		return unknownNAT, seen // a router may assign a port for each address
	}
	return coneNAT, seen
}
