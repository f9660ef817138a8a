package tunnel

import (
	"context"
	"net"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/tunnel"
)

// members are two members of a library, each with its node. The responder
// decides by them: it knows the initiator, and has one credential. Handshakes
// follow one another.
type members struct {
	library              uuid.UUID
	secret, binding      [32]byte
	initiator, responder identity.Identity // instances
	from, to             tunnel.Member
	accepting            *tunnel.Responder
	opener               *tunnel.Credential
	answers              []*tunnel.Credential // the responder's
	key                  [32]byte             // the initiator's, as the responder sees it
}

func newMembers() (*members, error) {
	m := &members{library: uuid.UUID{1}, secret: [32]byte{2}, binding: [32]byte{3}, initiator: identity.New(), responder: identity.New()}
	m.from = tunnel.Member{Instance: m.initiator.Remote(), Node: identity.New().Remote()}
	m.to = tunnel.Member{Instance: m.responder.Remote(), Node: identity.New().Remote()}
	p, err := m.from.Instance.X25519()
	if err != nil {
		return nil, err
	}
	m.key = [32]byte(p.Bytes())
	const plenty = 1 << 30
	m.accepting = tunnel.NewResponder(m, tunnel.Limits{PeerInFlight: plenty, PeerPerSecond: plenty, InFlight: plenty, PerSecond: plenty})
	m.use(m.strangers())
	return m, nil
}

// A pair is the credentials of both.
type pair struct{ initiator, responder *tunnel.Credential }

// strangers are credentials of theirs that know nothing of each other.
func (m *members) strangers() pair {
	return pair{tunnel.NewCredential(m.library, m.initiator, m.secret), tunnel.NewCredential(m.library, m.responder, m.secret)}
}

// use has the next handshakes be with these.
func (m *members) use(p pair) { m.opener, m.answers = p.initiator, []*tunnel.Credential{p.responder} }

func (m *members) Credentials() []*tunnel.Credential { return m.answers }

func (m *members) Member(_ *tunnel.Credential, key [32]byte) (tunnel.Member, bool) {
	return m.from, key == m.key
}

func (m *members) Knows(node identity.RemoteIdentity) bool { return node == m.from.Node }

func (m *members) Allow(context.Context, uuid.UUID, tunnel.Member) bool { return true }

// open opens a tunnel over a stream, of which it closes both ends if that
// fails. The initiator has written a byte, since that is what the responder's
// proof comes with.
func (m *members) open(ctx context.Context, a, b net.Conn) (i, r *tunnel.Conn, err error) {
	err = both(a, b, func() (err error) {
		i, err = tunnel.Open(ctx, tunnel.Session{Stream: a, Local: m.from.Node, Remote: m.to.Node, Binding: m.binding}, m.opener, m.to)
		if err == nil {
			_, err = i.Write([]byte{0})
		}
		return err
	}, func() (err error) {
		r, err = m.accepting.Accept(ctx, tunnel.Session{Stream: b, Local: m.to.Node, Remote: m.from.Node, Binding: m.binding})
		return err
	})
	return i, r, err
}

// both runs the two sides of a handshake. The one that fails closes its stream,
// so that the other one ends.
func both(a, b net.Conn, initiate, respond func() error) error {
	done := make(chan error, 1)
	go func() {
		err := respond()
		if err != nil {
			b.Close()
		}
		done <- err
	}()
	err := initiate()
	if err != nil {
		a.Close()
	}
	if other := <-done; err == nil {
		err = other
	}
	return err
}
