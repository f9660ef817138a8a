package server

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	manet "github.com/multiformats/go-multiaddr/net"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/relay/token"
)

// A session is one connection of a node. Rights belong to the connection:
// another one of the same node has to show a token, too.
type session struct {
	conn network.Conn
	node identity.RemoteIdentity // zero: a key of another kind
	from time.Time

	mu       sync.Mutex
	passes   [2]*pass // to reserve, to connect
	callers  circuit.Callers
	auth     *authStream
	before   *authStream // closed by the client once it has read the answer on auth
	observed netip.AddrPort
}

// A pass is one right of a session.
type pass struct {
	token   token.Token
	shown   bool // otherwise the node is configured by key
	account *account
}

// place returns the place of the pass for a right.
func place(right token.Rights) int {
	if right == token.Connect {
		return 1
	}
	return 0
}

// pass returns the account of a right; nil if the session does not have it.
func (s *session) pass(right token.Rights) *account {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.passes[place(right)]; p != nil {
		return p.account
	}
	return nil
}

func (s *session) stranger() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.passes == [2]*pass{}
}

// grant gives the session the rights of tokens: each right from the first token
// that has it.
func (s *session) grant(tokens []token.Token, shown bool, as *accounts) {
	var passes [2]*pass
	for _, t := range tokens {
		for _, right := range []token.Rights{token.Reserve, token.Connect} {
			if i := place(right); t.Rights&right != 0 && passes[i] == nil {
				passes[i] = &pass{t, shown, as.get(t)}
			}
		}
	}
	s.mu.Lock()
	before := s.passes
	s.passes = passes
	s.mu.Unlock()
	for _, p := range passes {
		if p != nil {
			p.account.join(s)
		}
	}
	for _, p := range before {
		if p != nil && (passes[0] == nil || passes[0].account != p.account) && (passes[1] == nil || passes[1].account != p.account) {
			p.account.part(s)
		}
	}
}

// leave removes the session from its accounts.
func (s *session) leave() {
	s.mu.Lock()
	passes := s.passes
	s.mu.Unlock()
	for _, p := range passes {
		if p != nil {
			p.account.part(s)
		}
	}
}

// send sends a message on the session's auth stream, if there is one.
func (s *session) send(m circuit.Message) {
	s.mu.Lock()
	a := s.auth
	s.mu.Unlock()
	if a != nil {
		a.send(m.Append(nil))
	}
}

// allows reports whether the session's node may be called by a node.
func (s *session) allows(caller identity.RemoteIdentity, payer *account) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.passes[place(token.Reserve)]
	return own != nil && s.callers.Allow(caller, own.account == payer)
}

// addr returns the address that the client's packets come from.
func (s *session) addr() netip.AddrPort {
	var q *quicgo.Conn
	if s.conn.As(&q) {
		if udp, err := netip.ParseAddrPort(q.RemoteAddr().String()); err == nil {
			return netip.AddrPortFrom(udp.Addr().Unmap(), udp.Port())
		}
	}
	return addrOf(s.conn)
}

func addrOf(c network.Conn) netip.AddrPort {
	a, err := manet.ToNetAddr(c.RemoteMultiaddr())
	if err != nil {
		return netip.AddrPort{}
	}
	addr, _ := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// sessions are the sessions of a relay.
type sessions struct {
	mu     sync.Mutex
	all    map[network.Conn]*session
	byNode map[identity.RemoteIdentity]*session // the newest session with rights of each node
}

func newSessions() *sessions {
	return &sessions{all: map[network.Conn]*session{}, byNode: map[identity.RemoteIdentity]*session{}}
}

func (ss *sessions) of(c network.Conn) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.all[c]
}

// node returns the session through which a node can be called.
func (ss *sessions) node(id identity.RemoteIdentity) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.byNode[id]
}

// add adds a connection, and returns one that has to be closed for it and is
// already forgotten.
func (ss *sessions) add(s *session, most int) (victim *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.all[s.conn] = s
	return ss.victim(most)
}

// victim returns the oldest stranger of the address that has the most, if there
// are too many. The caller holds mu.
func (ss *sessions) victim(most int) *session {
	if most < 0 || len(ss.all)-len(ss.byNode) <= most {
		return nil
	}
	byAddr := map[netip.Prefix][]*session{}
	count := 0
	for _, s := range ss.all {
		if s.stranger() {
			count++
			n := network64(addrOf(s.conn).Addr())
			byAddr[n] = append(byAddr[n], s)
		}
	}
	if count <= most {
		return nil
	}
	var crowd []*session
	for _, c := range byAddr {
		if len(c) > len(crowd) {
			crowd = c
		}
	}
	oldest := slices.MinFunc(crowd, func(a, b *session) int { return a.from.Compare(b.from) })
	delete(ss.all, oldest.conn)
	return oldest
}

// network64 returns the prefix that counts as one address: for IPv6, the first
// 64 bits.
func network64(ip netip.Addr) netip.Prefix {
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// rank makes a session its node's session, and returns the previous one. It
// returns false if the session was closed meanwhile.
func (ss *sessions) rank(s *session) (before *session, ok bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.all[s.conn] != s {
		return nil, false
	}
	before = ss.byNode[s.node]
	ss.byNode[s.node] = s
	if before == s {
		before = nil
	}
	return before, true
}

// remove forgets a closed connection.
func (ss *sessions) remove(c network.Conn) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.all[c]
	if s == nil {
		return nil
	}
	delete(ss.all, c)
	if ss.byNode[s.node] == s {
		delete(ss.byNode, s.node)
	}
	return s
}

// list returns all sessions.
func (ss *sessions) list() []*session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	all := make([]*session, 0, len(ss.all))
	for _, s := range ss.all {
		all = append(all, s)
	}
	return all
}

// counts returns the number of connections, and of those with rights.
func (ss *sessions) counts() (all, members int) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return len(ss.all), len(ss.byNode)
}
