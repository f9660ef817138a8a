package directory

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/relay"
)

const (
	// MaxLife is the maximum time for which a list is valid.
	MaxLife = 24 * time.Hour
	// Tolerance is how far the signer's clock may be ahead of a node's.
	Tolerance = 5 * time.Minute
	// MaxZone is the maximum length of a zone's name in bytes.
	MaxZone = 32
	// MaxSize is the maximum length of a list in bytes: that of one with
	// [relay.MaxServers] relays, each with [relay.MaxAddrs] IPv6 addresses.
	MaxSize = headSize + relay.MaxServers*(identity.Size+1+MaxZone+1+relay.MaxAddrs*(1+16+2)) + ed25519.SignatureSize

	version  = 1
	headSize = 1 + identity.Size + 8 + 4 + 4 + 2
	domain   = "sdp2p-relay-list-v1\x00"
)

// Reasons why a list is refused.
var (
	// ErrMalformed is wrapped by errors about bytes that are not a list, and
	// about a list that cannot be signed.
	ErrMalformed = errors.New("relay list: malformed")
	// ErrSigner reports a list by another signer.
	ErrSigner = errors.New("relay list: signed by another key")
	// ErrSignature reports a list that was altered or truncated.
	ErrSignature = errors.New("relay list: the signature does not match")
	// ErrExpired reports a list that has expired.
	ErrExpired = errors.New("relay list: expired")
	// ErrOlder reports a list with a lower number than the one in use, or
	// another list with the same number.
	ErrOlder = errors.New("relay list: older than the one in use")
)

// A List is a list of relays that an operator has signed.
//
//	size  field, little-endian
//	1     version, 1
//	32    Signer
//	8     Number
//	4     Issued, in minutes since 1970
//	4     Expiry, in minutes since 1970; at most 1,440 later
//	2     number of relays, at most 1,024; and for each:
//	  32  key
//	  1   length of the zone's name, at most 32; the name, UTF-8
//	  1   number of addresses, 1 to 8; and for each:
//	    1 4 or 6; the IP address, 4 or 16 bytes
//	    2 UDP port
//	64    Ed25519 signature by Signer of "sdp2p-relay-list-v1", a zero byte, and
//	      all before
type List struct {
	// Number is at least 1 and increases with each list of an operator,
	// whichever of its keys signs.
	Number uint64
	// Issued and Expiry are in whole minutes, at most [MaxLife] apart.
	Issued, Expiry time.Time
	// Servers are the relays, in the order in which nodes try them while they
	// know nothing about them: see [relay.Client.Set].
	Servers []relay.Server
	// Signer is the key that signed the list. It must sign nothing else, and
	// not be a node's.
	Signer identity.RemoteIdentity
}

// Sign returns the list's bytes, signed by key; l.Signer is ignored. It fails
// with [ErrMalformed] if the list has no number, a life that is not positive or
// above [MaxLife], or relays that [relay.Check] refuses.
func (l List) Sign(key identity.Identity) ([]byte, error) {
	if key.IsZero() {
		return nil, fmt.Errorf("%w: no key", ErrMalformed)
	}
	l.Signer = key.Remote()
	l.Issued, l.Expiry = fromMinutes(minutes(l.Issued)), fromMinutes(minutes(l.Expiry))
	if err := l.check(); err != nil {
		return nil, err
	}
	b := l.append([]byte(domain))
	return append(b[len(domain):], ed25519.Sign(key.PrivateKey(), b)...), nil
}

func minutes(t time.Time) uint32 { return uint32(min(max(t.Unix()/60, 0), math.MaxUint32)) }

func fromMinutes(m uint32) time.Time { return time.Unix(int64(m)*60, 0) }

// check checks everything about a list except the signature and the time.
func (l List) check() error {
	if l.Number == 0 {
		return fmt.Errorf("%w: no number", ErrMalformed)
	}
	if life := l.Expiry.Sub(l.Issued); life <= 0 || life > MaxLife {
		return fmt.Errorf("%w: a life of %v, of at most %v", ErrMalformed, life, MaxLife)
	}
	for _, s := range l.Servers {
		if _, err := proto.AppendStringMax(nil, s.Zone, MaxZone); err != nil {
			return fmt.Errorf("%w: the zone of %v: %w", ErrMalformed, s.Identity, err)
		}
		if slices.ContainsFunc(s.Addrs, func(a netip.AddrPort) bool { return a.Addr().Is4In6() || a.Addr().Zone() != "" }) {
			return fmt.Errorf("%w: %v has an address with a zone, or an IPv4 address as IPv6", ErrMalformed, s.Identity)
		}
	}
	if err := relay.Check(l.Servers); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// append appends the signed part of a list that was checked.
func (l List) append(b []byte) []byte {
	signer := l.Signer.Bytes()
	b = append(append(b, version), signer[:]...)
	b = proto.AppendUint64(b, l.Number)
	b = proto.AppendUint32(proto.AppendUint32(b, minutes(l.Issued)), minutes(l.Expiry))
	b = proto.AppendUint16(b, uint16(len(l.Servers)))
	for _, s := range l.Servers {
		key := s.Identity.Bytes()
		b = append(append(b, key[:]...), byte(len(s.Zone)))
		b = append(append(b, s.Zone...), byte(len(s.Addrs)))
		for _, a := range s.Addrs {
			family := byte(6)
			if a.Addr().Is4() {
				family = 4
			}
			b = append(append(b, family), a.Addr().AsSlice()...)
			b = proto.AppendUint16(b, a.Port())
		}
	}
	return b
}

// Open reads a list's bytes, if one of signers has signed them. It does not
// check the time: see [List.Fresh].
func Open(b []byte, signers ...identity.RemoteIdentity) (List, error) {
	l, err := parse(b)
	if err != nil {
		return List{}, err
	}
	if !slices.Contains(signers, l.Signer) {
		return List{}, fmt.Errorf("%w: %v", ErrSigner, l.Signer)
	}
	signed, signature := b[:len(b)-ed25519.SignatureSize], b[len(b)-ed25519.SignatureSize:]
	key := l.Signer.Bytes()
	if !ed25519.Verify(key[:], append([]byte(domain), signed...), signature) {
		return List{}, fmt.Errorf("%w: %d bytes that are said to be of %v", ErrSignature, len(b), l.Signer)
	}
	if err := readServers(bytes.NewReader(signed[headSize:]), l.Servers); err != nil {
		return List{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := l.check(); err != nil {
		return List{}, err
	}
	return l, nil
}

// parse reads the head of a list, with as many empty Servers as it has. The
// rest is not read before the signature is verified.
func parse(b []byte) (l List, err error) {
	switch {
	case len(b) > MaxSize:
		return l, fmt.Errorf("%w: more than %d bytes", ErrMalformed, MaxSize)
	case len(b) < headSize+ed25519.SignatureSize:
		return l, fmt.Errorf("%w: %d bytes are too few", ErrMalformed, len(b))
	case b[0] != version:
		return l, fmt.Errorf("%w: version %d", ErrMalformed, b[0])
	}
	if l.Signer, err = identity.FromBytes(b[1 : 1+identity.Size]); err != nil {
		return l, fmt.Errorf("%w: the signer: %w", ErrMalformed, err)
	}
	d := proto.NewDecoder(bytes.NewReader(b[1+identity.Size : headSize]))
	l.Number = d.Uint64()
	l.Issued, l.Expiry = fromMinutes(d.Uint32()), fromMinutes(d.Uint32())
	n := d.Count16(relay.MaxServers)
	if err := d.Err(); err != nil {
		return l, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	l.Servers = make([]relay.Server, n)
	return l, nil
}

// readServers reads the relays, the last part of r.
func readServers(r *bytes.Reader, all []relay.Server) error {
	d := proto.NewDecoder(r)
	for i := range all {
		var key [identity.Size]byte
		d.Fixed(key[:])
		zone := make([]byte, d.Count8(MaxZone))
		d.Fixed(zone)
		all[i].Zone = string(zone)
		for range d.Count8(relay.MaxAddrs) {
			all[i].Addrs = append(all[i].Addrs, readAddr(d))
		}
		if err := d.Err(); err != nil {
			return err
		}
		var err error
		if all[i].Identity, err = identity.FromBytes(key[:]); err != nil {
			return err
		}
	}
	if r.Len() > 0 {
		return fmt.Errorf("%d bytes behind the last relay", r.Len())
	}
	return nil
}

func readAddr(d *proto.Decoder) netip.AddrPort {
	var ip netip.Addr
	switch family := d.Uint8(); family {
	case 4:
		var b [4]byte
		d.Fixed(b[:])
		ip = netip.AddrFrom4(b)
	case 6:
		var b [16]byte
		d.Fixed(b[:])
		ip = netip.AddrFrom16(b)
	default:
		d.Fail(fmt.Errorf("an address of family %d", family))
	}
	return netip.AddrPortFrom(ip, d.Uint16())
}

// Fresh returns an error that wraps [ErrExpired] if the list has expired.
func (l List) Fresh(now time.Time) error {
	if !now.Before(l.Expiry.Add(Tolerance)) {
		return fmt.Errorf("%w at %v, and it is %v by this clock", ErrExpired, l.Expiry.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}
