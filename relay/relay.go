package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
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

	// Reservations is at how many relays a client can be called at a time: where one
	// dies, the other one is there.
	Reservations = 2
)

// A Server is a relay of the list.
type Server struct {
	Identity identity.RemoteIdentity // its key, which its handshake has to prove
	Addrs    []netip.AddrPort        // at least 1, at most MaxAddrs
	Zone     string                  // what fails together has the same name; may be empty
}

// A Config says how a [Client] behaves.
type Config struct {
	// Listener is the node's, whose socket relays are reached from. It is
	// registered with the same node.
	Listener *quic.Listener

	// Servers is the list to begin with; see [Client.Set].
	Servers []Server

	// Tokens are shown to each relay of the list, once it has asked; see
	// [Client.SetTokens]. [token.Parse] reads their text form.
	Tokens []token.Token

	// Only has no address of this node told to a peer through a relay, and none
	// believed that a peer tells: connections through relays stay there. New ones are
	// made to addresses that other hooks discover all the same.
	Only bool

	// MapPorts has the default gateway forward a port of its outside to the
	// listener's, by PCP or NAT-PMP, so that peers reach this node directly also
	// through NATs that probes do not get through: one of the two nodes is enough.
	// Everybody can then send packets to the listener, which answers them as on any
	// other network. With Only it is not done.
	MapPorts bool

	private bool              // of a test: loopback addresses count
	gateway func() netip.Addr // of a test; nil: that of the network
}

// A Client is a hook by which a node is reached, and reaches others, through
// relays. Its methods may be called concurrently, whether it runs or not.
type Client struct {
	cfg Config
	err error // of cfg: Run fails with it
	log *slog.Logger

	mu       sync.Mutex
	servers  []*server // in the order of the list
	tokens   []token.Token
	edited   int64         // how often tokens was replaced
	changed  chan struct{} // of size 1: the list or a token is another one
	scope    *p2p.Scope    // nil while it does not run
	node     peers         // the same
	seam     junction.Endpoint
	ctx      context.Context   // of the run
	ancestor junction.Ancestor // nil without package relay/ancestor
	tasks    sync.WaitGroup    // goroutines of the run; added to under mu, while it runs
	mapper   *portmap.Mapper   // nil if no port is mapped

	newsMu sync.Mutex    // taken last
	news   chan struct{} // closed, and replaced, when a relay's state has changed

	upgrades upgrades
	pending  pending
}

var (
	_ p2p.Guide          = (*Client)(nil)
	_ p2p.NetworkWatcher = (*Client)(nil)
	_ junction.Router    = router{}
)

// New makes a client to be registered with one node, before or after the
// listener.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg, log: slog.New(slog.DiscardHandler), changed: make(chan struct{}, 1), news: make(chan struct{})}
	if cfg.Listener == nil {
		c.err = errors.New("relay: Config.Listener is needed: relays are reached from its socket")
	}
	c.err = errors.Join(c.err, c.Set(cfg.Servers), c.SetTokens(cfg.Tokens...))
	return c
}

// peers is what is asked about the peers of a node.
type peers interface {
	Stranger(id identity.RemoteIdentity) bool
	Speaks(id identity.RemoteIdentity) int
}

// Name returns "relay".
func (c *Client) Name() string { return "relay" }

// Set replaces the list of relays. Connections through those that are not on it
// any more go on through others. It fails, and changes nothing, if an entry is not
// valid.
func (c *Client) Set(servers []Server) error {
	if len(servers) > MaxServers {
		return fmt.Errorf("relay: %d relays, of at most %d", len(servers), MaxServers)
	}
	seen := map[identity.RemoteIdentity]bool{}
	for _, s := range servers {
		switch {
		case s.Identity.IsZero():
			return errors.New("relay: a relay without an identity")
		case seen[s.Identity]:
			return fmt.Errorf("relay: %v is there twice", s.Identity)
		case len(s.Addrs) == 0 || len(s.Addrs) > MaxAddrs:
			return fmt.Errorf("relay: %v has %d addresses, of 1 to %d", s.Identity, len(s.Addrs), MaxAddrs)
		}
		for _, a := range s.Addrs {
			if !a.IsValid() || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || carrier.IsVirtual(a.Addr()) {
				return fmt.Errorf("relay: %v has the address %v, which is none of a host", s.Identity, a)
			}
		}
		seen[s.Identity] = true
	}
	for _, s := range c.replace(servers) {
		s.strike()
	}
	signal(c.changed)
	return nil
}

// replace installs a list, and returns the relays that are not on it any more.
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

// SetTokens replaces the tokens that are shown to relays which ask for one: of
// several, the relay takes the first that is valid there. It fails, and changes
// nothing, if there are more than [MaxTokens].
func (c *Client) SetTokens(tokens ...token.Token) error {
	if len(tokens) > MaxTokens {
		return fmt.Errorf("relay: %d tokens, of at most %d", len(tokens), MaxTokens)
	}
	tokens = slices.Clone(tokens)
	c.mu.Lock()
	c.tokens = tokens
	c.edited++
	all := slices.Clone(c.servers)
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
	c.scope, c.node, c.ctx, c.log = s, s, ctx, s.Logger()
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
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.changed:
			kept.set(c.chosen())
		case e, ok := <-events.C:
			if !ok {
				return nil
			}
			switch e.(type) {
			case p2p.NetworkModified:
				c.NetworkChanged()
			case p2p.ListenerAddrAdded, p2p.ListenerAddrRemoved:
				c.renewPort()
			}
		}
	}
}

// stop ends a run.
func (c *Client) stop(cancel context.CancelFunc) {
	cancel()
	c.cfg.Listener.Circuits(nil)
	c.mu.Lock()
	c.scope, c.node, c.mapper = nil, nil, nil
	all := slices.Clone(c.servers)
	c.mu.Unlock()
	for _, s := range all {
		s.drop()
	}
	c.tasks.Wait()
}

// start runs f in a goroutine that the run waits for, and reports false if there
// is none.
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

// isTracked reports whether a peer is no stranger.
func (c *Client) isTracked(id identity.RemoteIdentity) bool {
	c.mu.Lock()
	node := c.node
	c.mu.Unlock()
	return node != nil && !node.Stranger(id)
}

// NetworkChanged has the client look whether its relays still answer.
func (c *Client) NetworkChanged() {
	c.look()
	c.renewPort()
}

// look has all relays asked for a sign of life, and direct paths looked for.
func (c *Client) look() {
	c.mu.Lock()
	all := slices.Clone(c.servers)
	c.mu.Unlock()
	for _, s := range all {
		s.look()
	}
	c.upgrades.again()
}

// signal leaves a note in a channel of size 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// A State says how far the client has got with a relay.
type State uint8

const (
	Off        State = iota // it is not needed now
	Connecting              // its handshake is under way
	Presenting              // it is shown the token
	Reserving               // it is asked for a reservation
	Ready                   // peers can call this node through it
	Connected               // this node can call peers through it, and has no reservation
	Leaving                 // it has said that it is going down
	Refused                 // it does not want this node, for now
)

// String returns the state's name in lower case.
func (s State) String() string {
	names := [...]string{"off", "connecting", "presenting", "reserving", "ready", "connected", "leaving", "refused"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// A Status describes a relay of the list as it is now.
type Status struct {
	Server   Server
	State    State
	Since    time.Time
	Err      error          // why the last attempt failed; nil after one that did not
	RTT      time.Duration  // 0 if there is no connection
	Observed netip.AddrPort // this node's address, as the relay sees it; not valid if it does not tell
	// BytesLeft is what the account may still have relayed in this period: -1
	// without a limit, or if the relay does not tell.
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

// tell wakes those that wait for another state.
func (c *Client) tell() {
	c.newsMu.Lock()
	defer c.newsMu.Unlock()
	close(c.news)
	c.news = make(chan struct{})
}

// States describes all relays of the list, in its order.
func (c *Client) States() []Status {
	c.mu.Lock()
	all := slices.Clone(c.servers)
	c.mu.Unlock()
	states := make([]Status, len(all))
	for i, s := range all {
		states[i] = s.status()
	}
	return states
}
