//go:build unix

package block_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tcp"
)

// A saboteur knows the other node of a transfer, and cuts the lanes with it a
// random time after the first one was made, so many times.
type saboteur struct {
	peer  identity.RemoteIdentity
	cuts  int
	cut   atomic.Int32 // lanes that were there then
	scope chan *p2p.Scope
}

func (*saboteur) Name() string { return "saboteur" }

func (b *saboteur) Run(ctx context.Context, s *p2p.Scope) error {
	events := s.Node().Subscribe()
	defer events.Close()
	s.Track(b.peer)
	b.scope <- s
	s.Ready()
	for {
		select {
		case e := <-events.C:
			if made, ok := e.(p2p.PeerConnectedWith); !ok || made.Listener != "tcp" || b.cuts == 0 {
				continue
			}
		case <-ctx.Done():
			return nil
		}
		b.cuts--
		select {
		case <-time.After(time.Duration(rand.Int64N(int64(300*time.Millisecond))) >> rand.IntN(6)):
		case <-ctx.Done():
			return nil
		}
		for _, link := range s.Links(b.peer) {
			if link.Listener == "tcp" {
				link.Conn.Close()
				b.cut.Add(1)
			}
		}
	}
}

// oneOverLanes is one side of a transfer between two nodes. The receiver
// announces its ports in a file.
func oneOverLanes(role, file, dir string) error {
	sender, err := identity.FromSeed(bytes.Repeat([]byte("s"), 32))
	if err != nil {
		return err
	}
	receiver, err := identity.FromSeed(bytes.Repeat([]byte("r"), 32))
	if err != nil {
		return err
	}
	udp, lanes := quic.New(quic.Config{DialTimeout: time.Second}), tcp.New(tcp.Config{})
	b := &saboteur{peer: sender.Remote(), scope: make(chan *p2p.Scope, 1)}
	cfg := p2p.Config{App: "test", Identity: receiver, Hooks: []p2p.Hook{udp, lanes, b}}
	if role == "lanes send" {
		cfg.Identity, b.peer, b.cuts = sender, receiver.Remote(), 8
	} else if cfg.Handler, err = receivesInto(dir); err != nil {
		return err
	}
	node, err := p2p.Start(context.Background(), cfg)
	if err != nil {
		return err
	}
	defer node.Shutdown(context.Background())
	if role == "lanes send" {
		return sendsOverLanes(node, b, file, dir)
	}
	at, _ := udp.Port()
	lane, _ := lanes.Port()
	if err := os.WriteFile(file+".next", fmt.Append(nil, at, " ", lane), 0o600); err != nil {
		return err
	}
	if err := os.Rename(file+".next", file); err != nil {
		return err
	}
	select {} // until it is killed
}

func receivesInto(dir string) (p2p.Handler, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	var transfers block.Transfers
	return p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
		_, err := transfers.Receive(ctx, s, nil, root, block.ReceiveOptions{Trusted: true})
		return err
	}), nil
}

func sendsOverLanes(node *p2p.P2P, b *saboteur, file, dir string) error {
	scope, lanes, others := <-b.scope, 0, 0
	transfer := block.Transfer{Open: func(ctx context.Context) (net.Conn, error) {
		for {
			s, err := opensAnnounced(ctx, node, scope, b.peer, file)
			if err != nil {
				select {
				case <-time.After(10 * time.Millisecond): // the first one must not fail
					continue
				case <-ctx.Done():
					return nil, err
				}
			}
			if local, _ := s.Endpoints(); local.Network() == "tcp" {
				lanes++
			} else {
				others++
			}
			return s, nil
		}
	}}
	_, err := transfer.Send(context.Background(), []block.Source{block.Path(dir)}, block.SendOptions{})
	fmt.Printf("%d lanes, %d other streams, %d cuts\n", lanes, others, b.cut.Load())
	return err
}

// opensAnnounced opens a stream to the node whose ports are in a file.
func opensAnnounced(ctx context.Context, node *p2p.P2P, s *p2p.Scope, to identity.RemoteIdentity, file string) (*p2p.Stream, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	port, lane, _ := strings.Cut(string(b), " ")
	at, err := netip.ParseAddrPort("127.0.0.1:" + port)
	if err != nil {
		return nil, err
	}
	if err := s.Discovered(to, map[string]string{p2p.KeyLane: lane}, []p2p.Candidate{{Kind: p2p.Direct, Addr: at}}); err != nil {
		return nil, err
	}
	peer, ok := node.Peer(to)
	if !ok {
		return nil, p2p.ErrUnavailable
	}
	return peer.NewStream(p2p.Bulk(ctx))
}

// A transfer between two nodes holds on while its lanes are cut at random
// moments, and the receiver is killed and comes back at other ports. Everything
// arrives, once.
func TestKillHoldLanes(t *testing.T) {
	t.Parallel()
	source := killTree(t)
	for range max(1, setting("BLOCK_KILLS", 2)/10) {
		file := filepath.Join(t.TempDir(), "at")
		h := &hold{kind: "lanes", sender: file, receiver: file, calm: func() {}}
		h.run(t, source)
		require.NotContains(t, "\n"+h.said.String(), "\n0 lanes", "no stream was a lane")
		t.Logf("%s, %d kills", bytes.TrimSpace([]byte(h.said.String())), h.kills)
	}
}
