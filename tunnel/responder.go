package tunnel

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/flynn/noise"
	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
)

const (
	m1Time     = 2 * time.Second
	allowTime  = 200 * time.Millisecond
	refuseTime = 250 * time.Millisecond // a refusal comes at a multiple of it after the first message's last byte

	// MaxCredentials is how many credentials one responder can answer for.
	MaxCredentials = 64
)

// A Directory is what a responder decides by. Its methods are called
// concurrently; they must not block.
type Directory interface {
	// Credentials returns our instances, each with each secret that is accepted
	// for it: at most [MaxCredentials], the rest is ignored.
	Credentials() []*Credential

	// Member returns the member of our credential's library that has an instance
	// key with this Montgomery form ([identity.RemoteIdentity.X25519]), if it may
	// use the credential's secret.
	Member(with *Credential, key [32]byte) (Member, bool)

	// Knows tells whether a node is on record for any member: part of the limits
	// is reserved for those.
	Knows(node identity.RemoteIdentity) bool

	// Allow decides whether a member may have a tunnel, once it is known who
	// claims to be there. It has no effects, since that is proved only later. No
	// answer within 200 ms, and a panic, are a refusal.
	Allow(ctx context.Context, library uuid.UUID, m Member) bool
}

// A Responder accepts tunnels. Make one with [NewResponder] for each node; its
// methods may be called concurrently.
type Responder struct {
	dir    Directory
	limits *limiter
}

// NewResponder returns a responder that decides by a directory.
func NewResponder(dir Directory, limits Limits) *Responder {
	return &Responder{dir: dir, limits: newLimiter(limits)}
}

// Accept waits for the peer to open a tunnel, and returns it once the peer has
// proved to be a member. The peer has 2 s for its first message and 10 s in
// all.
//
// Otherwise the error says why, for this node's own log: the peer learns
// nothing. Whatever the reason, its stream is reset 250 ms after the last byte
// of its first message, or at a later multiple of that; at once only if a first
// message did not come, or the limits do not admit it ([ErrBusy]), of which a
// node is told that the directory knows.
func (r *Responder) Accept(ctx context.Context, s Session) (*Conn, error) {
	at, err := r.enter(ctx, s)
	if err != nil {
		return nil, err
	}
	h := &acceptance{r: r, s: s, at: at, begun: time.Now()}
	t, err := h.run(ctx)
	if err != nil {
		h.refuse(ctx)
		s.reset()
	}
	if h.overrun == nil {
		at.leave()
		return t, err
	}
	go func() { // an Allow that does not return keeps its place
		<-h.overrun
		at.leave()
	}()
	return t, err
}

// enter takes a place for a handshake.
func (r *Responder) enter(ctx context.Context, s Session) (at *place, err error) {
	known := r.dir.Knows(s.Remote)
	if known {
		at, err = r.limits.enter(ctx, s.Remote)
	} else {
		at, err = r.limits.enterStranger(s.Remote, s.Addr, time.Now(), func() { s.busy(r.limits.SayBusy) })
	}
	if err != nil {
		s.busy(known || r.limits.SayBusy)
	}
	return at, err
}

// An acceptance is the responder's side of one handshake.
type acceptance struct {
	r       *Responder
	s       Session
	at      *place // nil in tests
	begun   time.Time
	heard   time.Time     // when the first message was complete
	overrun chan struct{} // closed when an Allow that took too long returns; nil if there is none
	random  io.Reader     // for tests
}

func (h *acceptance) run(ctx context.Context) (*Conn, error) {
	stop := expireWith(ctx, h.s)
	defer stop()
	if err := setDeadline(ctx, h.s, h.begun.Add(m1Time)); err != nil {
		return nil, err
	}
	var m1 [m1Size]byte
	if _, err := io.ReadFull(h.s.Stream, m1[:]); err != nil {
		return nil, fail(ctx, err)
	}
	h.heard = time.Now()
	if h.at != nil {
		h.at.hear()
	}
	switch {
	case m1[0] != m1Type:
		return nil, ErrNotTunnel
	case m1[1] != version:
		return nil, fmt.Errorf("%w: %d", ErrVersion, m1[1])
	}
	hs, k, err := h.open(m1[2:])
	if err != nil {
		return nil, err
	}
	c := k.credential
	key := [keySize]byte(hs.PeerStatic())
	m, err := h.member(c, key)
	if err != nil {
		return nil, err
	}
	if !h.allowed(ctx, c.library, m) {
		return nil, fmt.Errorf("%w: not by the app", ErrUnauthorized)
	}
	if err := setDeadline(ctx, h.s, h.begun.Add(handshakeTime)); err != nil {
		return nil, err
	}
	m2, in, out, err := hs.WriteMessage(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	if _, err := h.s.Stream.Write(m2); err != nil {
		return nil, fail(ctx, err)
	}
	t := newConn(h.s, c, m, hs.ChannelBinding(), newSealer(in), newSealer(out))
	err = h.confirmed(ctx, t, c, key)
	if err == nil && !stop() {
		err = fail(ctx, ctx.Err())
	}
	if err == nil {
		if err = h.s.Stream.SetDeadline(time.Time{}); err != nil {
			err = fail(ctx, err)
		}
	}
	if err != nil {
		t.stop(err) // the stream is reset in its time
		return nil, err
	}
	c.remember(key, k)
	return t, nil
}

// open tries the first message with each of our credentials, all of them: each
// needs a state of its own, since a failure spoils it.
func (h *acceptance) open(m1 []byte) (*noise.HandshakeState, *keys, error) {
	if err := checkEphemeral(m1[:keySize]); err != nil {
		return nil, nil, err
	}
	var hs *noise.HandshakeState
	var with *keys
	all := h.r.dir.Credentials()
	for _, c := range all[:min(len(all), MaxCredentials)] {
		try, k, err := start(c, prologue(h.s.Remote, h.s.Local, c, h.s.Binding), nil, h.random)
		if err != nil {
			continue
		}
		if _, _, _, err := try.ReadMessage(nil, m1); err == nil && hs == nil {
			hs, with = try, k
		}
	}
	if hs == nil {
		return nil, nil, fmt.Errorf("%w: it is for none of our instances", ErrHandshake)
	}
	return hs, with, nil
}

// member looks up who has proved to hold a key.
func (h *acceptance) member(c *Credential, key [keySize]byte) (Member, error) {
	m, ok := h.r.dir.Member(c, key)
	switch {
	case !ok:
		return m, fmt.Errorf("%w: no member of the library", ErrUnauthorized)
	case [keySize]byte(c.static().PublicKey().Bytes()) == key:
		return m, fmt.Errorf("%w: it is this instance", ErrUnauthorized)
	case m.Node != h.s.Remote || h.s.Remote.IsZero():
		return m, fmt.Errorf("%w: the member lives on another node", ErrUnauthorized)
	}
	return m, nil
}

// allowed asks the directory. Its time begins when it is called, not when a
// machine that is busy gets round to it.
func (h *acceptance) allowed(ctx context.Context, library uuid.UUID, m Member) bool {
	begun := make(chan (<-chan struct{}), 1) // when its time is over
	answer := make(chan bool, 1)
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		ctx, cancel := context.WithTimeout(ctx, allowTime)
		defer cancel()
		begun <- ctx.Done()
		defer func() {
			if recover() != nil {
				answer <- false
			}
		}()
		answer <- h.r.dir.Allow(ctx, library, m) && ctx.Err() == nil // in its time
	}()
	<-<-begun // which is also so when it has returned
	select {
	case ok := <-answer:
		return ok
	default:
		h.overrun = returned
		return false
	}
}

// confirmed waits for the initiator's proof, and checks that it is still a
// member.
func (h *acceptance) confirmed(ctx context.Context, t *Conn, c *Credential, key [keySize]byte) error {
	typ, _, err := t.record(nil)
	t.drop()
	switch {
	case isTimeout(err):
		return fail(ctx, err)
	case err != nil:
		return fmt.Errorf("%w: no confirmation: %w", ErrHandshake, err)
	case typ != typeConfirm:
		return fmt.Errorf("%w: %w: data before the confirmation", ErrHandshake, ErrProtocol)
	}
	if m, err := h.member(c, key); err != nil || m != t.member {
		return fmt.Errorf("%w: no member any more", ErrUnauthorized)
	}
	return nil
}

// refuse waits until the stream may be reset.
func (h *acceptance) refuse(ctx context.Context) {
	if h.heard.IsZero() {
		return
	}
	passed := time.Since(h.heard)
	timer := time.NewTimer(refuseTime - passed%refuseTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
