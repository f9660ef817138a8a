package roster

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

// A Role is the role of a member.
type Role uint8

// The roles.
const (
	RoleMember Role = iota + 1 // takes part
	RoleAdmin                  // also adds and removes members
)

// String returns "member" or "admin".
func (r Role) String() string {
	switch r {
	case RoleMember:
		return "member"
	case RoleAdmin:
		return "admin"
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

// A Body is the content of a statement: [Add], [Move], [Remove], [Endorse] or
// [Secret].
type Body interface {
	kind() Kind
	appendTo(b []byte) ([]byte, error)
}

// Add says that an instance belongs to the library.
type Add struct {
	Instance identity.RemoteIdentity
	Role     Role
	Name     string // for people, at most MaxName bytes
}

// Move says that the signer lives on a node. The zero node is for a founder
// that is a recovery key.
type Move struct {
	Node      identity.RemoteIdentity
	Signature [ed25519.SignatureSize]byte // by the node's key; see SignMove
}

// Remove says that an instance no longer belongs to the library.
type Remove struct {
	Instance identity.RemoteIdentity
	Last     Hash // its last statement that still counts; zero for none
}

// Endorse is a second signature on another signer's [Add] or [Remove], whose
// [Statement.UnsignedHash] it names.
type Endorse struct{ Of Hash }

// Secret names the secret that members use: Hash is its [HashSecret].
type Secret struct {
	Number uint64
	Hash   Hash
}

func (Add) kind() Kind     { return KindAdd }
func (Move) kind() Kind    { return KindMove }
func (Remove) kind() Kind  { return KindRemove }
func (Endorse) kind() Kind { return KindEndorse }
func (Secret) kind() Kind  { return KindSecret }

func (a Add) appendTo(b []byte) ([]byte, error) {
	b, err := proto.AppendEnum(appendKey(b, a.Instance), "role", a.Role, RoleMember, RoleAdmin)
	if err != nil {
		return nil, err
	}
	return proto.AppendStringMax(b, a.Name, MaxName)
}

func (m Move) appendTo(b []byte) ([]byte, error) {
	if b = appendKey(b, m.Node); m.Node.IsZero() {
		return b, nil
	}
	return append(b, m.Signature[:]...), nil
}

func (r Remove) appendTo(b []byte) ([]byte, error) {
	return append(appendKey(b, r.Instance), r.Last[:]...), nil
}

func (e Endorse) appendTo(b []byte) ([]byte, error) { return append(b, e.Of[:]...), nil }

func (s Secret) appendTo(b []byte) ([]byte, error) {
	return append(proto.AppendUint64(b, s.Number), s.Hash[:]...), nil
}

func appendKey(b []byte, id identity.RemoteIdentity) []byte {
	key := id.Bytes()
	return append(b, key[:]...)
}

// HashSecret returns the hash by which a [Secret] names a secret.
func HashSecret(secret [32]byte) Hash {
	return sha256.Sum256(append([]byte("sdp2p-secret\x00"), secret[:]...))
}

// SignMove returns the body of an instance's move to a node, signed by that
// node. Counter is the counter of the statement.
func SignMove(node identity.Identity, founder identity.RemoteIdentity, library uuid.UUID, instance identity.RemoteIdentity, counter uint32) Move {
	m := Move{Node: node.Remote()}
	copy(m.Signature[:], ed25519.Sign(node.PrivateKey(), m.signed(founder, library, instance, counter)))
	return m
}

// signed returns the bytes that a move's signature covers.
func (m *Move) signed(founder identity.RemoteIdentity, library uuid.UUID, instance identity.RemoteIdentity, counter uint32) []byte {
	b := proto.AppendUUID(appendKey([]byte("sdp2p-roster-move\x00"), founder), library)
	return appendKey(proto.AppendUint32(appendKey(b, instance), counter), m.Node)
}

// Parse returns the body of a statement of a known kind, or nil if the body is
// malformed, contains a key that is not strictly valid, has a signature that is
// not the node's, or names no node although its signer is not the founder: such
// a statement counts for nothing.
func (s *Statement) Parse(founder identity.RemoteIdentity) Body {
	body := s.parse(founder)
	if m, ok := body.(Move); ok && !m.valid(s, founder) {
		return nil
	}
	return body
}

// parse is Parse without verifying the signature of a move's node.
func (s *Statement) parse(founder identity.RemoteIdentity) Body {
	r := bytes.NewReader(s.Body)
	d := proto.NewDecoder(r)
	var body Body
	switch s.Kind {
	case KindAdd:
		body = Add{Instance: decodeKey(d), Role: proto.DecodeEnum(d, "role", RoleMember, RoleAdmin), Name: d.String(MaxName)}
	case KindMove:
		m := decodeMove(d)
		if m.Node.IsZero() && s.Signer != founder {
			return nil
		}
		body = m
	case KindRemove:
		m := Remove{Instance: decodeKey(d)}
		d.Fixed(m.Last[:])
		body = m
	case KindEndorse:
		var m Endorse
		d.Fixed(m.Of[:])
		body = m
	case KindSecret:
		m := Secret{Number: d.Uint64()}
		d.Fixed(m.Hash[:])
		body = m
	}
	if d.Err() != nil || r.Len() > 0 {
		return nil
	}
	return body
}

// decodeMove reads a move; the zero node has no signature.
func decodeMove(d *proto.Decoder) (m Move) {
	var b [identity.Size]byte
	if d.Fixed(b[:]); b == [identity.Size]byte{} || d.Err() != nil {
		return m
	}
	node, err := identity.FromBytes(b[:])
	if err != nil {
		d.Fail(err)
	}
	m.Node = node
	d.Fixed(m.Signature[:])
	return m
}

// valid reports whether the node's key signed the move of a statement; the zero
// node signs none.
func (m *Move) valid(s *Statement, founder identity.RemoteIdentity) bool {
	if m.Node.IsZero() {
		return true
	}
	key := m.Node.Bytes()
	return ed25519.Verify(key[:], m.signed(founder, s.Library, s.Signer, s.Counter), m.Signature[:])
}

// decodeKey reads a key, and fails if it is not strictly valid.
func decodeKey(d *proto.Decoder) identity.RemoteIdentity {
	var b [identity.Size]byte
	d.Fixed(b[:])
	if d.Err() != nil {
		return identity.RemoteIdentity{}
	}
	id, err := identity.FromBytes(b[:])
	if err != nil {
		d.Fail(fmt.Errorf("%w: %w", ErrInvalid, err))
	}
	return id
}

// String describes the kind.
func (k Kind) String() string {
	names := []string{"add", "move", "remove", "endorse", "secret"}
	if k >= 1 && int(k) <= len(names) {
		return names[k-1]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}
