package nettest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tunnel"
)

// These are the calls of a node with nodeConfig.Pairs for tests of libraries,
// and a call of each node as a stranger.
type (
	foundArgs struct{ Name string } // "found": a library with another member
	founded   struct {
		ID, Instance []byte
		Private      [][]byte // data that only members may see
	}

	knockArgs struct { // "knock": opens a tunnel, knowing everything except the keys
		Peer         string
		ID, Instance []byte
	}
)

func serveFounding(console *netlab.Console, libraries *library.Libraries) {
	netlab.Handle(console, "found", func(a foundArgs) (founded, error) {
		l, err := libraries.Found(a.Name, library.RecoveryKey{})
		if err != nil {
			return founded{}, err
		}
		return foundedOf(l, a.Name), nil
	})
}

func foundedOf(l *library.Library, name string) founded {
	r, id, instance := l.Record(), l.ID(), l.Instance().Bytes()
	secret := r.Secret.Bytes()
	private := [][]byte{[]byte(name), secret[:]}
	for _, s := range r.Statements {
		private = append(private, s.Body, s.Signature[:])
	}
	return founded{id[:], instance[:], private}
}

func serveKnocking(console *netlab.Console, node *p2p.P2P) {
	netlab.Handle(console, "knock", func(a knockArgs) (answer string, err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		id, err := identity.Parse(a.Peer)
		if err != nil {
			return "", err
		}
		instance, err := identity.FromBytes(a.Instance)
		if err != nil {
			return "", err
		}
		peer, ok := node.Peer(id)
		if !ok {
			return "no such peer", nil
		}
		s, err := peer.Open(ctx, library.Route)
		if err != nil {
			return "", err
		}
		session, err := library.Session(node, s)
		if err != nil {
			return "", err
		}
		credential := tunnel.NewCredential(uuid.UUID(a.ID), identity.New(), [32]byte{})
		_, err = tunnel.Open(ctx, session, credential, tunnel.Member{Instance: instance, Node: id})
		return err.Error(), nil
	})
}

// overhear records the packets that a host receives from others, until the test
// ends, and returns a function that returns the record so far.
func overhear(t testing.TB, h *netlab.Host) (so func() []byte) {
	t.Helper()
	var mu sync.Mutex
	var all []byte
	var fd int
	require.NoError(t, h.Do(func() (err error) {
		every := binary.NativeEndian.Uint16([]byte{0, syscall.ETH_P_ALL})
		if fd, err = syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, int(every)); err != nil {
			return err
		}
		return syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 100_000})
	}))
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		defer syscall.Close(fd)
		for b := make([]byte, 64<<10); ; {
			select {
			case <-stop:
				return
			default:
			}
			n, from, err := syscall.Recvfrom(fd, b, 0)
			if link, ok := from.(*syscall.SockaddrLinklayer); err != nil || !ok || link.Pkttype == syscall.PACKET_OUTGOING {
				continue
			}
			mu.Lock()
			all = append(all, b[:n]...)
			mu.Unlock()
		}
	})
	t.Cleanup(func() { close(stop); done.Wait() })
	return func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return bytes.Clone(all)
	}
}

// spellings returns the forms in which bytes may appear in packets.
func spellings(b []byte) [][]byte {
	all := [][]byte{
		b, []byte(hex.EncodeToString(b)), []byte(base64.StdEncoding.EncodeToString(b)), []byte(base64.RawStdEncoding.EncodeToString(b)),
		[]byte(base64.RawURLEncoding.EncodeToString(b)),
	}
	if id, err := uuid.FromBytes(b); err == nil {
		all = append(all, []byte(id.String()))
	}
	return all
}

func holds(heard, what []byte) bool {
	for _, s := range spellings(what) {
		if bytes.Contains(heard, s) {
			return true
		}
	}
	return false
}

// From packets, from a node's metadata and from its answers, a stranger learns
// only a library's identifier and the node's instance in it, and these only
// while discovery is enabled.
func TestWhatStrangersHearOfLibraries(t *testing.T) {
	t.Parallel()
	for name, announces := range map[string]bool{"discovery enabled": true, "discovery disabled": false} {
		t.Run(name, func(t *testing.T) {
			lab := netlab.New(t, 2)
			heard := overhear(t, lab.Hosts[1])
			n := start(t, lab.Hosts[0], nodeConfig{QUIC: true, MDNS: announces, Port: quic.DefaultPort, Pairs: true})
			l, err := netlab.Call[founded](n.Process, "found", foundArgs{"The Joneses"})
			require.NoError(t, err)
			at := netip.AddrPortFrom(lab.Hosts[0].Addr4(), quic.DefaultPort)
			stranger := start(t, lab.Hosts[1], nodeConfig{QUIC: true, MDNS: announces, Manual: []string{at.String()}})
			stranger.discovers(n, "quic")
			knock := func(id []byte) string {
				answer, err := netlab.Call[string](stranger.Process, "knock", knockArgs{n.id, id, l.Instance})
				require.NoError(t, err)
				return answer
			}
			another := uuid.New()
			answer := knock(l.ID)
			t.Log("answered:", answer)
			require.Equal(t, knock(another[:]), answer, "the answer must not tell whether the library is here")
			told := []byte(toldTo(t, lab.Hosts[1], n, nil))
			for what, b := range map[string][]byte{"what it is told": told, "the packets": heard()} {
				require.Equal(t, announces, holds(b, l.ID), "the library, by %s", what)
				require.Equal(t, announces, holds(b, l.Instance), "the instance, by %s", what)
				for _, p := range l.Private {
					require.False(t, holds(b, p), "%x, by %s", p, what)
				}
			}
		})
	}
}
