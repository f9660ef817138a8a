package server

import (
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	manet "github.com/multiformats/go-multiaddr/net"

	ma "github.com/multiformats/go-multiaddr"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/relay/token"
)

const (
	tick       = time.Second
	reviewTime = 15 * time.Second // between reviews of rights
	publishTTL = 60 * time.Second
	circuitMax = 1 << 30 * time.Second // a limit that a circuit does not reach
	maxPerPeer = 1024                  // circuits; accounts have the bound that matters
)

// A Server is a relay, which serves as soon as [New] returns.
type Server struct {
	cfg       Config
	rules     token.Rules
	room      *room
	close     func() error // of the host
	addrs     []netip.AddrPort
	relay     *relay.Relay
	sessions  *sessions
	accounts  *accounts
	treasury  *treasury
	pairs     pairs
	metrics   metrics
	leaving   atomic.Bool
	ctx       context.Context
	cancel    context.CancelFunc
	tasks     sync.WaitGroup
	closeOnce func() error
}

// New starts a relay. [Server.Run] or [Server.Close] ends it.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, sessions: newSessions(), pairs: pairs{all: map[pair]*pairState{}}}
	s.rules = token.Rules{Relay: cfg.Identity.Remote(), Trusted: cfg.Trusted, Revoked: cfg.Revoked}
	if s.treasury, err = openTreasury(cfg.Ledger, cfg.Journal, cfg.Logger); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.accounts = &accounts{ctx: s.ctx, treasury: s.treasury, limits: cfg.Limits, all: map[token.Account]*account{}}
	s.metrics.start()
	s.closeOnce = sync.OnceValue(s.shut)
	if err := s.serve(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.tasks.Go(s.work)
	if cfg.Directory != nil {
		s.tasks.Go(s.publish)
	}
	cfg.Logger.Info("the relay serves", "identity", cfg.Identity.Remote(), "addrs", s.addrs)
	return s, nil
}

// serve makes the host and go-libp2p's relay on it.
func (s *Server) serve() error {
	limits := s.cfg.Limits
	s.room = &room{most: int64(limits.Reservations) + int64(max(limits.Strangers, 0)) + spareConns}
	if limits.Strangers < 0 {
		s.room.most = math.MaxInt64
	}
	host, closeHost, err := newHost(s.cfg.Identity, listening{s.cfg.Listen, s.cfg.anyListen}, s.room, s.verify)
	if err != nil {
		return err
	}
	s.close = closeHost
	for _, a := range host.Network().ListenAddresses() {
		if addr, err := udpAddr(a); err == nil {
			s.addrs = append(s.addrs, addr)
		}
	}
	host.Network().Notify(&network.NotifyBundle{
		ConnectedF:    func(_ network.Network, c network.Conn) { s.connected(c) },
		DisconnectedF: func(_ network.Network, c network.Conn) { s.disconnected(c) },
	})
	host.SetStreamHandler(circuit.AuthProtocol, s.auth)
	s.relay, err = relay.New(&gate{host, s},
		relay.WithResources(relay.Resources{
			Limit:          &relay.RelayLimit{Duration: circuitMax, Data: math.MaxInt64}, // without a limit, clients would take circuits for direct connections
			ReservationTTL: limits.ReservationTime, MaxReservations: limits.Reservations,
			MaxReservationsPerIP: limits.ReservationsPerIP, MaxReservationsPerASN: limits.Reservations,
			MaxCircuits: maxPerPeer, BufferSize: limits.Buffer,
		}),
		relay.WithACL(acl{s}), relay.WithMetricsTracer(&s.metrics))
	return err
}

func udpAddr(a ma.Multiaddr) (netip.AddrPort, error) {
	inner, _ := ma.SplitLast(a)
	n, err := manet.ToNetAddr(inner)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.ParseAddrPort(n.String())
}

// verify reports whether a client has to prove its address before the
// handshake, as is the case while there are many strangers.
func (s *Server) verify(net.Addr) bool {
	all, members := s.sessions.counts()
	return s.cfg.Limits.Strangers >= 0 && all-members > s.cfg.Limits.Strangers/2
}

// Addrs returns the UDP addresses that the relay listens at.
func (s *Server) Addrs() []netip.AddrPort { return s.addrs }

// Identity returns the relay's key.
func (s *Server) Identity() identity.RemoteIdentity { return s.cfg.Identity.Remote() }

// connected is called before a connection's first stream.
func (s *Server) connected(c network.Conn) {
	node, _ := circuit.ParsePeerID([]byte(c.RemotePeer()))
	session := &session{conn: c, node: node, from: time.Now(), callers: circuit.Callers{Rule: circuit.CallersAccount}}
	if victim := s.sessions.add(session, s.cfg.Limits.Strangers); victim != nil {
		s.metrics.evicted.Add(1)
		go victim.conn.Close()
	}
	if node.IsZero() {
		return
	}
	if t, ok := s.cfg.Known(node); ok {
		session.grant([]token.Token{t}, false, s.accounts)
		s.admit(session)
	}
}

func (s *Server) disconnected(c network.Conn) {
	if session := s.sessions.remove(c); session != nil {
		session.leave()
	}
}

// work does periodic tasks.
func (s *Server) work() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	reviewed := time.Now()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		s.expel(now)
		if now.Sub(reviewed) >= reviewTime {
			reviewed = now
			s.review(now)
		}
		s.accounts.tidy()
		s.pairs.tidy()
		s.accounts.each(func(a *account) {
			for _, n := range a.purse.notes() {
				s.treasury.journal.write(n)
			}
		})
		s.treasury.work(s.ctx)
		s.treasury.sync()
	}
}

// expel closes the connections of strangers that have lasted for
// [Limits].Patience.
func (s *Server) expel(now time.Time) {
	for _, session := range s.sessions.list() {
		if now.Sub(session.from) >= s.cfg.Limits.Patience && session.stranger() {
			session.conn.Close()
		}
	}
}

// publish announces the relay until it leaves.
func (s *Server) publish() {
	ticker := time.NewTicker(publishTTL / 3)
	defer ticker.Stop()
	for {
		e := s.cfg.Entry
		_, e.Reservations = s.sessions.counts()
		e.Capacity = s.cfg.Limits.Reservations
		ttl := publishTTL
		if s.leaving.Load() {
			ttl = 0
		}
		if err := s.cfg.Directory.Publish(s.ctx, e, ttl); err != nil && s.ctx.Err() == nil {
			s.cfg.Logger.Error("the directory does not answer", "cause", err)
		}
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// Run waits until ctx is done, lets the clients leave, and ends the relay.
func (s *Server) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		s.Leave(context.Background())
	case <-s.ctx.Done():
	}
	return s.Close()
}

// Leave stops accepting reservations, withdraws the relay from the directory,
// and asks the clients to move to others. It waits until they have, at most
// [Limits].Leave or until ctx is done.
func (s *Server) Leave(ctx context.Context) {
	if !s.leaving.CompareAndSwap(false, true) {
		return
	}
	if s.cfg.Directory != nil {
		if err := s.cfg.Directory.Publish(ctx, s.cfg.Entry, 0); err != nil {
			s.cfg.Logger.Error("the directory does not answer", "cause", err)
		}
	}
	all := s.sessions.list()
	s.cfg.Logger.Info("the relay leaves", "clients", len(all))
	bye := s.farewell()
	for _, session := range all {
		session.send(bye)
	}
	ctx, cancel := context.WithTimeout(ctx, max(s.cfg.Limits.Leave, 0))
	defer cancel()
	for _, session := range all {
		select {
		case <-s.gone(session):
		case <-ctx.Done():
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// gone returns a channel that is closed when a session's connection is.
func (s *Server) gone(session *session) <-chan struct{} {
	var q *quicgo.Conn
	if session.conn.As(&q) {
		return q.Context().Done()
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

// farewell returns the message to clients when the relay leaves.
func (s *Server) farewell() circuit.Leave {
	bye := circuit.Leave{After: max(s.cfg.Limits.Leave, 0)}
	if s.cfg.Directory == nil {
		return bye
	}
	ctx, cancel := context.WithTimeout(s.ctx, ledgerPatience)
	defer cancel()
	others, err := s.cfg.Directory.List(ctx, "")
	if err != nil {
		return bye
	}
	for _, e := range others {
		if e.Relay != s.Identity() && len(bye.Instead) < circuit.MaxLeave {
			bye.Instead = append(bye.Instead, e.Relay)
		}
	}
	return bye
}

// Close ends the relay at once: circuits end, and unused parts of grants are
// given back.
func (s *Server) Close() error { return s.closeOnce() }

func (s *Server) shut() (err error) {
	s.leaving.Store(true)
	s.cancel()
	if s.relay != nil {
		err = errors.Join(err, s.relay.Close())
	}
	if s.close != nil {
		err = errors.Join(err, s.close())
	}
	s.tasks.Wait()
	s.accounts.each(func(a *account) { a.purse.giveBack(0) })
	s.treasury.work(context.Background())
	s.treasury.sync()
	return errors.Join(err, s.treasury.close())
}
