package pairing

import (
	"bytes"
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
	"strings"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

// MaxAddrs is how many addresses a ticket has at most.
const MaxAddrs = 4

const (
	prefix        = "sdp2p1:"
	ticketVersion = 1
	secretSize    = 16
	sumSize       = 4
)

// ErrTicket is returned where a text is no ticket, or not the one that was given out: a character was changed or is missing.
var ErrTicket = errors.New("pairing: not a ticket, or one that was altered on its way; scan or copy it again")

// A Ticket lets who has it ask to join a library, once. It is a secret until it was used or has expired.
//
//	size  field
//	1     version, 1
//	32    Node: who has invited
//	16    secret
//	4     Expiry, in minutes since 1970
//	1     count of addresses, at most 4
//	      count times:
//	1     4 or 6
//	4|16  IP address
//	2     UDP port
//	4     the first bytes of SHA-256 of all before
//
// The text is "sdp2p1:" and this in base32 (RFC 4648 §6) without padding.
type Ticket struct {
	// Node is who has invited. Nobody else can accept the ticket.
	Node identity.RemoteIdentity
	// Addrs are where to look for it, first the likeliest. It may be found elsewhere by discovery.
	Addrs []netip.AddrPort
	// Expiry is when the ticket expires, up to a minute later than it does, by the inviting node's clock.
	Expiry time.Time

	secret [secretSize]byte
}

// newTicket makes a ticket with a random secret.
func newTicket(node identity.RemoteIdentity, addrs []netip.AddrPort, expiry time.Time) Ticket {
	t := Ticket{Node: node, Addrs: slices.Clone(addrs[:min(len(addrs), MaxAddrs)]), Expiry: expiry.Add(time.Minute - 1).Truncate(time.Minute)}
	rand.Read(t.secret[:])
	return t
}

// psk is what the two ends of the tunnel know besides their keys.
func (t Ticket) psk() [32]byte {
	node := t.Node.Bytes()
	key, err := hkdf.Key(sha256.New, t.secret[:], nil, string(purpose[:])+string(node[:]), 32)
	if err != nil {
		panic(err) // only for lengths that cannot be had
	}
	return [32]byte(key)
}

// AppendBinary appends what the text encodes. It fails for a ticket that was put together by hand.
func (t Ticket) AppendBinary(b []byte) ([]byte, error) {
	start := len(b)
	minutes := t.Expiry.Unix() / 60
	if t.Node.IsZero() || len(t.Addrs) > MaxAddrs || minutes < 0 || minutes > math.MaxUint32 {
		return nil, ErrTicket
	}
	node := t.Node.Bytes()
	b = append(append(append(b, ticketVersion), node[:]...), t.secret[:]...)
	b = proto.AppendUint32(b, uint32(minutes))
	b = append(b, byte(len(t.Addrs)))
	for _, a := range t.Addrs {
		switch ip := a.Addr(); {
		case ip.Is4():
			b = append(b, 4)
		case ip.Is6() && !ip.Is4In6() && ip.Zone() == "":
			b = append(b, 6)
		default:
			return nil, ErrTicket
		}
		b = append(b, a.Addr().AsSlice()...)
		b = proto.AppendUint16(b, a.Port())
	}
	sum := sha256.Sum256(b[start:])
	return append(b, sum[:sumSize]...), nil
}

// ParseTicket reads a ticket's text. Space around it, line breaks in it, and upper or lower case do not matter. It fails with
// [ErrTicket].
func ParseTicket(text string) (Ticket, error) {
	text = strings.ToUpper(strings.Join(strings.Fields(text), ""))
	text, ok := strings.CutPrefix(text, strings.ToUpper(prefix))
	if !ok || len(text) > 256 {
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
	if v := d.Uint8(); d.Err() == nil && v != ticketVersion {
		return t, fmt.Errorf("version %d", v)
	}
	var node [identity.Size]byte
	d.Fixed(node[:])
	d.Fixed(t.secret[:])
	t.Expiry = time.Unix(int64(d.Uint32())*60, 0)
	for range d.Count8(MaxAddrs) {
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
		t.Addrs = append(t.Addrs, netip.AddrPortFrom(ip, d.Uint16()))
	}
	if d.Err() != nil {
		return Ticket{}, d.Err()
	}
	if r.Len() > 0 {
		return Ticket{}, fmt.Errorf("%d bytes too many", r.Len())
	}
	if t.Node, err = identity.FromBytes(node[:]); err != nil {
		return Ticket{}, err
	}
	return t, nil
}

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// String returns the ticket's text, which is to be shown to the user who invites, and to nobody else; "" for one that
// was put together by hand.
func (t Ticket) String() string {
	b, err := t.AppendBinary(nil)
	if err != nil {
		return ""
	}
	return prefix + encoding.EncodeToString(b)
}

// LogValue returns what of a ticket may stand in a log.
func (t Ticket) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("node", t.Node), slog.Time("expiry", t.Expiry))
}
