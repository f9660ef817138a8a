package away

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

const (
	often    = time.Millisecond // pause between an echo and the next byte
	pollEach = time.Millisecond
	startIn  = 20 * time.Second
)

// A node is a node that can be reached through relays, of either kind. The
// first 8 bytes of its streams give the number of bytes that follow: if it is
// 0, bytes are echoed; otherwise they are discarded, and confirmed with a byte.
type node interface {
	id() string
	open(ctx context.Context, peer string) (stream, error)
	// path returns the path of new streams to a peer, and the relay.
	path(peer string) nodePath
	// noticed returns when the node first noticed, after a given time, that a
	// relay is gone.
	noticed(since time.Time) time.Time
	stir() // makes it look for direct paths now
	close() error
}

type stream interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
	Direct() bool
}

// A nodePath is the path to a peer.
type nodePath struct {
	Direct bool
	Relay  string
}

// These are the arguments of the calls of [TestNode].
type startArgs struct {
	Kind   string
	Seed   []byte // of the identity; only for our nodes
	Track  []string
	Relays []relayEntry
	Only   bool // whether to look for no direct paths
}

type peerArgs struct {
	Node, Peer string
	Bytes      int64         // number of bytes to send
	Within     time.Duration // how long to wait
	Since      time.Time
	Anew       bool // whether to forget the longest gap
}

// A holding is the state of a stream with echoes.
type holding struct {
	Began  time.Time     // when opening began
	First  time.Duration // until the first echo
	Rounds int
	Echoes time.Duration // duration of the rounds, without the pauses between them
	// Longest is the longest time between two echoes since the last call, and
	// Until its end.
	Longest time.Duration
	Until   time.Time
	Direct  bool // whether the stream runs directly now
	Err     string
	Ended   time.Time
}

// TestNode is not a test but a program, in which nodes come and go.
func TestNode(t *testing.T) {
	console := netlab.Program(t, &none{})
	p := &program{nodes: map[string]node{}, streams: map[string]*held{}}
	netlab.Handle(console, "start", p.start)
	netlab.Handle(console, "stop", p.stop)
	netlab.Handle(console, "hold", p.hold)
	netlab.Handle(console, "held", p.held)
	netlab.Handle(console, "path", of(p, func(n node, a peerArgs) nodePath { return n.path(a.Peer) }))
	netlab.Handle(console, "direct", p.direct)
	netlab.Handle(console, "pump", p.pump)
	netlab.Handle(console, "crowd", p.crowd)
	netlab.Handle(console, "noticed", of(p, func(n node, a peerArgs) time.Time { return n.noticed(a.Since) }))
	netlab.Handle(console, "stir", of(p, func(n node, _ peerArgs) none { n.stir(); return none{} }))
	netlab.Handle(console, "usage", func(collect bool) (usage, error) { return look(collect), nil })
	console.Tell("ready")
	console.Serve()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		require.NoError(t, n.close())
	}
}

// A program has nodes, by their identities.
type program struct {
	mu      sync.Mutex
	nodes   map[string]node
	streams map[string]*held
}

func (p *program) start(a startArgs) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startIn)
	defer cancel()
	begin := startOurs
	if a.Kind == goLibp2p {
		begin = startLibp2p
	}
	n, err := begin(ctx, a)
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nodes[n.id()] = n
	return n.id(), nil
}

func (p *program) node(id string) (node, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil {
		return nil, fmt.Errorf("there is no node %s", id)
	}
	return n, nil
}

// of makes a handler of a call to one node.
func of[R any](p *program, ask func(node, peerArgs) R) func(peerArgs) (R, error) {
	return func(a peerArgs) (r R, err error) {
		n, err := p.node(a.Node)
		if err != nil {
			return r, err
		}
		return ask(n, a), nil
	}
}

func (p *program) stop(a peerArgs) (none, error) {
	n, err := p.node(a.Node)
	if err != nil {
		return none{}, err
	}
	p.mu.Lock()
	delete(p.nodes, a.Node)
	h := p.streams[a.Node]
	delete(p.streams, a.Node)
	p.mu.Unlock()
	if h != nil {
		h.stop()
	}
	return none{}, n.close()
}

// hold opens a stream, and has a byte echoed on it again and again.
func (p *program) hold(a peerArgs) (holding, error) {
	n, err := p.node(a.Node)
	if err != nil {
		return holding{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startIn)
	defer cancel()
	h := &held{done: make(chan struct{})}
	h.state.Began = time.Now()
	if h.s, err = n.open(ctx, a.Peer); err != nil {
		return holding{}, err
	}
	h.s.SetDeadline(time.Now().Add(startIn))
	b := make([]byte, 9) // 8 zeros, and the first byte
	if _, err = h.s.Write(b); err == nil {
		_, err = io.ReadFull(h.s, b[:1])
	}
	if err != nil {
		h.s.Close()
		return holding{}, err
	}
	h.last = time.Now()
	h.s.SetDeadline(time.Time{})
	h.state.First = h.last.Sub(h.state.Began)
	p.mu.Lock()
	p.streams[a.Node] = h
	p.mu.Unlock()
	go h.run()
	return h.state, nil
}

// A held is a stream with echoes.
type held struct {
	s    stream
	done chan struct{}

	mu    sync.Mutex
	over  bool
	last  time.Time
	state holding
}

func (h *held) run() {
	defer close(h.done)
	defer h.s.Close()
	for b := make([]byte, 1); ; time.Sleep(often) {
		began := time.Now()
		_, err := h.s.Write(b)
		if err == nil {
			_, err = io.ReadFull(h.s, b)
		}
		h.mu.Lock()
		now := time.Now()
		if err != nil || h.over {
			if !h.over {
				h.state.Err, h.state.Ended = errors.Join(errors.New("the stream has ended"), err).Error(), now
			}
			h.mu.Unlock()
			return
		}
		h.state.Rounds++
		h.state.Echoes += now.Sub(began)
		if gap := now.Sub(h.last); gap > h.state.Longest {
			h.state.Longest, h.state.Until = gap, now
		}
		h.last = now
		h.mu.Unlock()
	}
}

func (h *held) stop() {
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	h.s.SetDeadline(time.Unix(1, 0))
	<-h.done
}

// held returns the state of a stream.
func (p *program) held(a peerArgs) (holding, error) {
	p.mu.Lock()
	h := p.streams[a.Node]
	p.mu.Unlock()
	if h == nil {
		return holding{}, errors.New("there is no stream")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	state := h.state
	state.Direct = h.s.Direct()
	if a.Anew {
		h.state.Longest = 0
	}
	return state, nil
}

// direct waits until a peer is reached directly, and returns the time, or the
// zero time if it took too long.
func (p *program) direct(a peerArgs) (time.Time, error) {
	n, err := p.node(a.Node)
	if err != nil {
		return time.Time{}, err
	}
	for until := time.Now().Add(a.Within); time.Now().Before(until); time.Sleep(pollEach) {
		if n.path(a.Peer).Direct {
			return time.Now(), nil
		}
	}
	return time.Time{}, nil
}

// pump sends bytes, and returns how long that took.
func (p *program) pump(a peerArgs) (time.Duration, error) {
	n, err := p.node(a.Node)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), netlab.Patience)
	defer cancel()
	s, err := n.open(ctx, a.Peer)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	s.SetDeadline(time.Now().Add(netlab.Patience))
	began := time.Now()
	if _, err := s.Write(binary.BigEndian.AppendUint64(nil, uint64(a.Bytes))); err != nil {
		return 0, err
	}
	chunk := make([]byte, 128<<10)
	for left := a.Bytes; left > 0; {
		n, err := s.Write(chunk[:min(left, int64(len(chunk)))])
		if err != nil {
			return 0, err
		}
		left -= int64(n)
	}
	_, err = io.ReadFull(s, chunk[:1])
	return time.Since(began), err
}

// serve is the other side of hold and pump.
func serve(s io.ReadWriter) error {
	var head [8]byte
	if _, err := io.ReadFull(s, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint64(head[:])
	if n == 0 {
		_, err := io.Copy(s, s)
		return err
	}
	buf := make([]byte, 128<<10)
	for left := n; left > 0; {
		got, err := s.Read(buf[:min(left, uint64(len(buf)))])
		if left -= uint64(got); err != nil && left > 0 {
			return err
		}
	}
	_, err := s.Write(buf[:1])
	return err
}
