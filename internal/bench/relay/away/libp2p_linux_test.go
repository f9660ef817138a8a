package away

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/sec"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/bench/transport"
	"github.com/sdp2p/p2p/internal/circuit"
)

// These are the kinds of nodes.
const (
	ours     = "ours"
	goLibp2p = "go-libp2p"
	protocol = "/bench/away"
)

// libp2p is a host of go-libp2p with go-libp2p's circuits and hole punching.
type libp2p struct {
	host.Host
	via []relayEntry
}

func startLibp2p(ctx context.Context, a startArgs) (_ node, err error) {
	h, err := transport.Unlimited("/ip4/0.0.0.0/udp/0/quic-v1", func(o *basichost.HostOpts) { o.EnableHolePunching = !a.Only })
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}
	security, err := noise.New(noise.ID, h.Peerstore().PrivKey(h.ID()), muxers)
	if err != nil {
		return nil, err
	}
	up, err := upgrader.New([]sec.SecureTransport{security}, muxers, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	if err := client.AddTransport(h, up); err != nil {
		return nil, err
	}
	h.SetStreamHandler(protocol, func(s network.Stream) {
		if serve(s) != nil {
			s.Reset()
			return
		}
		s.Close()
	})
	for _, r := range a.Relays {
		at, err := addrOf(r)
		if err != nil {
			return nil, err
		}
		info, err := peer.AddrInfoFromP2pAddr(at)
		if err != nil {
			return nil, err
		}
		if _, err := client.Reserve(ctx, h, *info); err != nil {
			return nil, err
		}
	}
	for !a.Only && !slices.Contains(h.Mux().Protocols(), holepunch.Protocol) { // it knows no own address yet
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("the host knows no address of its own: %w", err)
		}
		time.Sleep(pollEach)
	}
	return &libp2p{h, a.Relays}, nil
}

// addrOf returns a relay's address in go-libp2p's form.
func addrOf(r relayEntry) (ma.Multiaddr, error) {
	id, err := identity.Parse(r.Identity)
	if err != nil {
		return nil, err
	}
	at, err := netip.ParseAddrPort(r.Addr)
	if err != nil {
		return nil, err
	}
	p, err := peer.IDFromBytes(circuit.AppendPeerID(nil, id))
	if err != nil {
		return nil, err
	}
	return ma.NewMultiaddr(fmt.Sprintf("/ip4/%v/udp/%d/quic-v1/p2p/%v", at.Addr(), at.Port(), p))
}

func (n *libp2p) id() string { return n.ID().String() }

func (n *libp2p) open(ctx context.Context, to string) (stream, error) {
	id, err := peer.Decode(to)
	if err != nil {
		return nil, err
	}
	for _, r := range n.via {
		at, err := addrOf(r)
		if err != nil {
			return nil, err
		}
		n.Peerstore().AddAddr(id, at.Encapsulate(ma.StringCast("/p2p-circuit")), peerstore.PermanentAddrTTL)
	}
	s, err := n.NewStream(network.WithAllowLimitedConn(ctx, "it is measured"), id, protocol)
	if err != nil {
		return nil, err
	}
	return libp2pStream{s}, nil
}

type libp2pStream struct{ network.Stream }

func (s libp2pStream) Direct() bool { return direct(s.Conn()) }

func direct(c network.Conn) bool {
	_, err := c.RemoteMultiaddr().ValueForProtocol(ma.P_CIRCUIT)
	return err != nil
}

func (n *libp2p) path(to string) (p nodePath) {
	id, err := peer.Decode(to)
	if err != nil {
		return p
	}
	for _, c := range n.Network().ConnsToPeer(id) {
		if direct(c) {
			return nodePath{Direct: true}
		}
		via, err := c.RemoteMultiaddr().ValueForProtocol(ma.P_P2P) // the relay's ID comes first
		if err != nil {
			continue
		}
		if relay, err := peer.Decode(via); err == nil {
			if id, err := identityOf(relay); err == nil {
				p.Relay = id.String()
			}
		}
	}
	return p
}

func (*libp2p) noticed(time.Time) time.Time { return time.Time{} }
func (*libp2p) stir()                       {}
func (n *libp2p) close() error              { return n.Close() }
