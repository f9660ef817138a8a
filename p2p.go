package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// A P2P is a node: it manages the state and announces its changes. All methods
// may be called concurrently.
type P2P struct {
	app      string
	identity identity.Identity
	remote   identity.RemoteIdentity
	log      *slog.Logger
	started  time.Time
	streams  *streams
	gate     *gate
	probes   probes

	metadataUpdate sync.Mutex // held while UpdateMetadata runs; taken before mu
	shutdown       shutdown

	mu    sync.Mutex // guards state; nothing blocks or calls out while it is held
	state state
}

// New returns a node without starting anything; [P2P.Register] adds hooks to
// it. It fails if cfg is not valid.
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
		started:  time.Now(),
		state:    state{self: metadata{entries: entries}, counts: counts{}},
	}
	n.state.peers = table{
		max:     cfg.MaxPeers,
		newPeer: func(id identity.RemoteIdentity) *Peer { return &Peer{node: n, id: id} },
		known:   map[identity.RemoteIdentity]*peerState{},
		tracked: map[identity.RemoteIdentity]*tracked{},
		revoked: map[identity.RemoteIdentity]struct{}{},
	}
	n.streams = newStreams(cfg)
	n.streams.allows, n.streams.stranger, n.streams.note = n.Allows, n.isStranger, n.note
	return n, nil
}

// Start returns a node on which cfg.Hooks are registered, in their order. If
// one fails, or ctx ends first, the node is shut down again. ctx bounds only
// the start.
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

// Identity returns this node's identity.
func (n *P2P) Identity() identity.RemoteIdentity { return n.remote }
