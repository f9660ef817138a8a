package circuit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/relay/token"
)

const (
	// MaxTokens is the most tokens that a client shows.
	MaxTokens = 4
	// Unlimited is the number of bytes left of an account without a quota.
	Unlimited = math.MaxUint64
	// MaxCallers is the most prefixes that a client names.
	MaxCallers = math.MaxUint8
	// MaxLeave is the most other relays that a relay names when it leaves.
	MaxLeave = math.MaxUint8
)

// The types of the messages that follow the hello and its answer.
const (
	typePing     = 1
	typePong     = 2
	typeObserved = 3
	typeQuota    = 4
	typeLeave    = 5
	typeCallers  = 6
)

// AppendHello appends a client's first message: its tokens, at most [MaxTokens]
// of them.
func AppendHello(b []byte, tokens []token.Token) ([]byte, error) {
	if len(tokens) > MaxTokens {
		return b, fmt.Errorf("circuit: %d tokens", len(tokens))
	}
	b = proto.AppendUint16(b, uint16(len(tokens)*token.Size))
	for _, t := range tokens {
		var err error
		if b, err = t.AppendBinary(b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// ReadHello reads a client's first message. It does not check the tokens.
func ReadHello(r io.Reader) (tokens [][token.Size]byte, err error) {
	d := proto.NewDecoder(r)
	n := int(d.Uint16())
	if d.Err() == nil && (n%token.Size != 0 || n > MaxTokens*token.Size) {
		return nil, fmt.Errorf("%w: tokens of %d bytes", ErrMalformed, n)
	}
	tokens = make([][token.Size]byte, n/token.Size)
	for i := range tokens {
		d.Fixed(tokens[i][:])
	}
	if err := decoded(d); err != nil {
		return nil, err
	}
	return tokens, nil
}

// decoded returns the error of a decoder.
func decoded(d *proto.Decoder) error {
	err := d.Err()
	if errors.Is(err, proto.ErrInvalid) {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return err
}

// An Answer is a relay's answer to a hello.
type Answer struct {
	Status token.Status
	// Observed is the client's address, as the relay sees it.
	Observed netip.AddrPort
	// Left is the number of bytes that the account has left in the period.
	Left uint64
	// Again is the time after which a token must be shown again, in whole
	// seconds.
	Again time.Duration
}

// Append appends the answer.
func (a Answer) Append(b []byte) []byte {
	b = appendAddr(append(b, byte(a.Status)), a.Observed)
	b = proto.AppendUint64(b, a.Left)
	return proto.AppendUint32(b, seconds(a.Again))
}

// ReadAnswer reads an answer.
func ReadAnswer(r io.Reader) (Answer, error) {
	d := proto.NewDecoder(r)
	a := Answer{Status: token.Status(d.Uint8()), Observed: decodeAddr(d), Left: d.Uint64()}
	a.Again = time.Duration(d.Uint32()) * time.Second
	if err := decoded(d); err != nil {
		return Answer{}, err
	}
	return a, nil
}

// seconds returns d in whole seconds, clamped to the range of the field.
func seconds(d time.Duration) uint32 {
	return uint32(min(max(d/time.Second, 0), math.MaxUint32))
}

func appendAddr(b []byte, a netip.AddrPort) []byte {
	ip := a.Addr().Unmap()
	if ip.Is4() {
		b = append(b, 4)
	} else {
		b = append(b, 6)
	}
	ip16 := ip.As16() // of the zero Addr: "::"
	if ip.Is4() {
		return proto.AppendUint16(append(b, ip16[12:]...), a.Port())
	}
	return proto.AppendUint16(append(b, ip16[:]...), a.Port())
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
			d.Fail(fmt.Errorf("%w: address %v", ErrMalformed, ip))
		}
	default:
		if d.Err() == nil {
			d.Fail(fmt.Errorf("%w: address family %d", ErrMalformed, family))
		}
	}
	return netip.AddrPortFrom(ip, d.Uint16())
}

// A Message is a message after the hello and its answer: a [Ping] or [Callers]
// of the client, or a [Pong], [Observed], [Quota] or [Leave] of the relay.
type Message interface {
	// Append appends the message.
	Append(b []byte) []byte
}

// A Ping asks for a [Pong] with the same number.
type Ping uint32

// A Pong answers a [Ping].
type Pong uint32

// Observed is the client's address, after a change.
type Observed netip.AddrPort

// Quota is the number of bytes that the account has left in the period.
type Quota uint64

// Leave announces that the relay ends after a time, in whole seconds. Instead
// are other relays, at most [MaxLeave] of them, which the client only prefers
// among those of its own list.
type Leave struct {
	After   time.Duration
	Instead []identity.RemoteIdentity
}

// A CallerRule is the kind of [Callers].
type CallerRule uint8

// The kinds of [Callers].
const (
	CallersAnyone  CallerRule = iota
	CallersAccount            // nodes of the same account; the default
	CallersListed             // these, and nodes whose keys begin with one of the prefixes
)

// A CallerPrefix is the beginning of a node's key.
type CallerPrefix [8]byte

// Callers says who may call the client through the relay.
type Callers struct {
	Rule CallerRule
	// Listed are the prefixes of [CallersListed], at most [MaxCallers] of them.
	Listed []CallerPrefix
}

// Allow reports whether a node, of the client's account or another, may call.
func (c Callers) Allow(node identity.RemoteIdentity, sameAccount bool) bool {
	switch c.Rule {
	case CallersAnyone:
		return true
	case CallersAccount:
		return sameAccount
	}
	if sameAccount {
		return true
	}
	key := node.Bytes()
	for _, p := range c.Listed {
		if bytes.HasPrefix(key[:], p[:]) {
			return true
		}
	}
	return false
}

// Append appends the message.
func (p Ping) Append(b []byte) []byte { return proto.AppendUint32(append(b, typePing), uint32(p)) }

// Append appends the message.
func (p Pong) Append(b []byte) []byte { return proto.AppendUint32(append(b, typePong), uint32(p)) }

// Append appends the message.
func (o Observed) Append(b []byte) []byte {
	return appendAddr(append(b, typeObserved), netip.AddrPort(o))
}

// Append appends the message.
func (q Quota) Append(b []byte) []byte { return proto.AppendUint64(append(b, typeQuota), uint64(q)) }

// Append appends the message, with the first [MaxLeave] relays.
func (l Leave) Append(b []byte) []byte {
	instead := l.Instead[:min(len(l.Instead), MaxLeave)]
	b = proto.AppendUint32(append(b, typeLeave), seconds(l.After))
	b = append(b, byte(len(instead)))
	for _, id := range instead {
		key := id.Bytes()
		b = append(b, key[:]...)
	}
	return b
}

// Append appends the message, with the first [MaxCallers] prefixes.
func (c Callers) Append(b []byte) []byte {
	b = append(b, typeCallers, byte(c.Rule))
	if c.Rule != CallersListed {
		return b
	}
	listed := c.Listed[:min(len(c.Listed), MaxCallers)]
	b = append(b, byte(len(listed)))
	for _, p := range listed {
		b = append(b, p[:]...)
	}
	return b
}

// ReadClient reads a message of a client: a [Ping] or [Callers].
func ReadClient(r io.Reader) (m Message, err error) {
	d := proto.NewDecoder(r)
	switch kind := d.Uint8(); {
	case d.Err() != nil:
	case kind == typePing:
		m = Ping(d.Uint32())
	case kind == typeCallers:
		m = decodeCallers(d)
	default:
		return nil, fmt.Errorf("%w: type %d", ErrMalformed, kind)
	}
	if err := decoded(d); err != nil {
		return nil, err
	}
	return m, nil
}

func decodeCallers(d *proto.Decoder) (c Callers) {
	c.Rule = CallerRule(d.Uint8())
	if c.Rule > CallersListed {
		d.Fail(fmt.Errorf("%w: callers %d", ErrMalformed, c.Rule))
	}
	if c.Rule != CallersListed {
		return c
	}
	for range d.Count8(MaxCallers) {
		var p CallerPrefix
		d.Fixed(p[:])
		c.Listed = append(c.Listed, p)
	}
	return c
}

// ReadRelay reads a message of a relay: a [Pong], [Observed], [Quota] or
// [Leave].
func ReadRelay(r io.Reader) (m Message, err error) {
	d := proto.NewDecoder(r)
	switch kind := d.Uint8(); {
	case d.Err() != nil:
	case kind == typePong:
		m = Pong(d.Uint32())
	case kind == typeObserved:
		m = Observed(decodeAddr(d))
	case kind == typeQuota:
		m = Quota(d.Uint64())
	case kind == typeLeave:
		m = decodeLeave(d)
	default:
		return nil, fmt.Errorf("%w: type %d", ErrMalformed, kind)
	}
	if err := decoded(d); err != nil {
		return nil, err
	}
	return m, nil
}

func decodeLeave(d *proto.Decoder) Leave {
	l := Leave{After: time.Duration(d.Uint32()) * time.Second}
	for range d.Count8(MaxLeave) {
		var key [identity.Size]byte
		d.Fixed(key[:])
		if d.Err() != nil {
			break
		}
		id, err := identity.FromBytes(key[:])
		if err != nil {
			d.Fail(fmt.Errorf("%w: %w", ErrMalformed, err))
		}
		l.Instead = append(l.Instead, id)
	}
	return l
}
