package p2p

import (
	"context"
	"fmt"
	"log/slog"

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

	// MaxPeers limits how many peers are known at a time. Beyond it, peers are
	// evicted: first those that have never been connected, oldest discovery
	// first. Peers that are connected, tracked, or behind a [Manual] candidate
	// are never evicted.
	//
	// For this limit and those below, zero means the default, which the package
	// documentation lists, and a negative value means no limit.
	MaxPeers int

	// MaxStreamsPerPeer, MaxStreams and MaxStrangerStreams limit how many
	// inbound streams are served at a time: from one peer, from all, and from
	// all strangers. Further ones are refused with [ErrBusy]. A stranger is a
	// peer that is neither tracked nor behind a [Manual] candidate; a stream
	// over a connection that this node dialed is not a stranger's.
	MaxStreamsPerPeer, MaxStreams, MaxStrangerStreams int

	// MaxAllowCallsPerPeer and MaxAllowCalls limit how many calls of Allow run
	// at a time: about one peer, and in all. An eighth of the latter is
	// reserved for tracked peers. Further requests are refused with [ErrBusy].
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

// ValidateApp checks the name of an application: 1 to 12 letters, digits and
// hyphens, with at least one letter. A hyphen may not come first or last, or
// next to another. (These are the rules of RFC 6335 §5.1 for service names,
// with 12 characters instead of 15.)
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
