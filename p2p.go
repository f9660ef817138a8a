package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sdp2p/p2p/identity"
)

// A Config describes a node. Only App is required.
type Config struct {
	// App names the application: nodes of one app find each other, as the
	// DNS-SD service type _App._udp. See [ValidateApp].
	App string

	// Identity is the node's key pair. If zero, a fresh one is made for
	// this run.
	Identity identity.Identity

	// Name, DeviceModel and Version become metadata; see [NodeMetadata].
	// The operating system is added.
	Name, DeviceModel, Version string

	// Metadata holds further entries of the node's metadata; see
	// [ValidateMetadata].
	Metadata map[string]string

	// Handler serves inbound streams. If nil, all are refused.
	Handler Handler

	// Allow decides about each inbound connection, stream and tunnel before
	// anything else learns of it. Returning nil allows it; an error, a
	// panic, or taking longer than 2 s refuses it. If Allow is nil, only
	// the routes decide. It is called concurrently, with a ctx that ends
	// after these 2 s or when the answer no longer matters; it may use the
	// node.
	Allow func(ctx context.Context, r Request) error

	// Hooks are registered by [Start], in this order. [New] does not use
	// them.
	Hooks []Hook

	// MaxPeers limits how many peers are known at a time. When there are
	// more, those discovered longest ago that have never been connected
	// leave first; connected ones, tracked ones, and those with a [Manual]
	// candidate, never.
	//
	// The package documentation has the defaults of this limit and those
	// below: for each, zero means the default, and a negative value no
	// limit.
	MaxPeers int

	// MaxStreamsPerPeer, MaxStreams and MaxStrangerStreams limit how many
	// inbound streams are served at a time: of one peer, of all, and of all
	// strangers. The next one is refused with [ErrBusy]. A stranger is a
	// peer that is neither tracked nor behind a [Manual] candidate; a
	// stream over a connection that this node dialed is not a stranger's.
	MaxStreamsPerPeer, MaxStreams, MaxStrangerStreams int

	// MaxAllowCallsPerPeer and MaxAllowCalls limit how many calls of Allow
	// run at a time: about one peer, and in all. Of the latter, an eighth
	// is kept for tracked peers. The next request is refused with
	// [ErrBusy].
	MaxAllowCallsPerPeer, MaxAllowCalls int

	// Logger receives what an operator may want to know. If nil,
	// [slog.Default] is used.
	Logger *slog.Logger
}

// setDefaults replaces zero values.
func (cfg *Config) setDefaults() {
	if cfg.Identity.IsZero() {
		cfg.Identity = identity.New()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	for limit, standard := range map[*int]int{
		&cfg.MaxPeers:             1024,
		&cfg.MaxStreamsPerPeer:    200,
		&cfg.MaxStreams:           2048,
		&cfg.MaxStrangerStreams:   1024,
		&cfg.MaxAllowCallsPerPeer: 8,
		&cfg.MaxAllowCalls:        256,
	} {
		if *limit == 0 {
			*limit = standard
		}
	}
}

// A P2P is a node: it manages the state and is the bus for its changes. All
// methods may be called concurrently.
type P2P struct {
	app      string
	identity identity.Identity
	remote   identity.RemoteIdentity
	log      *slog.Logger
	streams  *streams
	gate     *gate
	probes   probes

	metadataUpdate sync.Mutex // held while UpdateMetadata runs; taken before mu
	shutdown       shutdown

	mu    sync.Mutex // guards state; nothing blocks or calls out while it is held
	state state
}

// New makes a node and starts nothing; [P2P.Register] adds hooks to it. It
// fails if cfg is not valid.
func New(cfg Config) (*P2P, error) {
	if err := ValidateApp(cfg.App); err != nil {
		return nil, err
	}
	entries := NodeMetadata{
		Name: cfg.Name, OperatingSystem: operatingSystem(), DeviceModel: cfg.DeviceModel, Version: cfg.Version,
	}.Map()
	maps.Copy(entries, cfg.Metadata)
	if err := ValidateMetadata(entries); err != nil {
		return nil, fmt.Errorf("p2p: metadata: %w", err)
	}
	cfg.setDefaults()
	n := &P2P{
		app:      cfg.App,
		identity: cfg.Identity,
		remote:   cfg.Identity.Remote(),
		log:      cfg.Logger,
		gate:     newGate(cfg),
		shutdown: shutdown{done: make(chan struct{})},
		state:    state{self: metadata{entries: entries}},
	}
	n.state.peers = table{
		max:     cfg.MaxPeers,
		newPeer: func(id identity.RemoteIdentity) *Peer { return &Peer{node: n, id: id} },
		known:   map[identity.RemoteIdentity]*peerState{},
		tracked: map[identity.RemoteIdentity]*tracked{},
		revoked: map[identity.RemoteIdentity]struct{}{},
	}
	n.streams = newStreams(cfg, n)
	return n, nil
}

// ValidateApp checks the name of an application: 1 to 12 letters, digits and
// hyphens, with at least one letter, and hyphens only single and inside. (These
// are the rules of RFC 6335 §5.1 for service names, with 12 characters instead
// of 15.)
func ValidateApp(app string) error {
	letter := false
	ok := 1 <= len(app) && len(app) <= 12
	for i := range len(app) {
		switch c := app[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			letter = true
		case '0' <= c && c <= '9':
		case c == '-' && i > 0 && i < len(app)-1 && app[i-1] != '-':
		default:
			ok = false
		}
	}
	if !ok || !letter {
		return fmt.Errorf("p2p: app name %q: 1 to 12 letters, digits and inner hyphens with at least one letter are required", app)
	}
	return nil
}

// Start makes a node and registers cfg.Hooks in their order. If one fails, or
// ctx ends first, the node is shut down again. ctx bounds the starting only.
func Start(ctx context.Context, cfg Config) (*P2P, error) {
	n, err := New(cfg)
	if err != nil {
		return nil, err
	}
	for _, h := range cfg.Hooks {
		if err := n.Register(ctx, h); err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
			defer cancel()
			return nil, errors.Join(err, n.Shutdown(ctx))
		}
	}
	return n, nil
}

// App returns the name of the application.
func (n *P2P) App() string { return n.app }

// Identity returns who this node is.
func (n *P2P) Identity() identity.RemoteIdentity { return n.remote }

// A ShutdownError names what was still running when the time for [P2P.Shutdown]
// was over.
type ShutdownError struct {
	Overran []string // hooks by name, and "handlers"
	Err     error    // why the time was over
}

func (e *ShutdownError) Error() string {
	return fmt.Sprintf("p2p: shutdown: %s did not stop in time: %v", strings.Join(e.Overran, ", "), e.Err)
}

// Unwrap returns the context's error.
func (e *ShutdownError) Unwrap() error { return e.Err }

// Shutdown ends the node in order: discoveries say goodbye; new streams are
// refused with [ErrShuttingDown]; the contexts of handlers are canceled, reads
// from their streams fail, and they are awaited; streams that are still open
// have until ctx's deadline (5 s if it has none) to be closed; then
// connections, sockets and subscriptions end. Nothing that the node started
// runs on when Shutdown returns nil.
//
// When ctx ends earlier, everything is told to stop at once; if something has
// not after two more seconds, the error is a *[ShutdownError]. (A listener may
// take 1.5 s to part from a peer of version 1.) Shutdown may be called more
// than once, also concurrently: there is one shutdown, under the first caller's
// ctx, and each gets its result.
//
// An app that must know that its last bytes arrived has the other side
// acknowledge them.
func (n *P2P) Shutdown(ctx context.Context) error {
	if n.shutdown.begun.CompareAndSwap(false, true) {
		n.shutdown.err = n.shutDown(ctx)
		close(n.shutdown.done)
	}
	if !await(ctx, n.shutdown.done) {
		return fmt.Errorf("p2p: shutdown: %w", context.Cause(ctx))
	}
	return n.shutdown.err
}

// shutdown is the one shutdown of a node.
type shutdown struct {
	begun atomic.Bool
	done  chan struct{}
	err   error // readable once done is closed
}

func (n *P2P) shutDown(ctx context.Context) error {
	n.mu.Lock()
	n.state.hooks.closing = true
	registrations := slices.Clone(n.state.hooks.running)
	n.mu.Unlock()

	stop := func(turn int) {
		var asked []*registration
		for _, r := range registrations {
			if r.turn() == turn {
				n.stop(r)
				asked = append(asked, r)
			}
		}
		for _, r := range asked {
			await(ctx, r.done)
		}
	}
	stop(0)
	handled := n.streams.shutDown(ctx)
	stop(1)
	stop(2)
	await(ctx, handled)

	// What was told to stop only when ctx had ended has not overrun yet.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
	defer cancel()
	var overran []string
	for _, r := range registrations {
		if !await(grace, r.done) {
			overran = append(overran, fmt.Sprintf("hook %q", r.name))
		}
	}
	if !await(grace, handled) {
		overran = append(overran, "handlers")
	}
	n.mu.Lock()
	n.state.bus.close()
	n.mu.Unlock()
	if len(overran) > 0 {
		return &ShutdownError{Overran: overran, Err: context.Cause(ctx)}
	}
	return nil
}

// turn tells when a hook ends in a shutdown: discoveries first, then listeners, and
// those last whose ways the listeners' connections may run.
func (r *registration) turn() int {
	_, guide := r.hook.(Guide)
	switch {
	case r.listener != nil:
		return 1
	case guide:
		return 2
	}
	return 0
}

// await waits for done, and reports false if ctx ended first.
func await(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
