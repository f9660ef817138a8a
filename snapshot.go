package p2p

import (
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// A State describes a node at one moment. It marshals to JSON, in which times
// are as in RFC 3339, durations are in nanoseconds (fields that end in _ns),
// identities and addresses are in text form, and empty fields other than
// numbers are left out. Fields may be added; none changes its meaning.
//
// It contains no secrets. It does contain names and addresses of devices, and,
// if asked for ([WithLibraries]), the libraries.
type State struct {
	Time     time.Time               `json:"time"`
	Started  time.Time               `json:"started"` // when the node was made
	App      string                  `json:"app"`
	Identity identity.RemoteIdentity `json:"identity"`
	Metadata map[string]string       `json:"metadata,omitempty"` // what other nodes are told about this one

	// Hooks are the registered hooks, in their order, followed by those that
	// have stopped unasked.
	Hooks []HookState `json:"hooks"`

	// Peers are the available peers, in the order of becoming so, followed by
	// those that are only tracked.
	Peers []PeerState `json:"peers"`

	// Streams are the open streams, of all peers together.
	Streams []OpenStreams `json:"streams,omitempty"`

	Counters Counters `json:"counters"`

	// Events are the latest notable ones, the oldest first: of discoveries, of
	// connections, of failures, and of the node itself, 64 each.
	Events []Note `json:"events"`
}

// A HookState describes a hook. See [HookInfo] and [ListenerInfo].
type HookState struct {
	Name      string           `json:"name"`
	Listener  bool             `json:"listener"`
	Ready     bool             `json:"ready"`
	Stopped   bool             `json:"stopped"`
	Cause     string           `json:"cause,omitempty"`  // why it has stopped
	Addrs     []netip.AddrPort `json:"addrs,omitempty"`  // where a listener accepts connections
	Announces bool             `json:"announces"`        // it announces this node to everybody on a network
	Report    *HookReport      `json:"report,omitempty"` // its own report
}

// A PeerState describes a peer. [PeerInfo] is its counterpart for programs.
type PeerState struct {
	Identity     identity.RemoteIdentity `json:"identity"`
	Name         string                  `json:"name,omitempty"`
	Metadata     map[string]string       `json:"metadata,omitempty"`
	Verified     bool                    `json:"verified"` // the peer itself has sent its metadata; otherwise anybody may have
	Available    bool                    `json:"available"`
	Tracked      bool                    `json:"tracked"`
	Revoked      bool                    `json:"revoked"`
	LastSeen     time.Time               `json:"last_seen,omitzero"`
	DiscoveredBy []string                `json:"discovered_by,omitempty"` // hooks
	Candidates   []CandidateState        `json:"candidates,omitempty"`
	Connections  []ConnState             `json:"connections,omitempty"` // direct before relayed
	Streams      []OpenStreams           `json:"streams,omitempty"`     // that are open
	Unreachable  string                  `json:"unreachable,omitempty"` // why no stream can be opened, if known

	// Bytes are those of all connections since this peer became known, by the
	// kind of path: "direct", "manual" or "relay".
	Bytes map[string]Bytes `json:"bytes,omitempty"`
}

// A CandidateState describes a way to reach a peer, and its outcome.
type CandidateState struct {
	Kind      CandidateKind           `json:"kind"`
	Addr      netip.AddrPort          `json:"addr,omitzero"`
	Relay     identity.RemoteIdentity `json:"relay,omitzero"`
	Version   int                     `json:"version"`           // of the wire protocol, reportedly; 0 if unknown
	Sources   []string                `json:"sources,omitempty"` // hooks
	Connected bool                    `json:"connected"`         // a connection with the peer takes this way

	// Of the last failed dial; zero if none has tried the candidate.
	Tried time.Time     `json:"tried,omitzero"`
	Took  time.Duration `json:"took_ns"`
	Cause string        `json:"cause,omitempty"` // in a word or two
	Error string        `json:"error,omitempty"` // in full
}

// A ConnState describes a connection.
type ConnState struct {
	Listener string        `json:"listener"`
	Path     Path          `json:"path"`
	Opened   time.Time     `json:"opened,omitzero"` // zero if the listener does not know
	Age      time.Duration `json:"age_ns"`
	RTT      time.Duration `json:"rtt_ns"` // smoothed; 0 while it is not known
	ConnStats
	Streams []OpenStreams `json:"streams,omitempty"` // that are open, if the listener tells which connection a stream has
}

// OpenStreams are the open streams of a route and a direction.
type OpenStreams struct {
	Route   string `json:"route"` // empty: none, or not named yet
	Inbound bool   `json:"inbound"`
	Number  int    `json:"number"`
}

// Counters count since the node was made.
type Counters struct {
	// Streams count by route: "" stands for none, or one that is not served.
	// Beyond 256 routes, streams count as "(others)".
	Streams map[string]StreamCounters `json:"streams,omitempty"`

	// Bytes are those of all connections, by the kind of path.
	Bytes map[string]Bytes `json:"bytes,omitempty"`

	// Causes are counters, keyed by name and then by cause, kind or outcome.
	// Hooks and packages add their own ([Scope.Count]).
	//
	//	dials_failed       dials that failed, by cause
	//	attempts_failed    candidates that these dials tried, by cause
	//	connections        connections that came up, by the kind of path
	//	connections_ended  those that went down, by cause
	//	moves              connections that changed their path, such as "relay to direct"
	//	requests_refused   connections and tunnels that peers have asked for
	Causes map[string]map[string]uint64 `json:"causes,omitempty"`
}

// StreamCounters count the streams of a route.
type StreamCounters struct {
	Opened       uint64            `json:"opened"`                  // by this node
	Accepted     uint64            `json:"accepted"`                // of peers, served by a handler
	Refused      map[string]uint64 `json:"refused,omitempty"`       // of peers, by the reset code in words
	RefusedThere map[string]uint64 `json:"refused_there,omitempty"` // of this node, refused or reset by the peer
}

// A Note is a notable event that a [State] remembers.
type Note struct {
	Time  time.Time               `json:"time"`
	Times int                     `json:"times"` // how often it has happened in succession; Time is that of the last one
	What  string                  `json:"what"`  // NoteFound, NoteConnected, …
	Peer  identity.RemoteIdentity `json:"peer,omitzero"`
	Hook  string                  `json:"hook,omitempty"`
	Route string                  `json:"route,omitempty"`
	Path  Path                    `json:"path,omitzero"`
	From  *Path                   `json:"from,omitempty"`  // of NoteMoved
	Cause string                  `json:"cause,omitempty"` // in a word or two, if it has such a name
	Error string                  `json:"error,omitempty"` // in full
}

// A Detail is a part of a [State] that is left out unless asked for.
type Detail int

// WithLibraries includes the libraries that this node and its peers claim to
// have, and what hooks know of them.
const WithLibraries Detail = 1
