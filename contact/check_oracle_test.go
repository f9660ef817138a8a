package contact_test

import (
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/tunnel"
)

// A half is one end of a stream in memory. It counts the bytes that it reads.
type half struct {
	net.Conn
	heard int
}

func (h *half) CloseWrite() error { return nil }

func (h *half) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.heard += n
	return n, err
}

// An answer is all that a stranger learns from a try.
type answer struct {
	after time.Duration
	heard int
	err   string
}

// try makes the check with a node, as a stranger who expects target there.
func try(t *testing.T, d *deaf, node, key, stranger identity.Identity, target identity.RemoteIdentity) answer {
	ours, theirs := net.Pipe()
	exporter := func(string) ([32]byte, bool) { return [32]byte{1}, true }
	checked := make(chan error, 1)
	go func() {
		_, err := d.contacts.Check(t.Context(), junction.Meeting{
			Stream: &half{Conn: ours}, Local: node.Remote(), Remote: key.Remote(), Addr: loopback, Exporter: exporter, Reset: func() { ours.Close() },
		})
		ours.Close()
		checked <- err
	}()
	began := time.Now()
	own := &half{Conn: theirs}
	session := tunnel.Session{Stream: own, Local: key.Remote(), Remote: node.Remote(), Binding: [32]byte{1}, Reset: func() {}}
	with := tunnel.NewCredentialFor([16]byte([]byte("sdp2p-contact-v1")), stranger, [32]byte{})
	_, err := tunnel.Open(t.Context(), session, with, tunnel.Member{Instance: target, Node: node.Remote()})
	require.Error(t, err)
	_, _ = io.Copy(io.Discard, own)
	require.Error(t, <-checked)
	return answer{time.Since(began), own.heard, err.Error()}
}

// A stranger who has the public key of the node or of one of its contacts
// learns nothing from tries: with these keys, the answers are the same as with
// anybody else's key, and come at the same times, which are simulated.
func TestNoOracle(t *testing.T) {
	tries := 100
	if os.Getenv("SDP2P_SOAK") != "" {
		tries = 5000
	}
	synctest.Test(t, func(t *testing.T) {
		node, contact, key, stranger, somebody := identity.New(), identity.New(), identity.New(), identity.New(), identity.New()
		_, d := alone(t, node, contact.Remote())
		var seen [3]map[answer]int
		for kind, target := range []identity.RemoteIdentity{node.Remote(), contact.Remote(), somebody.Remote()} {
			seen[kind] = map[answer]int{}
			for range tries {
				seen[kind][try(t, d, identity.New(), key, stranger, target)]++
			}
			for a := range seen[kind] {
				require.Zero(t, a.heard)
				require.Zero(t, a.after%(250*time.Millisecond), "%v", a)
			}
		}
		require.Equal(t, seen[2], seen[0])
		require.Equal(t, seen[2], seen[1])
		t.Log(seen[2])
	})
}
