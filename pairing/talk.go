package pairing

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
)

const (
	talkVersion = 2
	maxName     = 255
)

const (
	pairingCode = "sdp2p-pairing-code" // HKDF info for the digits of a ticket's tunnel
	compareCode = "sdp2p-compare-code" // and for those of two nodes without a ticket
)

// digits returns the six digits that both users see, derived from a secret that
// only the two ends can share.
func digits(secret, salt []byte, info string) string {
	key, err := hkdf.Key(sha256.New, secret, salt, info, 8)
	if err != nil {
		panic(err) // only for lengths that do not occur here
	}
	return fmt.Sprintf("%06d", binary.BigEndian.Uint64(key)%1_000_000)
}

// A status is the state of the pairing on one side.
type status uint8

const (
	statusOK status = iota
	statusUsed
	statusDeclined
	statusNoAnswer
	statusFailed
)

// err returns the error that the other side's status means here.
func (s status) err() error {
	switch s {
	case statusOK:
		return nil
	case statusUsed:
		return ErrUsed
	case statusDeclined:
		return ErrPeerDeclined
	case statusNoAnswer:
		return ErrNoAnswer
	}
	return ErrPeerFailed
}

// statusOf returns the status that tells the other side of an error of ours.
func statusOf(err error) status {
	switch {
	case err == nil:
		return statusOK
	case errors.Is(err, ErrDeclined), errors.Is(err, ErrCanceled):
		return statusDeclined
	case errors.Is(err, ErrNoAnswer):
		return statusNoAnswer
	}
	return statusFailed
}

// A hello is the first message of the joining device.
//
//	size  field
//	1     version, 2
//	2+n   name of the device, at most 255 bytes
type hello struct{ name string }

func (m *hello) AppendBinary(b []byte) ([]byte, error) {
	return proto.AppendStringMax(append(b, talkVersion), m.name, maxName)
}

func (m *hello) DecodeFrom(d *proto.Decoder) (err error) {
	if version := d.Uint8(); d.Err() == nil && version != talkVersion {
		return fmt.Errorf("%w: version %d", ErrProtocol, version)
	}
	m.name = d.String(maxName)
	return d.Err()
}

// A reply is the inviting device's answer to a hello.
//
//	size  field
//	1     version, 2
//	1     status
//	2+n   name of the device, at most 255 bytes
type reply struct {
	status status
	name   string
}

func (m *reply) AppendBinary(b []byte) ([]byte, error) {
	return proto.AppendStringMax(append(b, talkVersion, byte(m.status)), m.name, maxName)
}

func (m *reply) DecodeFrom(d *proto.Decoder) error {
	if version := d.Uint8(); d.Err() == nil && version != talkVersion {
		return fmt.Errorf("%w: version %d", ErrProtocol, version)
	}
	m.status = decodeStatus(d)
	m.name = d.String(maxName)
	return d.Err()
}

func decodeStatus(d *proto.Decoder) status {
	return proto.DecodeEnum(d, "status", statusOK, statusUsed, statusDeclined, statusNoAnswer, statusFailed)
}

// A welcome is sent to the joining device once both users have agreed.
//
//	size  field
//	1     status; if it is not 0, nothing follows
//	16    UUID of the library
//	2+n   its name, at most 255 bytes
//	32    its founder
//	1     role of the new member: 1 member, 2 admin
//	32    its secret
//	      statements, as of [roster.Statements]
type welcome struct {
	library.Record
	role library.Role
}

func (m *welcome) AppendBinary(b []byte) ([]byte, error) {
	b = proto.AppendUUID(append(b, byte(statusOK)), m.ID)
	b, err := proto.AppendStringMax(b, m.Name, maxName)
	if err != nil {
		return nil, err
	}
	founder := m.Founder.Bytes()
	b, err = proto.AppendEnum(append(b, founder[:]...), "role", m.role, library.RoleMember, library.RoleAdmin)
	if err != nil {
		return nil, err
	}
	secret := m.Secret.Bytes()
	return m.Statements.AppendBinary(append(b, secret[:]...))
}

func (m *welcome) DecodeFrom(d *proto.Decoder) (err error) {
	if s := decodeStatus(d); d.Err() == nil && s != statusOK {
		return told{s.err()}
	}
	m.ID = d.UUID()
	m.Name = d.String(maxName)
	var founder [identity.Size]byte
	d.Fixed(founder[:])
	m.role = proto.DecodeEnum(d, "role", library.RoleMember, library.RoleAdmin)
	var secret [32]byte
	d.Fixed(secret[:])
	m.Secret = library.SecretOf(secret)
	if err := d.Err(); err != nil {
		return err
	}
	if m.Founder, err = identity.FromBytes(founder[:]); err != nil {
		return err
	}
	return m.Statements.DecodeFrom(d)
}

// A first is the answer to a welcome, once the record is stored: the new
// instance's statement that says which node it lives on.
//
//	size  field
//	1     status; if it is not 0, nothing follows
//	      statement, as of [roster.Statement]
type first struct{ roster.Statement }

func (m *first) AppendBinary(b []byte) ([]byte, error) {
	return m.Statement.AppendBinary(append(b, byte(statusOK)))
}

func (m *first) DecodeFrom(d *proto.Decoder) error {
	if s := decodeStatus(d); d.Err() == nil && s != statusOK {
		return told{s.err()}
	}
	return m.Statement.DecodeFrom(d)
}

// An admission is the last message: the statements that make the device a
// member.
//
//	size  field
//	1     status; if it is not 0, nothing follows
//	      statements, as of [roster.Statements]
type admission struct{ roster.Statements }

func (m *admission) AppendBinary(b []byte) ([]byte, error) {
	return m.Statements.AppendBinary(append(b, byte(statusOK)))
}

func (m *admission) DecodeFrom(d *proto.Decoder) error {
	if s := decodeStatus(d); d.Err() == nil && s != statusOK {
		return told{s.err()}
	}
	return m.Statements.DecodeFrom(d)
}

// A talk is a conversation with the other device: in a tunnel, or in a stream
// whose ends the users compare.
type talk struct {
	conn   net.Conn
	close  func() error       // ends it cleanly
	abort  func(reason error) // ends it so that the other side notices an error that it was not told
	device Device
	name   string // our own
	log    *slog.Logger
	due    bool // our reply is due: it carries the status
	closed bool // cleanly
}

type message interface{ AppendBinary([]byte) ([]byte, error) }

func (t *talk) write(m message) error {
	b, err := m.AppendBinary(nil)
	if err != nil {
		return err
	}
	return t.writeBytes(b)
}

func (t *talk) writeBytes(b []byte) error {
	t.conn.SetWriteDeadline(time.Now().Add(stepTime))
	if _, err := t.conn.Write(b); err != nil {
		return fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	return nil
}

// read reads a message that the other program has to send in time.
func (t *talk) read(ctx context.Context, decode func(*proto.Decoder) error, within time.Duration) error {
	t.conn.SetReadDeadline(time.Now().Add(within))
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		t.conn.SetReadDeadline(past)
	})
	err := decode(proto.NewDecoder(t.conn))
	if !stop() {
		<-interrupted // otherwise it would interrupt the next read
	}
	switch {
	case err == nil, errors.Is(err, ErrProtocol), errors.As(err, new(told)):
		return err
	case errors.Is(err, proto.ErrInvalid), errors.Is(err, identity.ErrInvalid), errors.Is(err, roster.ErrInvalid):
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", ErrUnfinished, err)
}

var past = time.Unix(1, 0)

// hear reads the other side's status, and returns the error that it means.
func (t *talk) hear(ctx context.Context, within time.Duration) error {
	var s status
	err := t.read(ctx, func(d *proto.Decoder) error {
		s = decodeStatus(d)
		return d.Err()
	}, within)
	if err == nil && s != statusOK {
		return told{s.err()}
	}
	return err
}

// tell sends our status.
func (t *talk) tell(s status) error {
	if t.due {
		t.due = false
		return t.write(&reply{status: s, name: t.name})
	}
	return t.writeBytes([]byte{byte(s)})
}

// A told error is one that the other side was told.
type told struct{ error }

func (t told) Unwrap() error { return t.error }

// finish ends the conversation, and tells the other side of an error that it
// does not know yet.
func (t *talk) finish(err error) error {
	unknown := err != nil && !errors.As(err, new(told))
	if errors.Is(err, ErrProtocol) || errors.Is(err, ErrUnfinished) || unknown && t.tell(statusOf(err)) != nil {
		t.abort(err)
		return err
	}
	t.closed = true
	_ = t.close() // everything that matters has been sent and read
	return err
}

// errHushed is why hearing ends when our user has answered.
var errHushed = errors.New("pairing: our user has answered")

// agree asks our user, tells the other side if the answer is yes, and returns
// nil once its user has agreed, too. Until both have, it keeps reading: the
// other side may say no after its yes, or be lost.
func (t *talk) agree(ctx context.Context, confirm ConfirmFunc) error {
	ctx, cancel := context.WithTimeoutCause(ctx, ConfirmTime, ErrNoAnswer)
	defer cancel()
	answer := t.ask(ctx, confirm)
	for ours, theirs := false, false; !ours || !theirs; {
		hearing, hush := context.WithCancelCause(ctx)
		heard := make(chan error, 1)
		go func() { heard <- t.hear(hearing, 2*ConfirmTime) }()
		var err error
		answered, yes := false, false
		select {
		case err = <-heard:
		case yes = <-answer:
			answered = true
			hush(errHushed)
			err = <-heard
		}
		hush(nil)
		switch {
		case errors.Is(err, errHushed):
		case err != nil:
			return err
		case theirs:
			return fmt.Errorf("%w: it says yes twice", ErrProtocol)
		default:
			theirs = true
		}
		switch {
		case !answered:
		case !yes:
			return ErrDeclined
		case ctx.Err() != nil: // too late: the end of ctx may have made the callback return
			return context.Cause(ctx)
		default:
			ours = true
			if err := t.tell(statusOK); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask asks our user. The callback may take longer than anybody waits for its
// answer.
func (t *talk) ask(ctx context.Context, confirm ConfirmFunc) <-chan bool {
	answer := make(chan bool, 1)
	go func() {
		yes := false
		defer func() {
			if r := recover(); r != nil {
				t.log.Error("a pairing callback panicked", "panic", r, "stack", string(debug.Stack()))
			}
			answer <- yes
		}()
		yes = confirm(ctx, t.device)
	}()
	return answer
}
