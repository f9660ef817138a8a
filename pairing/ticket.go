package pairing

import (
	"bytes"
	"cmp"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/hidden"
	"github.com/sdp2p/p2p/proto"
)

// MaxAddrs is the maximum number of addresses in a ticket, and MaxRelays that
// of relays.
const (
	MaxAddrs  = 4
	MaxRelays = 2
)

const (
	prefix     = "sdp2p1:"
	secretSize = 16
	sumSize    = 4
	maxText    = 1024 // characters
)

// The kinds of optional fields.
const (
	fieldApp byte = iota + 1
	fieldLibrary
	fieldLane
	fieldRelay
	fieldEphemeral
)

// ErrTicket is returned for a text that is not a ticket, or is one with a
// changed or missing character.
var ErrTicket = errors.New("pairing: not a ticket, or one that was altered on its way; scan or copy it again")

// A Ticket lets its holder ask to join a library, once. It is a secret until it
// has been used or has expired: it prints as a placeholder, and only
// [Ticket.Text] shows it.
//
//	size  field
//	1     version, 2
//	32    Node: the inviting node
//	16    secret
//	4     Expiry, in minutes since 1970
//	1     count of addresses, at most 4
//	      count times:
//	1     4 or 6
//	4|16  IP address
//	2     UDP port
//	      optional fields, in this order, up to the checksum; others are skipped:
//	1       kind
//	1       length
//	n       1 App: a name
//	        2 Library: UUID
//	        3 Lane: u16 TCP port
//	        4 Relays, each: node 32, 4 or 6, IP address, u16 UDP port
//	        5 Ephemeral: key 32
//	4     the first bytes of SHA-256 of all before
//
// Version 1, which is still read, has no optional fields. The text is "sdp2p1:"
// followed by these bytes in base32 (RFC 4648 §6) without padding.
type Ticket struct {
	// Node is the inviting node. Nobody else can accept the ticket.
	Node identity.RemoteIdentity
	// Addrs are addresses at which to look for the node, the likeliest first.
	// Discovery may find it elsewhere.
	Addrs []netip.AddrPort
	// Expiry is when the ticket expires by the inviting node's clock, rounded
	// up to the next minute.
	Expiry time.Time

	// App is the name of the app that made the ticket; "" if the ticket does
	// not name it.
	App string
	// Library is the library that the ticket invites to; zero if the ticket
	// does not name it.
	Library uuid.UUID
	// Lane is the TCP port of the node's lanes; 0 if it has none.
	Lane uint16
	// Relays are relays through which the node can be reached.
	Relays []TicketRelay
	// Ephemeral is the key under which the node lets in the holder of the
	// ticket if the node is visible to contacts only; otherwise zero.
	Ephemeral identity.RemoteIdentity

	secret hidden.Value[[secretSize]byte]
}

// A TicketRelay is a relay through which a node can be reached.
type TicketRelay struct {
	Node identity.RemoteIdentity
	Addr netip.AddrPort
}

// newTicket makes a ticket with a random secret.
func newTicket(node identity.RemoteIdentity, addrs []netip.AddrPort, expiry time.Time) Ticket {
	t := Ticket{Node: node, Addrs: slices.Clone(addrs[:min(len(addrs), MaxAddrs)]), Expiry: expiry.Add(time.Minute - 1).Truncate(time.Minute)}
	var secret [secretSize]byte
	rand.Read(secret[:])
	t.secret = hidden.Of(secret)
	return t
}

// psk returns the secret that the two ends of a tunnel share besides their
// keys.
func (t Ticket) psk(purpose [16]byte) [32]byte {
	node, secret := t.Node.Bytes(), t.secret.Get()
	key, err := hkdf.Key(sha256.New, secret[:], nil, string(purpose[:])+string(node[:]), 32)
	if err != nil {
		panic(err) // only for lengths that cannot be had
	}
	return [32]byte(key)
}

// AppendBinary appends the bytes that the text encodes. It fails for a ticket
// that was assembled by hand and is not valid.
func (t Ticket) AppendBinary(b []byte) ([]byte, error) {
	start := len(b)
	minutes := t.Expiry.Unix() / 60
	if t.Node.IsZero() || len(t.Addrs) > MaxAddrs || minutes < 0 || minutes > math.MaxUint32 {
		return nil, ErrTicket
	}
	node, secret := t.Node.Bytes(), t.secret.Get()
	b = append(append(append(b, 2), node[:]...), secret[:]...)
	b = proto.AppendUint32(b, uint32(minutes))
	b = append(b, byte(len(t.Addrs)))
	var err error
	for _, a := range t.Addrs {
		if b, err = appendAddr(b, a); err != nil {
			return nil, err
		}
	}
	if b, err = t.appendFields(b); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b[start:])
	return append(b, sum[:sumSize]...), nil
}

// appendAddr appends an address.
func appendAddr(b []byte, a netip.AddrPort) ([]byte, error) {
	switch ip := a.Addr(); {
	case ip.Is4():
		b = append(b, 4)
	case ip.Is6() && !ip.Is4In6() && ip.Zone() == "":
		b = append(b, 6)
	default:
		return nil, ErrTicket
	}
	return proto.AppendUint16(append(b, a.Addr().AsSlice()...), a.Port()), nil
}

// appendFields appends the optional fields.
func (t Ticket) appendFields(b []byte) ([]byte, error) {
	if len(t.App) > 255 || len(t.Relays) > MaxRelays {
		return nil, ErrTicket
	}
	field := func(kind byte, value []byte) { b = append(append(b, kind, byte(len(value))), value...) }
	if t.App != "" {
		field(fieldApp, []byte(t.App))
	}
	if t.Library != uuid.Nil {
		field(fieldLibrary, t.Library[:])
	}
	if t.Lane != 0 {
		field(fieldLane, proto.AppendUint16(nil, t.Lane))
	}
	for _, r := range t.Relays {
		node := r.Node.Bytes()
		value, err := appendAddr(node[:], r.Addr)
		if err != nil {
			return nil, err
		}
		field(fieldRelay, value)
	}
	if !t.Ephemeral.IsZero() {
		key := t.Ephemeral.Bytes()
		field(fieldEphemeral, key[:])
	}
	return b, nil
}

// ParseTicket reads a ticket's text. Surrounding space, line breaks and letter
// case do not matter. It fails with [ErrTicket].
func ParseTicket(text string) (Ticket, error) {
	text = strings.ToUpper(strings.Join(strings.Fields(text), ""))
	text, ok := strings.CutPrefix(text, strings.ToUpper(prefix))
	if !ok || len(text) > maxText {
		return Ticket{}, ErrTicket
	}
	b, err := encoding.DecodeString(text)
	if err != nil || len(b) < sumSize || encoding.EncodeToString(b) != text {
		return Ticket{}, ErrTicket
	}
	body, end := b[:len(b)-sumSize], b[len(b)-sumSize:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:sumSize], end) {
		return Ticket{}, ErrTicket
	}
	t, err := decodeTicket(body)
	if err != nil {
		return Ticket{}, fmt.Errorf("%w (%w)", ErrTicket, err)
	}
	return t, nil
}

func decodeTicket(body []byte) (t Ticket, err error) {
	r := bytes.NewReader(body)
	d := proto.NewDecoder(r)
	version := d.Uint8()
	if d.Err() == nil && version != 1 && version != 2 {
		return t, fmt.Errorf("version %d", version)
	}
	t.Node = decodeKey(d)
	var secret [secretSize]byte
	d.Fixed(secret[:])
	t.secret = hidden.Of(secret)
	t.Expiry = time.Unix(int64(d.Uint32())*60, 0)
	for range d.Count8(MaxAddrs) {
		t.Addrs = append(t.Addrs, decodeAddr(d))
	}
	for version == 2 && d.Err() == nil && r.Len() > 0 {
		t.decodeField(d)
	}
	if d.Err() != nil {
		return Ticket{}, d.Err()
	}
	if r.Len() > 0 {
		return Ticket{}, fmt.Errorf("%d bytes too many", r.Len())
	}
	return t, nil
}

func decodeKey(d *proto.Decoder) identity.RemoteIdentity {
	var b [identity.Size]byte
	d.Fixed(b[:])
	id, err := identity.FromBytes(b[:])
	if err != nil {
		d.Fail(err)
	}
	return id
}

func decodeAddr(d *proto.Decoder) netip.AddrPort {
	var ip netip.Addr
	switch family := d.Uint8(); family {
	case 4:
		var a [4]byte
		d.Fixed(a[:])
		ip = netip.AddrFrom4(a)
	case 6:
		var a [16]byte
		d.Fixed(a[:])
		if ip = netip.AddrFrom16(a); ip.Is4In6() {
			d.Fail(fmt.Errorf("address %v", ip))
		}
	default:
		d.Fail(fmt.Errorf("address family %d", family))
	}
	return netip.AddrPortFrom(ip, d.Uint16())
}

// decodeField reads an optional field, and skips one of an unknown kind.
func (t *Ticket) decodeField(d *proto.Decoder) {
	kind := d.Uint8()
	value := make([]byte, d.Uint8())
	d.Fixed(value)
	if d.Err() != nil {
		return
	}
	r := bytes.NewReader(value)
	f := proto.NewDecoder(r)
	switch kind {
	case fieldApp:
		if t.App = string(value); !utf8.ValidString(t.App) {
			d.Fail(errors.New("the app is not UTF-8"))
		}
		return
	case fieldLibrary:
		t.Library = f.UUID()
	case fieldLane:
		t.Lane = f.Uint16()
	case fieldRelay:
		if relay := (TicketRelay{decodeKey(f), decodeAddr(f)}); len(t.Relays) < MaxRelays {
			t.Relays = append(t.Relays, relay)
		}
	case fieldEphemeral:
		t.Ephemeral = decodeKey(f)
	default:
		return
	}
	if f.Err() != nil || r.Len() > 0 {
		d.Fail(fmt.Errorf("field %d: %d bytes (%w)", kind, len(value), cmp.Or(f.Err(), errTooLong)))
	}
}

var errTooLong = errors.New("too many")

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// metadata returns the part of the node's metadata that the ticket has.
func (t Ticket) metadata() map[string]string {
	if t.Lane == 0 || !t.Ephemeral.IsZero() {
		return nil
	}
	return map[string]string{p2p.KeyLane: strconv.Itoa(int(t.Lane))}
}

// Text returns the ticket's text, to be shown to the inviting user and to
// nobody else; "" for a ticket that was assembled by hand and is not valid.
func (t Ticket) Text() string {
	b, err := t.AppendBinary(nil)
	if err != nil {
		return ""
	}
	return prefix + encoding.EncodeToString(b)
}

// String returns a placeholder that names the inviting node.
func (t Ticket) String() string { return "a ticket of " + t.Node.String() }

// Format prints the placeholder under every verb.
func (t Ticket) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }

// LogValue returns the node and the expiry, without the secret.
func (t Ticket) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("node", t.Node), slog.Time("expiry", t.Expiry))
}

// MarshalText fails with [identity.ErrSecret].
func (t Ticket) MarshalText() ([]byte, error) { return nil, identity.ErrSecret }
