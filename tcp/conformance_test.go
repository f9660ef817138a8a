package tcp_test

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tcp"
)

// A meeting is a discovery among nodes of this host that tells their metadata,
// and tracks the nodes that it finds.
type meeting struct {
	mu      sync.Mutex
	changed chan struct{} // closed when something has changed
	here    map[identity.RemoteIdentity]map[string]string
}

func newMeeting() *meeting {
	return &meeting{changed: make(chan struct{}), here: map[identity.RemoteIdentity]map[string]string{}}
}

// tell tells the metadata of a node, or with nil, that the node has gone.
func (m *meeting) tell(id identity.RemoteIdentity, metadata map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.here[id] = metadata
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *meeting) Name() string { return "meeting" }

func (m *meeting) Run(ctx context.Context, s *p2p.Scope) error {
	events := s.Node().Subscribe()
	defer events.Close()
	me := s.Node().Identity()
	defer m.tell(me, nil)
	for ready := false; ; {
		m.mu.Lock()
		changed := m.changed
		for id, metadata := range m.here {
			switch {
			case id == me:
			case metadata == nil:
				s.Expired(id)
			default:
				s.Track(id)
				s.Discovered(id, metadata, []p2p.Candidate{{Kind: p2p.Direct, Addr: netipLoopback}})
			}
		}
		m.mu.Unlock()
		if !ready {
			ready = true
			m.tell(me, s.Node().Metadata())
			s.Ready()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case e, ok := <-events.C:
			if !ok {
				return nil
			}
			switch e.(type) {
			case p2p.Resync, p2p.MetadataModified:
				m.tell(me, s.Node().Metadata())
			}
		}
	}
}

func suite() p2ptest.HookTest {
	var mu sync.Mutex
	meetings := map[string]*meeting{}
	return p2ptest.HookTest{
		New: func(*testing.T) p2p.Hook { return tcp.New(tcp.Config{}) },
		FindBy: func(t *testing.T) p2p.Hook {
			mu.Lock()
			defer mu.Unlock()
			m := meetings[t.Name()]
			if m == nil {
				m = newMeeting()
				meetings[t.Name()] = m
			}
			return &attendant{m}
		},
	}
}

// An attendant is a node's hook for a meeting.
type attendant struct{ *meeting }

func TestConformance(t *testing.T) { suite().Run(t) }

func TestConn(t *testing.T) {
	s := suite()
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, b := s.Pipe(t)
		return a, b, func() { a.Reset(0); b.Reset(0) }, nil
	})
}

var netipLoopback = netip.MustParseAddrPort("127.0.0.1:9")
