// Package metrics exports a node's counters and gauges to Prometheus.
//
//	prometheus.MustRegister(metrics.New(node, metrics.Config{}))
//	http.Handle("/metrics", promhttp.Handler())
//
// Each collection takes one snapshot, [p2p.P2P.State], so that its numbers are
// consistent; between collections nothing is done. For several nodes in one
// process, register each with labels of its own
// ([prometheus.WrapRegistererWith]).
//
// # Labels
//
// The number of values is bounded: there are few causes, kinds and hooks;
// routes are those that the node serves or has called, 256 in all, or "(none)".
// No label names a peer unless [Config.Peers] is set, and none names a library.
//
//	sdp2p_start_time_seconds                              when the node was made
//	sdp2p_hook_up{hook}                                   1 while the hook serves
//	sdp2p_peers{state}                                    available, connected, tracked
//	sdp2p_open_connections{path}
//	sdp2p_open_streams{direction,route}
//	sdp2p_streams_opened_total{route}                     by this node
//	sdp2p_streams_accepted_total{route}                   of peers, served
//	sdp2p_streams_refused_total{route,cause}              of peers
//	sdp2p_streams_refused_there_total{route,cause}        of this node, by peers
//	sdp2p_sent_bytes_total{path}, sdp2p_received_bytes_total{path}
//	sdp2p_NAME_total{cause}                               [p2p.Counters].Causes, and counts of hooks
//	sdp2p_NAME                                            gauges of hooks
//
// With Config.Peers: sdp2p_peer_connected{peer}, sdp2p_peer_rtt_seconds{peer},
// sdp2p_peer_sent_bytes_total{peer,path} and sdp2p_peer_received_bytes_total.
package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sdp2p/p2p"
)

// A Config tunes a collector. The zero value is ready to use.
type Config struct {
	// Peers has metrics for each peer that is available, labeled by its
	// identity. There may be 1,024 of them, and others over time: it is for a
	// node whose peers are known.
	Peers bool
}

// New returns a collector of a node's metrics. It may be used while the node
// runs and after its shutdown.
func New(node *p2p.P2P, cfg Config) prometheus.Collector { return &collector{node, cfg} }

type collector struct {
	node *p2p.P2P
	cfg  Config
}

// Describe describes nothing, since the set of metrics depends on the hooks.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.node.State()
	g := gathering{out}
	g.gauge("start_time_seconds", "When the node was made, in seconds since 1970.", float64(s.Started.UnixNano())/1e9, nil)
	for _, h := range s.Hooks {
		g.gauge("hook_up", "1 while the hook serves, 0 if it has stopped unasked or does not serve yet.", number(h.Ready && !h.Stopped), []string{"hook"}, h.Name)
		if h.Report != nil {
			g.causes(h.Report.Counts)
			for name, value := range h.Report.Gauges {
				g.gauge(name, helpOf(name), value, nil)
			}
		}
	}
	g.peers(s.Peers)
	for _, open := range s.Streams {
		direction := "outbound"
		if open.Inbound {
			direction = "inbound"
		}
		g.gauge("open_streams", "Streams that are open.", float64(open.Number), []string{"direction", "route"}, direction, routeOf(open.Route))
	}
	g.streams(s.Counters.Streams)
	for path, b := range s.Counters.Bytes {
		g.count("sent_bytes_total", "Bytes sent by connections, with all that the transport adds.", b.Sent, []string{"path"}, path)
		g.count("received_bytes_total", "Bytes received by connections, with all that the transport adds.", b.Received, []string{"path"}, path)
	}
	g.causes(s.Counters.Causes)
	if c.cfg.Peers {
		for _, p := range s.Peers {
			g.peer(p)
		}
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// A gathering sends metrics to a collection.
type gathering struct{ out chan<- prometheus.Metric }

func (g gathering) gauge(name, help string, value float64, labels []string, values ...string) {
	g.send(name, help, prometheus.GaugeValue, value, labels, values)
}

func (g gathering) count(name, help string, value uint64, labels []string, values ...string) {
	g.send(name, help, prometheus.CounterValue, float64(value), labels, values)
}

func (g gathering) send(name, help string, kind prometheus.ValueType, value float64, labels, values []string) {
	if !valid(name) {
		return
	}
	for i := range values { // a cause is what an error of the app's may say
		values[i] = strings.ToValidUTF8(values[i], "\ufffd")
	}
	g.out <- prometheus.MustNewConstMetric(prometheus.NewDesc("sdp2p_"+name, help, labels, nil), kind, value, values...)
}

// valid reports whether a hook's name for a counter is valid.
func valid(name string) bool {
	for _, r := range name {
		if r != '_' && (r < 'a' || r > 'z') {
			return false
		}
	}
	return name != ""
}

// causes sends counters by cause.
func (g gathering) causes(counts map[string]map[string]uint64) {
	for name, by := range counts {
		for cause, value := range by {
			g.count(name+"_total", helpOf(name), value, []string{"cause"}, cause)
		}
	}
}

func (g gathering) streams(routes map[string]p2p.StreamCounters) {
	for route, c := range routes {
		route = routeOf(route)
		g.count("streams_opened_total", "Streams that this node has opened.", c.Opened, []string{"route"}, route)
		g.count("streams_accepted_total", "Streams of peers that a handler has served.", c.Accepted, []string{"route"}, route)
		for cause, value := range c.Refused {
			g.count("streams_refused_total", "Streams of peers that this node has refused.", value, []string{"route", "cause"}, route, cause)
		}
		for cause, value := range c.RefusedThere {
			g.count("streams_refused_there_total", "Streams of this node that peers have refused or reset.", value, []string{"route", "cause"}, route, cause)
		}
	}
}

// routeOf returns the label of a route, since an empty one would be no label to
// Prometheus.
func routeOf(route string) string {
	if route == "" {
		return "(none)"
	}
	return route
}

// peers sends the numbers of peers and connections.
func (g gathering) peers(peers []p2p.PeerState) {
	states := map[string]float64{"available": 0, "connected": 0, "tracked": 0}
	paths := map[string]float64{}
	for _, p := range peers {
		states["available"] += number(p.Available)
		states["connected"] += number(len(p.Connections) > 0)
		states["tracked"] += number(p.Tracked)
		for _, c := range p.Connections {
			paths[c.Path.Kind.String()]++
		}
	}
	for state, value := range states {
		g.gauge("peers", "Peers that the node knows.", value, []string{"state"}, state)
	}
	for path, value := range paths {
		g.gauge("open_connections", "Connections that are up.", value, []string{"path"}, path)
	}
}

func (g gathering) peer(p p2p.PeerState) {
	id := p.Identity.String()
	g.gauge("peer_connected", "1 while a connection with the peer is up.", number(len(p.Connections) > 0), []string{"peer"}, id)
	if len(p.Connections) > 0 {
		g.gauge("peer_rtt_seconds", "The smoothed round-trip time of the connection that new streams take.", p.Connections[0].RTT.Seconds(), []string{"peer"}, id)
	}
	for path, b := range p.Bytes {
		g.count("peer_sent_bytes_total", "Bytes sent to the peer since it is known.", b.Sent, []string{"peer", "path"}, id, path)
		g.count("peer_received_bytes_total", "Bytes received from the peer since it is known.", b.Received, []string{"peer", "path"}, id, path)
	}
}

// helps describe counts and gauges by their names.
var helps = map[string]string{
	"dials_failed":             "Dials in which no candidate led to the peer.",
	"attempts_failed":          "Candidates that did not lead to the peer.",
	"connections":              "Connections that came up, by the kind of path.",
	"connections_ended":        "Connections that went down.",
	"moves":                    "Connections that went on another way.",
	"requests_refused":         "Connections and tunnels of peers that this node has refused.",
	"mdns_packets_sent":        "Packets of multicast DNS sent, by kind.",
	"mdns_packets_received":    "Packets of multicast DNS worked on, by kind.",
	"mdns_bytes":               "Bytes of multicast DNS, by direction.",
	"mdns_packets_ignored":     "Packets of multicast DNS that were not worked on, or could not be sent.",
	"mdns_nodes_refused":       "Nodes that multicast DNS announced beyond a limit.",
	"mdns_deaf_interfaces":     "Network interfaces on which discovery hears nothing, for lack of a membership.",
	"relays":                   "Relays on the list.",
	"relays_ready":             "Relays by which this node can be called.",
	"relays_failed":            "Relays whose last attempt has failed.",
	"relayed_connections":      "Connections that run through a relay now.",
	"relay_circuits_opened":    "Circuits that this node has asked relays for.",
	"relay_circuits_accepted":  "Circuits that peers have opened to this node.",
	"tunnels_accepted":         "Tunnels of members that were accepted.",
	"tunnels_refused":          "Tunnels that were refused, by the cause that this node knows.",
	"tunnels_failed":           "Tunnels of this node that did not come about.",
	"libraries":                "Libraries of the node.",
	"library_members":          "Members of all libraries.",
	"open_tunnels":             "Tunnels that are open.",
	"library_changes":          "Changes of who belongs to a library.",
	"block_transfers_sent":     "Transfers of files to peers.",
	"block_transfers_received": "Transfers of files from peers.",
}

func helpOf(name string) string {
	if help, ok := helps[name]; ok {
		return help
	}
	return "Reported by a hook of the app."
}
