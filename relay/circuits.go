package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/multistream"
)

const (
	selectIn = 5 * time.Second // for the protocol of a stream that the relay opens

	// These bound the circuits that callers have opened and in which nothing
	// has been proved yet: through one relay, of which callers that are not
	// tracked may have half, and of one caller.
	maxWaiting     = 8
	maxStrange     = 4
	maxOfOneCaller = 2
	provenIn       = 10 * time.Second

	// maxUnproven is the number of bytes that a circuit may receive before a
	// connection has taken it: the dialer pays for them.
	maxUnproven = 256 << 10
)

// A router is the client's interface for package quic.
type router struct{ *Client }

// Circuit opens a circuit to a peer through a relay.
func (r router) Circuit(ctx context.Context, relay identity.RemoteIdentity, at netip.AddrPort, to identity.RemoteIdentity, version int) (junction.Circuit, error) {
	s, err := r.relayAt(relay, at)
	if err != nil {
		return junction.Circuit{}, err
	}
	return r.open(ctx, s, to, version, r.elder())
}

// listed returns a relay of the list, if the client runs.
func (c *Client) listed(relay identity.RemoteIdentity) (*server, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scope == nil {
		return nil, ErrNotRunning
	}
	i := slices.IndexFunc(c.servers, func(s *server) bool { return s.Identity == relay })
	if i < 0 {
		return nil, ErrNotListed
	}
	return c.servers[i], nil
}

// Another opens a circuit to replace one that has ended, through another relay
// if possible.
func (r router) Another(ctx context.Context, to, former identity.RemoteIdentity, version int) (junction.Circuit, error) {
	r.mu.Lock()
	all := r.near(r.relaysOf(to))
	running := r.scope != nil
	r.mu.Unlock()
	if !running {
		return junction.Circuit{}, ErrNotRunning
	}
	err := ErrNotListed
	for _, again := range []bool{false, true} {
		for _, s := range all {
			if (s.Identity == former) != again || ctx.Err() != nil {
				continue
			}
			c, failed := r.open(ctx, s, to, version, nil)
			if failed == nil {
				r.pending.proven(to) // the connection is there
				return c, nil
			}
			err = failed
		}
	}
	return junction.Circuit{}, err
}

// open opens a circuit for packets. If the peer does not accept packets, and is
// not known to, elder, if not nil, gets the circuit, and the error is
// [junction.ErrTaken].
func (c *Client) open(ctx context.Context, s *server, to identity.RemoteIdentity, version int, elder junction.Ancestor) (opened junction.Circuit, err error) {
	defer func() {
		if ctx.Err() == nil && !errors.Is(err, junction.ErrTaken) {
			c.counted("relay_circuits_opened", err)
		}
	}()
	if c.speaks(to) == 2 {
		version = 2
	}
	if elder != nil && version != 2 && elder.Has(to) {
		return junction.Circuit{}, junction.ErrTaken
	}
	stream, up, err := s.connect(ctx, circuit.Hop{Type: circuit.HopConnect, Peer: to})
	if err != nil {
		return junction.Circuit{}, err
	}
	protocol, way, err := offer(ctx, stream, version, elder != nil)
	if err != nil {
		stream.Close()
		return junction.Circuit{}, fmt.Errorf("relay: %w", err)
	}
	w := newWire(up, way, to)
	c.pending.add(w)
	if protocol == junction.Noise {
		if err := elder.Take(ctx, c.line(w, true)); err != nil {
			w.Close()
			return junction.Circuit{}, fmt.Errorf("relay: %w", err)
		}
		return junction.Circuit{}, junction.ErrTaken
	}
	return junction.Circuit{ReadWriteCloser: w, Relay: s.Identity, Addr: up.session.Addr(), Peer: to}, nil
}

// offer proposes protocols for the circuit. A peer that is known to speak
// version 2 is offered nothing else, and the first packets leave along with the
// offer: a relay that refuses in its name gains nothing by that. Any other peer
// would mistake packets for further proposals.
func offer(ctx context.Context, s junction.Stream, version int, noise bool) (protocol string, way junction.Stream, err error) {
	if version == 2 {
		return circuit.PacketsProtocol, &eager{Stream: s, selection: multistream.NewSelection(s)}, nil
	}
	protocols := []string{circuit.PacketsProtocol}
	if noise {
		protocols = append(protocols, junction.Noise)
	}
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })
	protocol, rest, err := multistream.SelectOne(s, protocols...)
	if !stop() {
		return "", nil, context.Cause(ctx)
	}
	if err != nil {
		return "", nil, err
	}
	return protocol, &behind{s, io.MultiReader(bytes.NewReader(rest), s)}, nil
}

// An eager stream proposes its protocol with the first write, and reads the
// answer with the first read.
type eager struct {
	junction.Stream
	asked     bool // of the writing side
	selection *multistream.Selection
	r         io.Reader // of the reading side; nil before the answer
}

func (e *eager) Write(b []byte) (int, error) {
	if e.asked {
		return e.Stream.Write(b)
	}
	e.asked = true
	q := multistream.Question(circuit.PacketsProtocol)
	n, err := e.Stream.Write(append([]byte(q), b...))
	return max(0, n-len(q)), err
}

func (e *eager) Read(b []byte) (int, error) {
	if e.r == nil {
		if err := e.selection.Answer(circuit.PacketsProtocol); err != nil {
			return 0, err
		}
		e.r = io.MultiReader(bytes.NewReader(e.selection.Rest()), e.Stream)
	}
	return e.r.Read(b)
}

// A behind is a stream whose beginning was read already.
type behind struct {
	junction.Stream
	r io.Reader
}

func (b *behind) Read(p []byte) (int, error) { return b.r.Read(p) }

// A wire is a circuit that counts its bytes.
type wire struct {
	junction.Stream
	link   *link
	peer   identity.RemoteIdentity
	proven atomic.Bool  // a connection with the peer runs over it
	read   atomic.Int64 // bytes read before that
	closed sync.Once
	over   func() // called once it is closed; may be nil
}

func newWire(l *link, s junction.Stream, peer identity.RemoteIdentity) *wire {
	l.circuits.Add(1)
	l.look() // from now on the relay is asked more often
	return &wire{Stream: s, link: l, peer: peer}
}

var errUnproven = errors.New("relay: the circuit brings bytes that no connection takes")

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Stream.Read(b)
	if !w.proven.Load() && w.read.Add(int64(n)) > maxUnproven {
		return 0, errUnproven
	}
	return n, err
}

func (w *wire) Close() (err error) {
	w.closed.Do(func() {
		err = w.Stream.Close()
		w.link.circuits.Add(-1)
		w.link.used.Store(time.Now().UnixNano())
		if w.over != nil {
			w.over()
		}
	})
	return err
}

// pending are the circuits in which no connection has been proved yet.
type pending struct {
	mu  sync.Mutex
	all map[*wire]struct{}
}

func (p *pending) add(w *wire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[*wire]struct{}{}
	}
	p.all[w] = struct{}{}
	w.over = func() { p.remove(w) }
}

func (p *pending) remove(w *wire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, w)
}

// room reserves a place for a circuit that a caller opens through a relay, if
// one is free.
func (p *pending) room(w *wire, tracked bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	all, strange, same := 0, 0, 0
	for o := range p.all {
		if o.link != w.link {
			continue
		}
		all++
		if o.peer == w.peer {
			same++
		}
		if !o.link.server.client.isTracked(o.peer) {
			strange++
		}
	}
	if all >= maxWaiting || same >= maxOfOneCaller || !tracked && strange >= maxStrange {
		return false
	}
	if p.all == nil {
		p.all = map[*wire]struct{}{}
	}
	p.all[w] = struct{}{}
	w.over = func() { p.remove(w) }
	return true
}

// proven records that a connection with a peer runs through circuits.
func (p *pending) proven(peer identity.RemoteIdentity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.all {
		if w.peer == peer {
			w.proven.Store(true)
			delete(p.all, w)
		}
	}
}

// accept serves a stream that a relay has opened.
func (c *Client) accept(l *link, s junction.Stream) {
	s.SetDeadline(time.Now().Add(selectIn))
	// A relay that asks for this node's identity in libp2p's way is refused at
	// once.
	_, rest, err := multistream.Accept(s, circuit.StopProtocol)
	if err == nil {
		err = c.called(l, &behind{s, io.MultiReader(bytes.NewReader(rest), s)})
	}
	c.counted("relay_circuits_accepted", err)
	if err != nil {
		s.Close()
		c.log.Debug("no circuit", "relay", l.server.Identity, "cause", err)
	}
}

// called accepts a circuit that a caller has opened.
func (c *Client) called(l *link, s *behind) error {
	m, err := circuit.ReadStop(s)
	switch {
	case err != nil:
		_, _ = s.Write(circuit.Stop{Type: circuit.StopStatus, Status: circuit.MalformedMessage}.Append(nil))
		return err
	case m.Type != circuit.StopConnect || m.Peer.IsZero():
		_, _ = s.Write(circuit.Stop{Type: circuit.StopStatus, Status: circuit.UnexpectedMessage}.Append(nil))
		return circuit.UnexpectedMessage
	}
	w := newWire(l, s, m.Peer)
	w.proven.Store(true) // the caller pays for what it sends
	if !c.pending.room(w, c.isTracked(m.Peer)) {
		_, err := s.Write(circuit.Stop{Type: circuit.StopStatus, Status: circuit.ResourceLimit}.Append(nil))
		_ = s.CloseWrite()
		w.Close()
		return errors.Join(circuit.ResourceLimit, err)
	}
	if _, err := s.Write(circuit.Stop{Type: circuit.StopStatus, Status: circuit.OK}.Append(nil)); err != nil {
		w.Close()
		return err
	}
	supported, elder := []string{circuit.PacketsProtocol}, c.elder()
	if elder != nil && c.speaks(m.Peer) != 2 {
		supported = append(supported, junction.Noise)
	}
	protocol, rest, err := multistream.Accept(s, supported...)
	if err != nil {
		w.Close()
		return err
	}
	s.SetDeadline(time.Time{})
	s.r = io.MultiReader(bytes.NewReader(rest), s.r)
	if protocol == junction.Noise {
		ctx, cancel := context.WithTimeout(c.ctx, provenIn)
		defer cancel()
		if err = elder.Take(ctx, c.line(w, false)); err != nil {
			w.Close()
		}
		return err
	}
	time.AfterFunc(provenIn, func() { c.pending.remove(w) }) // by then, package quic has closed it or uses it
	err = c.seam.Accept(junction.Circuit{ReadWriteCloser: w, Relay: l.server.Identity, Addr: l.session.Addr(), Peer: m.Peer})
	if err != nil {
		w.Close()
	}
	return err
}

// Only reports whether connections through relays stay there.
func (r router) Only() bool { return r.cfg.Only }

// Heard receives packets that are not QUIC's.
func (r router) Heard(packet []byte, from netip.AddrPort) { r.upgrades.heard(packet, from) }
