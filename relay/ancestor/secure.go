package ancestor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	muxer "github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-yamux/v5"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/multistream"
)

const (
	handshakeIn = 10 * time.Second
	maxStreams  = 256 // that a peer opens
	maxStrange  = 16  // of them, of a stranger
	maxWindow   = 1 << 20
	frameSize   = 16 << 10 // of yamux: a slow circuit can send one in writeIn
	aliveEvery  = 15 * time.Second
	writeIn     = 10 * time.Second // also for the answer to a ping
)

var errOtherPeer = errors.New("ancestor: another peer is at the other end of the circuit")

// A security turns lines into connections.
type security struct {
	noise  *noise.Transport
	budget *budget
}

func newSecurity(id identity.Identity) (*security, error) {
	key, err := crypto.UnmarshalEd25519PrivateKey(id.PrivateKey())
	if err != nil {
		return nil, err
	}
	// Within the handshake, the two agree on a muxer if both can.
	transport, err := noise.New(noise.ID, key, []upgrader.StreamMuxer{{ID: muxer.ID, Muxer: muxer.DefaultTransport}})
	if err != nil {
		return nil, err
	}
	return &security{noise: transport, budget: &budget{}}, nil
}

// peerID returns libp2p's name for a node.
func peerID(id identity.RemoteIdentity) (peer.ID, error) {
	key, err := crypto.UnmarshalEd25519PublicKey(id.PublicKey())
	if err != nil {
		return "", err
	}
	return peer.IDFromPublicKey(key)
}

// secure makes the peer prove that it is the line's, and returns a connection
// with streams. On failure the line is closed.
func (s *security) secure(ctx context.Context, line junction.Line, stranger bool) (*yamux.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeIn)
	defer cancel()
	id, err := peerID(line.Peer)
	if err != nil {
		line.Close()
		return nil, err
	}
	var c sec.SecureConn
	if line.Dialed {
		c, err = s.noise.SecureOutbound(ctx, raw{line}, id)
	} else {
		c, err = s.noise.SecureInbound(ctx, raw{line}, id)
	}
	if err != nil {
		line.Close()
		if errors.As(err, new(sec.ErrPeerIDMismatch)) {
			return nil, errOtherPeer
		}
		return nil, fmt.Errorf("ancestor: Noise: %w", described(ctx, err))
	}
	rest, err := selectMuxer(ctx, c, line.Dialed)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("ancestor: %w", described(ctx, err))
	}
	var q *yamux.Session
	mux, err := transport(stranger).NewConn(&prefixed{c, io.MultiReader(bytes.NewReader(rest), c)}, !line.Dialed, &scope{budget: s.budget, peer: id, stranger: stranger})
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("ancestor: %w", err)
	}
	mux.As(&q)
	return q, nil
}

// selectMuxer selects yamux, unless the handshake has. It returns bytes that
// are to be read before c.
func selectMuxer(ctx context.Context, c sec.SecureConn, dialed bool) (rest []byte, err error) {
	if c.ConnState().StreamMultiplexer == muxer.ID {
		return nil, nil
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	if dialed {
		rest, err = multistream.Select(c, muxer.ID)
	} else {
		_, rest, err = multistream.Accept(c, muxer.ID)
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	return rest, err
}

// described returns the error of ctx, if it has ended, instead of its
// consequence.
func described(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// transport returns the yamux transport for a peer.
func transport(stranger bool) network.Multiplexer {
	c := yamux.DefaultConfig()
	c.MaxStreamWindowSize = maxWindow
	c.MaxIncomingStreams, c.AcceptBacklog = maxStreams, maxStreams
	if stranger {
		c.MaxIncomingStreams, c.AcceptBacklog = maxStrange, maxStrange
	}
	c.MaxMessageSize = frameSize
	c.KeepAliveInterval, c.MeasureRTTInterval, c.ConnectionWriteTimeout = aliveEvery, aliveEvery, writeIn
	c.ReadBufSize = 0 // Noise has a buffer
	c.LogOutput = io.Discard
	return (*muxer.Transport)(c)
}

// A raw is a line as a go-libp2p connection.
type raw struct{ junction.Line }

func (r raw) LocalAddr() net.Addr  { return &net.UDPAddr{} }
func (r raw) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(r.Addr) }

// A prefixed is a connection whose beginning was read already.
type prefixed struct {
	sec.SecureConn
	r io.Reader
}

func (p *prefixed) Read(b []byte) (int, error) { return p.r.Read(b) }

// path returns the path of a line.
func path(line junction.Line) p2p.Path {
	return p2p.Path{Kind: p2p.Relay, Dialed: line.Dialed, Remote: line.Addr, Relay: line.Relay}
}
