package circuit

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// A Status is the answer of a relay or of the callee. All but [OK] are errors.
type Status int32

// The statuses.
const (
	OK                  Status = 100
	ReservationRefused  Status = 200
	ResourceLimit       Status = 201
	PermissionDenied    Status = 202
	ConnectionFailed    Status = 203
	NoReservation       Status = 204
	MalformedMessage    Status = 400
	UnexpectedMessage   Status = 401
	statusNone          Status = 0 // absent
	expireLimit                = 1 << 40
	peerIDPrefix               = "\x00\x24\x08\x01\x12\x20"
	hopPeer, hopReserve        = 2, 3
	hopReason                  = 16
)

// String describes the status.
func (s Status) String() string {
	switch s {
	case OK:
		return "ok"
	case ReservationRefused:
		return "reservation refused"
	case ResourceLimit:
		return "over a limit"
	case PermissionDenied:
		return "permission denied"
	case ConnectionFailed:
		return "the peer did not answer"
	case NoReservation:
		return "the peer has no reservation"
	case MalformedMessage:
		return "malformed message"
	case UnexpectedMessage:
		return "unexpected message"
	}
	return fmt.Sprintf("status %d", int32(s))
}

// Error describes the status.
func (s Status) Error() string { return "relay: " + s.String() }

// Cause names the status in a word or two.
func (s Status) Cause() string {
	switch s {
	case ReservationRefused, ResourceLimit, PermissionDenied, ConnectionFailed, NoReservation:
		return "relay: " + s.String()
	}
	return "relay: protocol"
}

// Err returns nil for [OK], else s.
func (s Status) Err() error {
	if s == OK {
		return nil
	}
	return s
}

// A Limit is what a relay allows a circuit. The zero Limit means no limit.
type Limit struct {
	Duration time.Duration // whole seconds
	Bytes    uint64        // in each direction
}

// A HopType is the type of a [Hop].
type HopType uint8

// The types of a [Hop].
const (
	HopReserve HopType = iota
	HopConnect
	HopStatus
)

// A Hop is a message between a client and a relay.
type Hop struct {
	Type HopType
	// Peer is the callee.
	Peer identity.RemoteIdentity
	// Expire is the end of the reservation, in whole seconds; zero if there is
	// none. The other fields of the reservation are ignored.
	Expire time.Time
	Limit  Limit
	// Status is 0 in a message without a status.
	Status Status
	// Reason adds to a status other than [OK]. It is not in the specification.
	Reason Reason
}

// A StopType is the type of a [Stop].
type StopType uint8

// The types of a [Stop].
const (
	StopConnect StopType = iota
	StopStatus
)

// A Stop is a message between a relay and the callee.
type Stop struct {
	Type StopType
	// Peer is the caller, according to the relay.
	Peer   identity.RemoteIdentity
	Limit  Limit
	Status Status
}

// Append appends the message and its length.
func (m Hop) Append(b []byte) []byte {
	p := appendVarint(nil, 1, uint64(m.Type))
	p = appendPeer(p, hopPeer, m.Peer)
	if !m.Expire.IsZero() {
		p = appendBytes(p, hopReserve, appendVarint(nil, 1, uint64(m.Expire.Unix())))
	}
	p = appendLimit(p, 4, m.Limit)
	p = appendStatus(p, 5, m.Status)
	if m.Reason != NoReason {
		p = appendVarint(p, hopReason, uint64(m.Reason))
	}
	return appendDelimited(b, p)
}

// Append appends the message and its length.
func (m Stop) Append(b []byte) []byte {
	p := appendVarint(nil, 1, uint64(m.Type))
	p = appendPeer(p, 2, m.Peer)
	p = appendLimit(p, 3, m.Limit)
	return appendDelimited(b, appendStatus(p, 4, m.Status))
}

func appendPeer(b []byte, num int, id identity.RemoteIdentity) []byte {
	if id.IsZero() {
		return b
	}
	return appendBytes(b, num, appendBytes(nil, 1, AppendPeerID(nil, id)))
}

func appendLimit(b []byte, num int, l Limit) []byte {
	if l == (Limit{}) {
		return b
	}
	return appendBytes(b, num, appendVarint(appendVarint(nil, 1, uint64(uint32(l.Duration/time.Second))), 2, l.Bytes))
}

func appendStatus(b []byte, num int, s Status) []byte {
	if s == statusNone {
		return b
	}
	return appendVarint(b, num, uint64(s))
}

// AppendPeerID appends a node's peer ID as in libp2p: an "identity" multihash
// of the key in protobuf.
func AppendPeerID(b []byte, id identity.RemoteIdentity) []byte {
	key := id.Bytes()
	return append(append(b, peerIDPrefix...), key[:]...)
}

// ParsePeerID parses a peer ID. It fails with [ErrMalformed] if the ID has no
// acceptable Ed25519 key.
func ParsePeerID(b []byte) (identity.RemoteIdentity, error) {
	key, ok := bytes.CutPrefix(b, []byte(peerIDPrefix))
	if !ok {
		return identity.RemoteIdentity{}, fmt.Errorf("%w: a peer without an Ed25519 key", ErrMalformed)
	}
	id, err := identity.FromBytes(key)
	if err != nil {
		return identity.RemoteIdentity{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return id, nil
}

// ReadHop reads a message and its length.
func ReadHop(r io.Reader) (m Hop, err error) {
	b, err := readDelimited(r)
	if err != nil {
		return Hop{}, err
	}
	typed := false
	var peer []byte
	err = eachField(b, func(f field) error {
		switch {
		case f.is(1):
			m.Type, typed = HopType(f.varint), f.varint <= uint64(HopStatus)
		case f.holds(hopPeer):
			return mergePeer(&peer, f.bytes)
		case f.holds(hopReserve):
			return eachField(f.bytes, func(f field) error {
				if f.is(1) {
					m.Expire = time.Unix(int64(min(f.varint, expireLimit)), 0)
				}
				return nil
			})
		case f.holds(4):
			return m.Limit.merge(f.bytes)
		case f.is(5):
			m.Status = Status(f.varint)
		case f.is(hopReason):
			m.Reason = Reason(min(f.varint, math.MaxUint8))
		}
		return nil
	})
	if m.Peer, err = finish(typed, peer, err); err != nil {
		return Hop{}, err
	}
	return m, nil
}

// ReadStop reads a message and its length.
func ReadStop(r io.Reader) (m Stop, err error) {
	b, err := readDelimited(r)
	if err != nil {
		return Stop{}, err
	}
	typed := false
	var peer []byte
	err = eachField(b, func(f field) error {
		switch {
		case f.is(1):
			m.Type, typed = StopType(f.varint), f.varint <= uint64(StopStatus)
		case f.holds(2):
			return mergePeer(&peer, f.bytes)
		case f.holds(3):
			return m.Limit.merge(f.bytes)
		case f.is(4):
			m.Status = Status(f.varint)
		}
		return nil
	})
	if m.Peer, err = finish(typed, peer, err); err != nil {
		return Stop{}, err
	}
	return m, nil
}

// mergePeer stores the ID of a peer message. It ignores the addresses.
func mergePeer(id *[]byte, b []byte) error {
	return eachField(b, func(f field) error {
		if f.holds(1) {
			*id = f.bytes
		}
		return nil
	})
}

func (l *Limit) merge(b []byte) error {
	return eachField(b, func(f field) error {
		switch {
		case f.is(1):
			l.Duration = time.Duration(uint32(f.varint)) * time.Second
		case f.is(2):
			l.Bytes = f.varint
		}
		return nil
	})
}

// finish checks that a message has a known type, and parses the ID of the peer
// that it names.
func finish(typed bool, peer []byte, err error) (id identity.RemoteIdentity, _ error) {
	if err == nil && !typed {
		err = fmt.Errorf("%w: without a known type", ErrMalformed)
	}
	if err == nil && peer != nil {
		id, err = ParsePeerID(peer)
	}
	return id, err
}
