// Package p2p finds a user's other devices, connects to them, proves who they
// are, and moves data.
//
// A node is one [P2P]: it keeps the state (its own identity, the peers that are
// known and how, the hooks that run) and is the bus that announces every change
// to it. It does no networking itself. Hooks do: package mdns discovers peers
// on the local network, package quic connects to them, and anybody can write
// another.
//
//	node, err := p2p.Start(ctx, p2p.Config{
//		App:     "sd",
//		Handler: mux,
//		Hooks:   []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{})},
//	})
//	defer node.Shutdown(context.Background())
//	for peer := range node.Available(ctx) { // now and from now on
//		stream, err := peer.Open(ctx, "echo") // connects if needed; a net.Conn
//		…
//	}
//
// [Config.Handler] serves inbound streams. It is usually a [Mux], in which each
// route says who may call it. [Peer.Info] describes a peer.
//
// Code written for network connections works over streams: [Mux.Listen] returns
// a listener for net/http, gRPC or SSH, and [P2P.DialContext] a dialer that
// takes a peer's host name ([identity.RemoteIdentity.Host]) as its address:
//
//	server := &http.Server{Handler: pages, ConnContext: p2p.ConnContext} // PeerOf(r.Context())
//	go server.Serve(mux.Listen("web", p2p.Anyone))
//
//	client := &http.Client{Transport: &http.Transport{DialContext: node.DialContext("web")}}
//	answer, err := client.Get("http://" + peer.Identity().Host() + "/")
//
// # Identity
//
// A peer is its [identity.RemoteIdentity], which the connection has
// authenticated. Until [Peer.Verified] is true, names and other metadata come
// from a discovery, where anybody can forge them; they never grant anything.
//
// # Events
//
// There are three levels, each built on the one below: [P2P.Available] yields
// peers, [P2P.Watch] yields events, and [P2P.Subscribe] is the queue under
// both. None of them can slow down the node or each other: a slow reader is
// told to read the state again; all it misses are changes that have been undone
// since.
//
// # Peers
//
// These invariants hold at every moment that a caller can see:
//
//  1. A peer is in [P2P.Peers] if and only if a hook has discovered it and not
//     expired it, or a listener holds a connection with it.
//  2. [PeerAvailable] and [PeerUnavailable] alternate for one identity.
//  3. One identity is one [*Peer], however many hooks found it.
//  4. A node never discovers itself.
//  5. [PeerConnectedWith] is the first connection up, [PeerDisconnectedWith] the
//     last one down.
//
// # Compatibility
//
// Nothing is tagged yet. The first tags will be v0: a minor version may change
// the Go API, with a line in CHANGELOG.md that says what to write instead, and
// a patch version does not. From v1 on, the rules of Go 1 hold. A replaced
// identifier is marked "Deprecated:" with its successor, and stays for two
// minor versions. The promise does not cover internal packages, nor the texts
// of String methods, logs and errors: tell errors apart with errors.Is and
// errors.As.
//
// On the wire, each protocol has its version in its name or in its first bytes,
// and a node also understands the previous version (docs/protocol.md). Version
// 1, which Spacedrive's nodes speak, stays.
//
// From the first tag on, later versions of the same major version read the
// files that a node has written: keys, records of libraries, journals of
// transfers, accounts of a relay.
//
// # Limits
//
// A stranger is a peer that is neither tracked ([P2P.Track]) nor behind a
// [Manual] candidate. On a connection that this node dialed, no peer is a
// stranger.
//
//	limit                                       default  set by
//	peers known at a time                         1,024  Config.MaxPeers
//	candidates of a peer, for each hook              16
//	metadata: entries                               128
//	metadata: bytes, as encoded                   8,192
//	metadata: libraries                              64
//	inbound streams, of one peer                    200  Config.MaxStreamsPerPeer
//	inbound streams, in all                       2,048  Config.MaxStreams
//	inbound streams, of strangers                 1,024  Config.MaxStrangerStreams
//	streams of a route, of one peer                none  Route.MaxStreams
//	streams that wait for a listener's Accept       128
//	  of these, of one peer                          64
//	calls of Config.Allow, about one peer             8  Config.MaxAllowCallsPerPeer
//	calls of Config.Allow, in all                   256  Config.MaxAllowCalls
//	  of these, for tracked peers only               32  (an eighth)
//	time for Config.Allow to answer                 2 s
//	time for a stream to name its route             5 s
//	time for a closed stream's peer to end          5 s
//	bytes from that peer until it ends            1 MiB
//	time for Shutdown, if ctx has no deadline       5 s  its ctx
//	events in the queue of a subscription           256
//
// A peer over a limit of streams or calls is refused with [ErrBusy].
package p2p
