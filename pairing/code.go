package pairing

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/proto"
)

const (
	compareLabel = "EXPORTER-sdp2p-pairing-v1" // of the TLS exporter that the digits depend on
	nonceSize    = 32

	maxFailures = 3
	lockTime    = 10 * time.Minute
)

// attempts counts the attempts by code that failed.
type attempts struct {
	failed int
	last   time.Time
}

// locked reports whether no more attempts are allowed for now.
func (a *attempts) locked() bool {
	if a.failed > 0 && time.Since(a.last) >= lockTime {
		a.failed = 0
	}
	return a.failed >= maxFailures
}

// attempt records an attempt by code, which somebody in between may have made:
// it counts as failed until it succeeds. It returns false if no more are
// allowed.
func (p *Pairing) attempt() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failures.locked() {
		return false
	}
	p.failures.failed++
	p.failures.last = time.Now()
	return true
}

// attempted records how the attempt ended.
func (p *Pairing) attempted(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failures.last = time.Now(); err == nil {
		p.failures = attempts{}
	}
}

func (p *Pairing) locked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failures.locked()
}

// A comparison is the values that two nodes without a ticket share, for their
// users to compare.
type comparison struct {
	opener, other identity.RemoteIdentity
	binding       [32]byte // of the connection: a node in between has two
}

// commitment returns the first message of the opener, which commits it to its
// nonce before it knows the other's.
//
//	size  what SHA-256 is taken of
//	16    "sdp2p-compare-v1"
//	32    opener's node key
//	32    other's node key
//	32    TLS exporter, label "EXPORTER-sdp2p-pairing-v1", no context
//	32    opener's nonce
func (c comparison) commitment(nonce [nonceSize]byte) [32]byte {
	opener, other := c.opener.Bytes(), c.other.Bytes()
	b := append([]byte("sdp2p-compare-v1"), opener[:]...)
	b = append(append(append(b, other[:]...), c.binding[:]...), nonce[:]...)
	return sha256.Sum256(b)
}

// code returns the digits.
func (c comparison) code(nonce, others [nonceSize]byte) string {
	opener, other := c.opener.Bytes(), c.other.Bytes()
	return digits(append(nonce[:], others[:]...), c.binding[:], compareCode+string(opener[:])+string(other[:]))
}

func newComparison(s *p2p.Stream, opener, other identity.RemoteIdentity) (comparison, error) {
	binding, ok := s.Exporter(compareLabel)
	if !ok || s.Path().Kind == p2p.Relay {
		return comparison{}, errors.New("pairing: without a ticket it needs a direct connection")
	}
	return comparison{opener, other, binding}, nil
}

func newNonce() (n [nonceSize]byte) {
	rand.Read(n[:])
	return n
}

// onStream returns the conversation on a stream without a tunnel, whose ends
// the users compare.
func onStream(s *p2p.Stream, scope *p2p.Scope) *talk {
	return &talk{
		conn: s, close: s.Close, abort: func(error) { s.Reset(p2p.ErrRefused) }, name: nameOf(scope), log: scope.Logger(),
		device: Device{Node: s.RemoteIdentity()},
	}
}

// JoinByCode joins the library that a peer invites to, while its user and ours
// compare digits. It fails as [Pairing.Join] does, except for errors about
// tickets, and with [ErrLocked].
func (p *Pairing) JoinByCode(ctx context.Context, peer *p2p.Peer, cfg JoinConfig) (*library.Library, error) {
	ctx, leave, scope, err := p.begin(ctx, peer.Identity(), cfg, false)
	if err != nil {
		return nil, err
	}
	defer leave()
	if p.locked() {
		return nil, ErrLocked
	}
	s, err := peer.Open(ctx, CodeRoute)
	if err != nil {
		return nil, err
	}
	t := onStream(s, scope)
	c, err := newComparison(s, scope.Node().Identity(), peer.Identity())
	if err != nil {
		t.abort(err)
		return nil, err
	}
	nonce := newNonce()
	commitment := c.commitment(nonce)
	var others [nonceSize]byte
	if err = t.writeBytes(append([]byte{talkVersion}, commitment[:]...)); err == nil {
		err = t.read(ctx, fixed(others[:]), stepTime)
	}
	if err != nil {
		t.abort(err)
		if errors.Is(err, p2p.ErrRefused) || errors.Is(err, p2p.ErrNoRoute) {
			err = fmt.Errorf("%w: it does not invite by code now (%w)", ErrPeerDeclined, err)
		}
		return nil, err
	}
	if !p.attempt() { // others were under way
		t.abort(ErrLocked)
		return nil, ErrLocked
	}
	l, err := func() (*library.Library, error) {
		if err := t.writeBytes(nonce[:]); err != nil {
			return nil, err
		}
		t.device.Code = c.code(nonce, others)
		return p.enter(ctx, scope.Identity(), t, uuid.Nil, cfg)
	}()
	p.attempted(err)
	return l, t.finish(err)
}

func fixed(b []byte) func(*proto.Decoder) error {
	return func(d *proto.Decoder) error {
		d.Fixed(b)
		return d.Err()
	}
}

// serveCode lets a device join without a ticket, if our user has invited one by
// code. It serves one device at a time.
func (p *Pairing) serveCode(ctx context.Context, scope *p2p.Scope, s *p2p.Stream) error {
	if p.invitesByCode() == nil {
		return errNotByCode
	}
	t := onStream(s, scope)
	t.due = true
	c, err := newComparison(s, s.RemoteIdentity(), scope.Node().Identity())
	if err != nil {
		return fmt.Errorf("%w: %w", p2p.ErrRefused, err)
	}
	commitment, err := t.readCommitment(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", p2p.ErrRefused, err)
	}
	i := p.invitesByCode()
	if i == nil || !i.use() {
		return errNotByCode
	}
	if !p.attempt() {
		i.free(ErrLocked)
		return errNotByCode
	}
	m, err := i.serve(ctx, func(ctx context.Context) (library.Member, error) {
		if err := c.exchange(ctx, t, commitment); err != nil {
			return library.Member{}, err
		}
		return i.converse(ctx, t)
	})
	p.attempted(err)
	if err == nil {
		i.forget()
		i.end(m, nil)
	} else {
		i.free(err)
	}
	return t.served(scope, err)
}

var errNotByCode = fmt.Errorf("%w: no invitation by code stands", p2p.ErrRefused)

// invitesByCode returns the invitation by code, if one stands.
func (p *Pairing) invitesByCode() *Invitation {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byCode()
}

// readCommitment reads the opener's first message. Until it has arrived, the
// opener takes nobody's place.
func (t *talk) readCommitment(ctx context.Context) (commitment [32]byte, err error) {
	err = t.read(ctx, func(d *proto.Decoder) error {
		if version := d.Uint8(); d.Err() == nil && version != talkVersion {
			return fmt.Errorf("%w: version %d", ErrProtocol, version)
		}
		d.Fixed(commitment[:])
		return d.Err()
	}, stepTime)
	return commitment, err
}

// exchange exchanges the nonces from which both sides compute the digits.
func (c comparison) exchange(ctx context.Context, t *talk, commitment [32]byte) error {
	nonce := newNonce()
	if err := t.writeBytes(nonce[:]); err != nil {
		return err
	}
	var others [nonceSize]byte
	if err := t.read(ctx, fixed(others[:]), stepTime); err != nil {
		return err
	}
	if want := c.commitment(others); subtle.ConstantTimeCompare(want[:], commitment[:]) != 1 {
		return fmt.Errorf("%w: its number is not the one that it had chosen", ErrProtocol)
	}
	t.device.Code = c.code(others, nonce)
	return nil
}
