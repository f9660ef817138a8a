package transport

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/multiformats/go-multistream"

	"github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/proto"
)

const (
	protocol         = "/bench/1"
	protocolAncestor = "/sdp2p/1"
)

// hosts are go-libp2p's, with QUIC and no other transport: without limits, and
// with the resource manager that it has by default.
func hosts() transport   { return libp2pTransport("go-libp2p", false, openHost) }
func limited() transport { return libp2pTransport("go-libp2p, default limits", true, openHost) }

// ancestor is the first implementation's protocol, on go-libp2p.
func ancestor() transport { return libp2pTransport("/sdp2p/1", false, openAncestor) }

// An opener opens a stream to a host that is connected.
type opener func(ctx context.Context, h host.Host, to peer.ID) (network.Stream, error)

func openHost(ctx context.Context, h host.Host, to peer.ID) (network.Stream, error) {
	return h.NewStream(ctx, to, protocol)
}

// openAncestor selects the protocol, and then both sides introduce themselves.
func openAncestor(ctx context.Context, h host.Host, to peer.ID) (network.Stream, error) {
	s, err := h.Network().NewStream(ctx, to)
	if err != nil {
		return nil, err
	}
	if err = multistream.SelectProtoOrFail(protocolAncestor, s); err == nil {
		err = introduce(s, h.ID())
	}
	if err != nil {
		s.Reset()
		return nil, err
	}
	return s, nil
}

// metadata is what both sides tell of themselves: as much as a node does.
var metadata = v1.Metadata{"name": "A laptop", "operating_system": "linux", "os": "Linux", "device_model": "XPS 13", "version": "1.0.0"}

func introduce(s io.ReadWriter, own peer.ID) error {
	id, err := remoteIdentity(own)
	if err != nil {
		return err
	}
	b, err := v1.Stream.AppendBinary(nil)
	if err != nil {
		return err
	}
	if b, err = (&v1.Hello{Identity: id, Metadata: metadata}).AppendBinary(b); err != nil {
		return err
	}
	if _, err := s.Write(b); err != nil {
		return err
	}
	var theirs v1.Metadata
	return theirs.DecodeFrom(proto.NewDecoder(s))
}

// welcome is the other side of introduce.
func welcome(s io.ReadWriter, from peer.ID) error {
	d := proto.NewDecoder(s)
	var mode v1.Mode
	if err := mode.DecodeFrom(d); err != nil {
		return err
	}
	var hello v1.Hello
	if err := hello.DecodeFrom(d); err != nil {
		return err
	}
	if id, err := remoteIdentity(from); err != nil || id != hello.Identity {
		return fmt.Errorf("%w: %w", errPeer, err)
	}
	b, err := metadata.AppendBinary(nil)
	if err != nil {
		return err
	}
	_, err = s.Write(b)
	return err
}

func remoteIdentity(p peer.ID) (id v1.Identity, err error) {
	key, err := p.ExtractPublicKey()
	if err != nil {
		return id, err
	}
	b, err := key.Raw()
	if err != nil {
		return id, err
	}
	return id, id.DecodeFrom(proto.NewDecoder(bytes.NewReader(b)))
}

func libp2pTransport(name string, limits bool, open opener) transport {
	return transport{name, func(context.Context) (listener, error) {
		h, err := newHost(limits)
		if err != nil {
			return nil, err
		}
		l := &hostListener{host: h, limits: limits, openWith: open}
		if l.listens, err = listensOn(h); err != nil {
			h.Close()
			return nil, err
		}
		h.SetStreamHandler(protocol, func(s network.Stream) { end(s, serve(s)) })
		h.SetStreamHandler(protocolAncestor, func(s network.Stream) {
			err := welcome(s, s.Conn().RemotePeer())
			if err == nil {
				err = serve(s)
			}
			end(s, err)
		})
		return l, nil
	}}
}

// end ends a stream that was served.
func end(s network.Stream, err error) {
	if err != nil {
		s.Reset()
		return
	}
	s.Close()
}

type hostListener struct {
	host     host.Host
	listens  netip.AddrPort
	limits   bool
	openWith opener
}

// listensOn returns where a host listens.
func listensOn(h host.Host) (netip.AddrPort, error) {
	for _, a := range h.Network().ListenAddresses() {
		inner, _ := ma.SplitLast(a)
		addr, err := manet.ToNetAddr(inner)
		if err != nil {
			return netip.AddrPort{}, err
		}
		if udp, ok := addr.(*net.UDPAddr); ok {
			return udp.AddrPort(), nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("the host listens on %v only", h.Network().ListenAddresses())
}

func (l *hostListener) addr() netip.AddrPort { return l.listens }
func (l *hostListener) close()               { l.host.Close() }

func (l *hostListener) dialer(_ context.Context, via netip.AddrPort) (dialer, error) {
	h, err := newHost(l.limits)
	if err != nil {
		return nil, err
	}
	to, err := ma.NewMultiaddr(fmt.Sprintf("/ip4/%v/udp/%d/quic-v1", via.Addr(), via.Port()))
	if err != nil {
		h.Close()
		return nil, err
	}
	return &hostDialer{host: h, to: peer.AddrInfo{ID: l.host.ID(), Addrs: []ma.Multiaddr{to}}, openWith: l.openWith}, nil
}

type hostDialer struct {
	host     host.Host
	to       peer.AddrInfo
	openWith opener

	mu        sync.Mutex // held while connecting
	connected bool
}

func (d *hostDialer) connect(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.connected {
		return nil
	}
	err := d.host.Connect(ctx, d.to)
	d.connected = err == nil
	return err
}

func (d *hostDialer) open(ctx context.Context) (stream, error) {
	if err := d.connect(ctx); err != nil {
		return nil, err
	}
	s, err := d.openWith(ctx, d.host, d.to.ID)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (d *hostDialer) close() { d.host.Close() }
