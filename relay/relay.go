package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/carrier"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/portmap"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay/token"
)

// Limits of a client.
const (
	MaxServers = 1024 // of a list
	MaxAddrs   = 8    // of a server
	MaxTokens  = circuit.MaxTokens

	// Reservations is the number of relays at which a client can be called at a
	// time, so that one is left if the other dies.
	Reservations = 2
)

// A Server is a relay of the list.
type Server struct {
	Identity identity.RemoteIdentity // its key, which the handshake proves
	Addrs    []netip.AddrPort        // at least 1, at most MaxAddrs
	Zone     string                  // relays that may fail together have the same zone; may be empty
}

// A Config configures a [Client].
type Config struct {
	// Listener is the listener of the same node, from whose socket relays are
	// reached.
	Listener *quic.Listener

	// Servers is the initial list; see [Client.Set].
	Servers []Server

	// Tokens are shown to each relay of the list that asks for them; see
	// [Client.SetTokens]. [token.Parse] reads their text form.
	Tokens []token.Token

	// Only keeps connections through relays there: this node tells peers no
	// addresses through relays, and ignores those that peers tell. New
	// connections to addresses that other hooks discover are still made.
	Only bool

	// MapPorts makes the default gateway forward an external port to the
	// listener's, by PCP or NAT-PMP, so that peers reach this node directly
	// even through NATs that probes cannot pass; one of the two nodes is
	// enough. Anybody can then send packets to the listener, which answers them
	// as on any other network. Only disables it.
	MapPorts bool

	private bool              // for tests: loopback addresses count
	gateway func() netip.Addr // for tests; nil: the network's
}

// A Client is a hook through which a node reaches others, and is reached,
// through relays. Its methods may be called concurrently, whether it runs or
// not.
type Client struct {
	cfg Config
	err error // of cfg: Run fails with it
	log *slog.Logger

	mu       sync.Mutex
	servers  []*server // in the order of the list
	guests   []*server // relays that are not on it
	tokens   []token.Token
	edited   int64                            // number of times that tokens was replaced
	changed  chan struct{}                    // of size 1: the list or a token has changed
	scope    *p2p.Scope                       // nil while it does not run
	count    func(what, by string, n uint64)  // the scope's; nil until it has run
	node     peers                            // the same
	tracked  func() []identity.RemoteIdentity // the same
	seam     junction.Endpoint
	ctx      context.Context   // of the run
	ancestor junction.Ancestor // nil without package relay/ancestor
	tasks    sync.WaitGroup    // goroutines of the run; added to under mu, while it runs
	mapper   *portmap.Mapper   // nil if no port is mapped

	newsMu sync.Mutex    // taken last
	news   chan struct{} // closed, and replaced, when a relay's state has changed

	expecting atomic.Int64 // number of calls of Expect that are not over
	upgrades  upgrades
	pending   pending
}

var (
	_ p2p.Guide          = (*Client)(nil)
	_ p2p.Rendezvous     = (*Client)(nil)
	_ p2p.NetworkWatcher = (*Client)(nil)
	_ junction.Router    = router{}
)

// New makes a client to be registered with one node, before or after the
// listener.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg, log: slog.New(slog.DiscardHandler), changed: make(chan struct{}, 1), news: make(chan struct{})}
	if cfg.Listener == nil {
		c.err = errors.New("relay: Config.Listener is required: relays are reached from its socket")
	}
	c.err = errors.Join(c.err, c.Set(cfg.Servers), c.SetTokens(cfg.Tokens...))
	return c
}

// peers has the methods of a node that the client uses.
type peers interface {
	Stranger(id identity.RemoteIdentity) bool
	Speaks(id identity.RemoteIdentity) int
}

// Name returns "relay".
func (c *Client) Name() string { return "relay" }

// Set replaces the list of relays. Connections through relays that are no
// longer on it continue through others. It fails, and changes nothing, if an
// entry is not valid.
func (c *Client) Set(servers []Server) error {
	if err := Check(servers); err != nil {
		return err
	}
	for _, s := range c.replace(servers) {
		s.strike()
	}
	signal(c.changed)
	return nil
}

// Check returns the error with which [Client.Set] would refuse a list, or nil.
func Check(servers []Server) error {
	if len(servers) > MaxServers {
		return fmt.Errorf("relay: %d relays, of at most %d", len(servers), MaxServers)
	}
	seen := map[identity.RemoteIdentity]bool{}
	for _, s := range servers {
		if seen[s.Identity] {
			return fmt.Errorf("relay: %v is on the list twice", s.Identity)
		}
		if err := s.check(); err != nil {
			return err
		}
		seen[s.Identity] = true
	}
	return nil
}

// check returns an error if an entry is not valid.
func (s Server) check() error {
	switch {
	case s.Identity.IsZero():
		return errors.New("relay: a relay without an identity")
	case len(s.Addrs) == 0 || len(s.Addrs) > MaxAddrs:
		return fmt.Errorf("relay: %v has %d addresses, of 1 to %d", s.Identity, len(s.Addrs), MaxAddrs)
	}
	for _, a := range s.Addrs {
		if !a.IsValid() || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || carrier.IsVirtual(a.Addr()) {
			return fmt.Errorf("relay: %v has the address %v, which is not a host's", s.Identity, a)
		}
	}
	return nil
}

// replace installs a list, and returns the relays that are no longer on it.
func (c *Client) replace(servers []Server) (struck []*server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make([]*server, len(servers))
	for i, s := range servers {
		s.Addrs = slices.Clone(s.Addrs)
		next[i] = newServer(c, s)
		for _, old := range c.servers {
			if old.of(s) {
				next[i] = old
			}
		}
	}
	for _, old := range c.servers {
		if !slices.Contains(next, old) {
			struck = append(struck, old)
		}
	}
	c.servers = next
	return struck
}

// SetTokens replaces the tokens that are shown to relays that ask for them. Of
// several, a relay uses the first that is valid there. It fails, and changes
// nothing, if there are more than [MaxTokens].
func (c *Client) SetTokens(tokens ...token.Token) error {
	if len(tokens) > MaxTokens {
		return fmt.Errorf("relay: %d tokens, of at most %d", len(tokens), MaxTokens)
	}
	tokens = slices.Clone(tokens)
	c.mu.Lock()
	c.tokens = tokens
	c.edited++
	all := slices.Concat(c.servers, c.guests)
	c.mu.Unlock()
	for _, s := range all {
		s.tokensChanged()
	}
	signal(c.changed)
	return nil
}

func (c *Client) edition() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.edited
}

// Run keeps reservations, and serves circuits, until ctx is done.
func (c *Client) Run(ctx context.Context, s *p2p.Scope) error {
	if c.err != nil {
		return c.err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	if c.scope != nil {
		c.mu.Unlock()
		return errors.New("relay: a client serves one node at a time")
	}
	c.scope, c.node, c.ctx, c.log, c.tracked = s, s, ctx, s.Logger(), trackedBy(s)
	c.count = s.Count
	if c.seam == nil { // before the router can be called
		c.seam = c.cfg.Listener.Circuits(nil)
	}
	c.mu.Unlock()
	c.cfg.Listener.Circuits(router{c})
	defer c.stop(cancel)
	events := s.Node().Subscribe()
	defer events.Close()
	c.mapPort()
	s.Ready()
	kept := newKeeper(ctx, c)
	defer kept.stop()
	kept.set(c.chosen())
	var tracked <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.changed:
			kept.set(c.chosen())
		case <-tracked:
			tracked = nil
			c.sayCallers()
		case e, ok := <-events.C:
			if !ok {
				return nil
			}
			switch e.(type) {
			case p2p.TrackedModified, p2p.Resync:
				c.knows()
				if tracked == nil {
					tracked = time.After(callersRest)
				}
			case p2p.NetworkModified:
				c.NetworkChanged()
			case p2p.ListenerAddrAdded, p2p.ListenerAddrRemoved:
				c.renewPort()
			}
		}
	}
}

// trackedBy returns a function that returns the peers that a node keeps in
// view.
func trackedBy(s *p2p.Scope) func() []identity.RemoteIdentity {
	return func() (all []identity.RemoteIdentity) {
		for _, peer := range s.Node().Tracked() {
			all = append(all, peer.Identity())
		}
		return all
	}
}

// stop ends a run.
func (c *Client) stop(cancel context.CancelFunc) {
	cancel()
	c.cfg.Listener.Circuits(nil)
	c.mu.Lock()
	c.scope, c.node, c.mapper, c.tracked = nil, nil, nil, nil
	all := slices.Concat(c.servers, c.guests)
	c.guests = nil
	c.mu.Unlock()
	for _, s := range all {
		s.drop()
	}
	c.tasks.Wait()
}

// start runs f in a goroutine that the run waits for, and returns false if
// there is no run.
func (c *Client) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scope == nil || c.ctx.Err() != nil {
		return false
	}
	c.tasks.Go(f)
	return true
}

// running returns the context of the run, or of the last one.
func (c *Client) running() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ctx
}

// isTracked reports whether a peer is tracked, and so not a stranger.
func (c *Client) isTracked(id identity.RemoteIdentity) bool {
	c.mu.Lock()
	node := c.node
	c.mu.Unlock()
	return node != nil && !node.Stranger(id)
}

// NetworkChanged has the client check whether its relays still answer.
func (c *Client) NetworkChanged() {
	c.look()
	c.renewPort()
}

// look makes all links ping their relays, and starts looking for direct paths.
func (c *Client) look() {
	c.mu.Lock()
	all := slices.Concat(c.servers, c.guests)
	c.mu.Unlock()
	for _, s := range all {
		s.look()
	}
	c.elsewhere()
}

// signal sends on a channel of size 1 unless it is full.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// A State is the state of a relay as the client sees it.
type State uint8

const (
	Off        State = iota // it is not needed now
	Connecting              // its handshake is under way
	Presenting              // tokens are being shown to it
	Reserving               // a reservation is being requested
	Ready                   // peers can call this node through it
	Connected               // this node can call peers through it, but has no reservation
	Leaving                 // it has announced that it is going down
	Refused                 // it refuses this node, for now
)

// String returns the state's name in lower case.
func (s State) String() string {
	names := [...]string{"off", "connecting", "presenting", "reserving", "ready", "connected", "leaving", "refused"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// A Status describes the present state of a relay of the list.
type Status struct {
	Server   Server
	State    State
	Since    time.Time
	Err      error          // why the last attempt failed; nil after a success
	RTT      time.Duration  // 0 if there is no connection
	Observed netip.AddrPort // this node's address as the relay sees it, or saw it when refusing; not valid if the relay does not tell
	// BytesLeft is the number of bytes that the account may still have relayed
	// in this period; -1 without a limit, or if the relay does not tell.
	BytesLeft int64
}

// Wait waits until this node can be called through a relay.
func (c *Client) Wait(ctx context.Context) error {
	for {
		c.newsMu.Lock()
		news := c.news
		c.newsMu.Unlock()
		if c.callable(nil) {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			err := context.Cause(ctx)
			for _, s := range c.States() {
				if s.Err != nil {
					err = errors.Join(err, fmt.Errorf("%v: %w", s.Server.Identity, s.Err))
				}
			}
			return fmt.Errorf("relay: no reservation: %w", err)
		}
	}
}

// tell wakes the goroutines that wait for another state.
func (c *Client) tell() {
	c.newsMu.Lock()
	defer c.newsMu.Unlock()
	close(c.news)
	c.news = make(chan struct{})
}

// States describes all relays of the list, in its order.
func (c *Client) States() []Status {
	all := c.listedNow()
	states := make([]Status, len(all))
	for i, s := range all {
		states[i] = s.status()
	}
	return states
}
