package token

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/hidden"
	"github.com/sdp2p/p2p/proto"
)

const (
	// Size is the length of a token in bytes.
	Size = signedSize + ed25519.SignatureSize
	// MaxLife is the maximum time for which a token is valid, so that the list
	// of revoked ones stays short.
	MaxLife = 24 * time.Hour
	// Tolerance is how far the clocks of an issuer and a relay may differ.
	Tolerance = 5 * time.Minute

	version    = 1
	signedSize = 142
	prefix     = "sdp2pr1:"
	domain     = "sdp2p-relay-token-v1\x00"
)

// ErrInvalid is wrapped by every error about bytes or a text that are not a
// token, and about a token that cannot be signed.
var ErrInvalid = errors.New("token: not a relay token")

// Rights are the rights that a token gives.
type Rights uint8

// The rights.
const (
	// Reserve lets the node be called through the relay.
	Reserve Rights = 1 << iota
	// Connect lets the node call others through the relay. The bytes of a
	// circuit are charged to the caller's account.
	Connect
)

// String returns the names of the rights, as in "reserve, connect".
func (r Rights) String() string {
	var names []string
	if r&Reserve != 0 {
		names = append(names, "reserve")
	}
	if r&Connect != 0 {
		names = append(names, "connect")
	}
	if rest := r &^ (Reserve | Connect); rest != 0 {
		names = append(names, fmt.Sprintf("%#x", uint8(rest)))
	}
	return strings.Join(names, ", ")
}

// ParseRights reads the names of rights, with commas between them.
func ParseRights(s string) (r Rights, err error) {
	for name := range strings.SplitSeq(s, ",") {
		switch strings.TrimSpace(name) {
		case "reserve":
			r |= Reserve
		case "connect":
			r |= Connect
		default:
			return 0, fmt.Errorf("%w: %q is not reserve or connect", ErrInvalid, name)
		}
	}
	return r, nil
}

// An Account is the key under which a relay counts limits and use. The same
// number with two issuers is two accounts.
type Account struct {
	Issuer identity.RemoteIdentity
	Number uuid.UUID
}

// String returns the issuer's fingerprint and the number.
func (a Account) String() string { return a.Issuer.Fingerprint() + "/" + a.Number.String() }

// A Token allows one node to use relays. It is comparable. It prints as a
// placeholder, and only [Token.Text] and [Token.AppendBinary] show it.
//
//	size  field, little-endian
//	1     version, 1
//	32    Node
//	16    Account
//	32    Relay, or zeros
//	1     Rights
//	4     NotBefore, in minutes since 1970
//	4     Expiry, in minutes since 1970
//	8     Rate
//	8     Quota
//	4     Serial
//	32    Issuer
//	64    Ed25519 signature by Issuer of "sdp2p-relay-token-v1", a zero byte,
//	      and all before
//
// The text is "sdp2pr1:" followed by these bytes in base64url (RFC 4648 §5)
// without padding.
type Token struct {
	// Node is the node that may use the token.
	Node identity.RemoteIdentity
	// Account is the number of the account that pays.
	Account uuid.UUID
	// Relay is the relay that the token is for; zero: every relay that trusts
	// the issuer.
	Relay identity.RemoteIdentity
	// Rights are the rights that the token gives, at least one.
	Rights Rights
	// NotBefore and Expiry bound the time in which the token is valid, in whole
	// minutes. They are at most [MaxLife] apart.
	NotBefore, Expiry time.Time
	// Rate bounds the account's bytes per second, in both directions together;
	// 0: the relay's default.
	Rate uint64
	// Quota bounds the account's bytes in a period; 0: the ledger's default.
	Quota uint64
	// Serial identifies the token for revocation.
	Serial uint32
	// Issuer is the key that signed the token. It must sign nothing else, and
	// not be a node's.
	Issuer identity.RemoteIdentity

	signature hidden.Value[[ed25519.SignatureSize]byte]
}

// Payer returns the account that pays.
func (t Token) Payer() Account { return Account{t.Issuer, t.Account} }

// Sign returns t with its times cut to whole minutes, signed by the issuer. It
// fails with [ErrInvalid] if t has no node or no rights, unknown rights, an
// expiry that is not after NotBefore or by more than [MaxLife].
func (t Token) Sign(issuer identity.Identity) (Token, error) {
	if issuer.IsZero() {
		return Token{}, fmt.Errorf("%w: no issuer", ErrInvalid)
	}
	t.Issuer = issuer.Remote()
	t.NotBefore, t.Expiry = fromMinutes(minutes(t.NotBefore)), fromMinutes(minutes(t.Expiry))
	if err := t.check(); err != nil {
		return Token{}, err
	}
	signature := ed25519.Sign(issuer.PrivateKey(), t.appendSigned([]byte(domain)))
	t.signature = hidden.Of([ed25519.SignatureSize]byte(signature))
	return t, nil
}

// minutes returns the minutes since 1970, kept within what the field holds.
func minutes(t time.Time) uint32 {
	return uint32(min(max(t.Unix()/60, 0), math.MaxUint32))
}

func fromMinutes(m uint32) time.Time { return time.Unix(int64(m)*60, 0) }

// check checks everything about a token except the signature and the time.
func (t Token) check() error {
	switch life := t.Expiry.Sub(t.NotBefore); {
	case t.Node.IsZero():
		return fmt.Errorf("%w: no node", ErrInvalid)
	case t.Issuer.IsZero():
		return fmt.Errorf("%w: no issuer", ErrInvalid)
	case t.Rights == 0 || t.Rights&^(Reserve|Connect) != 0:
		return fmt.Errorf("%w: rights %#x", ErrInvalid, uint8(t.Rights))
	case life <= 0 || life > MaxLife:
		return fmt.Errorf("%w: a life of %v", ErrInvalid, life)
	}
	return nil
}

// appendSigned appends the part that is signed.
func (t Token) appendSigned(b []byte) []byte {
	node, relay, issuer := t.Node.Bytes(), t.Relay.Bytes(), t.Issuer.Bytes()
	b = append(append(b, version), node[:]...)
	b = append(append(b, t.Account[:]...), relay[:]...)
	b = append(b, byte(t.Rights))
	b = proto.AppendUint32(proto.AppendUint32(b, minutes(t.NotBefore)), minutes(t.Expiry))
	b = proto.AppendUint64(proto.AppendUint64(b, t.Rate), t.Quota)
	return append(proto.AppendUint32(b, t.Serial), issuer[:]...)
}

// AppendBinary appends the token's [Size] bytes. It fails with [ErrInvalid] if
// the token is not signed.
func (t Token) AppendBinary(b []byte) ([]byte, error) {
	signature := t.signature.Get()
	if signature == [len(signature)]byte{} {
		return b, fmt.Errorf("%w: it is not signed", ErrInvalid)
	}
	return append(t.appendSigned(b), signature[:]...), nil
}

// FromBytes reads a token's [Size] bytes. It does not check the signature: see
// [Rules.Verify]. It fails with [ErrInvalid].
func FromBytes(b []byte) (Token, error) {
	if len(b) != Size {
		return Token{}, fmt.Errorf("%w: %d bytes instead of %d", ErrInvalid, len(b), Size)
	}
	if b[0] != version {
		return Token{}, fmt.Errorf("%w: version %d", ErrInvalid, b[0])
	}
	t := Token{Account: uuid.UUID(b[33:49]), Rights: Rights(b[81])}
	t.NotBefore = fromMinutes(binary.LittleEndian.Uint32(b[82:]))
	t.Expiry = fromMinutes(binary.LittleEndian.Uint32(b[86:]))
	t.Rate = binary.LittleEndian.Uint64(b[90:])
	t.Quota = binary.LittleEndian.Uint64(b[98:])
	t.Serial = binary.LittleEndian.Uint32(b[106:])
	signature := [ed25519.SignatureSize]byte(b[signedSize:])
	if signature == [len(signature)]byte{} {
		return Token{}, fmt.Errorf("%w: it is not signed", ErrInvalid)
	}
	t.signature = hidden.Of(signature)
	var err error
	if t.Node, err = identity.FromBytes(b[1:33]); err != nil {
		return Token{}, fmt.Errorf("%w: the node: %w", ErrInvalid, err)
	}
	if t.Issuer, err = identity.FromBytes(b[110:signedSize]); err != nil {
		return Token{}, fmt.Errorf("%w: the issuer: %w", ErrInvalid, err)
	}
	if relay := [identity.Size]byte(b[49:81]); relay != [identity.Size]byte{} {
		if t.Relay, err = identity.FromBytes(relay[:]); err != nil {
			return Token{}, fmt.Errorf("%w: the relay: %w", ErrInvalid, err)
		}
	}
	if err := t.check(); err != nil {
		return Token{}, err
	}
	return t, nil
}

var encoding = base64.RawURLEncoding.Strict()

// Text returns the token's text, to be passed to its node and to nobody else;
// "" if the token is not signed.
func (t Token) Text() string {
	b, err := t.AppendBinary(nil)
	if err != nil {
		return ""
	}
	return prefix + encoding.EncodeToString(b)
}

// Parse reads a token's text, as [FromBytes] reads its bytes. Surrounding space
// is ignored. It fails with [ErrInvalid].
func Parse(text string) (Token, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(text), prefix)
	if !ok {
		return Token{}, fmt.Errorf("%w: it does not begin with %s", ErrInvalid, prefix)
	}
	if len(body) != encoding.EncodedLen(Size) { // first: the decoder skips line breaks
		return Token{}, fmt.Errorf("%w: %d characters instead of %d", ErrInvalid, len(body), encoding.EncodedLen(Size))
	}
	b, err := encoding.DecodeString(body)
	if err != nil {
		return Token{}, fmt.Errorf("%w: not base64url", ErrInvalid)
	}
	return FromBytes(b)
}

// String returns a placeholder that names the node.
func (t Token) String() string { return "a relay token of " + t.Node.String() }

// Format prints the placeholder for every verb.
func (t Token) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }

// LogValue returns the part of a token that may stand in a log.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("node", t.Node), slog.Uint64("serial", uint64(t.Serial)), slog.Time("expiry", t.Expiry))
}

// MarshalText fails with [identity.ErrSecret].
func (t Token) MarshalText() ([]byte, error) { return nil, identity.ErrSecret }
