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

// A Directory tells a responder whom to accept. Its methods are called
// concurrently; they must not block.
type Directory interface {
	// Credentials returns a credential for each of our instances and each
	// secret accepted for it: at most [MaxCredentials]; the rest are ignored.
	Credentials() []*Credential

	// Member returns the member of our credential's library that has an
	// instance key with this Montgomery form
	// ([identity.RemoteIdentity.X25519]), if it may use the credential's
	// secret.
	Member(with *Credential, key [32]byte) (Member, bool)

	// Knows reports whether a node is on record for any member: part of the
	// limits is reserved for such nodes.
	Knows(node identity.RemoteIdentity) bool

	// Allow reports whether a member may have a tunnel. It is called once the
	// peer has claimed to be the member, and must have no effects, since the
	// claim is proved only later. A panic, or taking longer than 200 ms, counts
	// as a refusal.
	Allow(ctx context.Context, library uuid.UUID, m Member) bool
}

// A Responder accepts tunnels. Make one for each node with [NewResponder]. Its
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
// If it fails, the error gives the reason, for this node's own log: the peer
// learns nothing. Whatever the reason, the peer's stream is reset 250 ms after
// the last byte of its first message, or at a later multiple of that. It is
// reset at once only if no first message arrived, or if the limits do not admit
// it ([ErrBusy]), which a node known to the directory is told.
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
	go func() { // while Allow does not return, the place stays taken
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
		t.stop(err) // the stream is reset when it is time
		return nil, err
	}
	c.remember(key, k)
	return t, nil
}

// open tries the first message with every one of our credentials. Each needs a
// state of its own, since a failure spoils it.
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

// member looks up the member that has proved to hold a key.
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

// allowed asks the directory. The directory's time limit begins when Allow is
// called, however late a busy machine gets round to that.
func (h *acceptance) allowed(ctx context.Context, library uuid.UUID, m Member) bool {
	begun := make(chan (<-chan struct{}), 1) // closed when its time is over
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
		answer <- h.r.dir.Allow(ctx, library, m) && ctx.Err() == nil // in time
	}()
	<-<-begun // or it has returned
	select {
	case ok := <-answer:
		return ok
	default:
		h.overrun = returned
		return false
	}
}

// confirmed waits for the initiator's proof, and checks that the initiator is
// still a member.
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
