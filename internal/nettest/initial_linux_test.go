package nettest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv6"
)

// An opening is a client's first flight, which can be sent again and again as
// that of other connections: such handshakes cost the attacker next to nothing
// (RFC 9001 §5).
type opening struct {
	scid   []byte
	frames []byte
}

const (
	initialSize = 1200
	numberSize  = 4 // size of packet numbers
	idSize      = 8 // size of the made-up destination connection IDs
	tagSize     = 16
)

// initialSalt is the salt of RFC 9001 §5.2.
var initialSalt = []byte{
	0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a,
}

// packetKeys are the keys that protect the packets of one direction, with
// AES-128-GCM.
type packetKeys struct {
	aead cipher.AEAD
	iv   []byte
	mask cipher.Block
}

func expandLabel(secret []byte, label string, size int) ([]byte, error) {
	info := binary.BigEndian.AppendUint16(nil, uint16(size))
	info = append(append(info, byte(len("tls13 "+label))), "tls13 "+label...)
	return hkdf.Expand(sha256.New, secret, string(append(info, 0)), size)
}

func newInitialKeys(dcid []byte) (packetKeys, error) { return initialKeys(dcid, "client in") }

// newServerKeys returns the keys of the answers to a client's first packet to
// dcid.
func newServerKeys(dcid []byte) (packetKeys, error) { return initialKeys(dcid, "server in") }

func initialKeys(dcid []byte, label string) (k packetKeys, err error) {
	initial, err := hkdf.Extract(sha256.New, dcid, initialSalt)
	if err != nil {
		return k, err
	}
	secret, err := expandLabel(initial, label, sha256.Size)
	if err != nil {
		return k, err
	}
	return newPacketKeys(secret)
}

func newPacketKeys(secret []byte) (k packetKeys, err error) {
	key, err := expandLabel(secret, "quic key", 16)
	if err != nil {
		return k, err
	}
	hp, err := expandLabel(secret, "quic hp", 16)
	if err != nil {
		return k, err
	}
	if k.iv, err = expandLabel(secret, "quic iv", 12); err != nil {
		return k, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return k, err
	}
	if k.aead, err = cipher.NewGCM(block); err != nil {
		return k, err
	}
	k.mask, err = aes.NewCipher(hp)
	return k, err
}

func (k packetKeys) nonce(number uint32) []byte {
	n := append([]byte(nil), k.iv...)
	tail := n[len(n)-4:]
	binary.BigEndian.PutUint32(tail, binary.BigEndian.Uint32(tail)^number)
	return n
}

// protect masks or unmasks a header's first byte and packet number at the given
// offset (RFC 9001 §5.4). size is the size of the number.
func (k packetKeys) protect(packet []byte, at int, unmask bool) (size int) {
	mask := make([]byte, aes.BlockSize)
	k.mask.Encrypt(mask, packet[at+4:at+4+aes.BlockSize])
	size = int(packet[0]&3) + 1
	if packet[0]&0x80 != 0 { // a long header
		packet[0] ^= mask[0] & 0x0f
	} else {
		packet[0] ^= mask[0] & 0x1f
	}
	if unmask {
		size = int(packet[0]&3) + 1
	}
	for i := range size {
		packet[at+i] ^= mask[1+i]
	}
	return size
}

// packet returns the flight as the first packet to dcid, with a token if it
// answers a Retry.
func (o *opening) packet(dcid, token []byte) ([]byte, error) {
	k, err := newInitialKeys(dcid)
	if err != nil {
		return nil, err
	}
	b := append([]byte{0xc0 | numberSize - 1, 0, 0, 0, 1, byte(len(dcid))}, dcid...)
	b = append(append(b, byte(len(o.scid))), o.scid...)
	b = binary.BigEndian.AppendUint16(b, 0x4000|uint16(len(token)))
	b = append(b, token...)
	at := len(b) + 2
	rest := max(initialSize-at, numberSize+len(o.frames)+tagSize)
	b = binary.BigEndian.AppendUint16(b, 0x4000|uint16(rest))
	b = append(b, 0, 0, 0, 0)
	plain := make([]byte, rest-numberSize-tagSize) // includes PADDING frames
	copy(plain, o.frames)
	b = k.aead.Seal(b, k.nonce(0), plain, b)
	k.protect(b, at, false)
	return b, nil
}

// A recorder keeps the first packet that is written to it.
type recorder struct {
	net.PacketConn
	first chan []byte
}

func (r recorder) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case r.first <- append([]byte(nil), b...):
	default:
	}
	return len(b), nil
}

// newOpening records the first flight of a handshake with any server.
func newOpening(t testing.TB, s *stranger) *opening {
	t.Helper()
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer u.Close()
	r := recorder{u, make(chan []byte, 1)}
	tr := &quic.Transport{Conn: r}
	defer tr.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	go tr.Dial(ctx, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}, s.config(), quicConfig())
	o, err := parseOpening(<-r.first)
	require.NoError(t, err)
	return o
}

var errPacket = errors.New("not a packet of that kind")

// connectionIDs returns the IDs of a long header, and the bytes after them.
func connectionIDs(b []byte) (dcid, scid, rest []byte, err error) {
	take := func() (id []byte) {
		if len(b) == 0 || len(b) <= int(b[0]) {
			err = errPacket
			return nil
		}
		id, b = b[1:1+b[0]], b[1+b[0]:]
		return id
	}
	if len(b) < 6 || b[0]&0x80 == 0 {
		return nil, nil, nil, errPacket
	}
	b = b[5:]
	dcid = take()
	scid = take()
	return dcid, scid, b, err
}

// parseOpening parses a client's first packet. Its token must be empty.
func parseOpening(b []byte) (*opening, error) {
	dcid, scid, rest, err := connectionIDs(b)
	if err != nil || len(rest) < 30 || rest[0] != 0 {
		return nil, errPacket
	}
	at := len(b) - len(rest) + 3 // the length field takes two bytes
	end := at + int(binary.BigEndian.Uint16(rest[1:])&0x3fff)
	k, err := newInitialKeys(dcid)
	if err != nil || end > len(b) {
		return nil, errPacket
	}
	size := k.protect(b, at, true)
	number := uint32(0)
	for _, d := range b[at : at+size] {
		number = number<<8 | uint32(d)
	}
	frames, err := k.aead.Open(nil, k.nonce(number), b[at+size:end], b[:at+size])
	for len(frames) > 0 && frames[len(frames)-1] == 0 { // PADDING
		frames = frames[:len(frames)-1]
	}
	return &opening{append([]byte(nil), scid...), frames}, err
}

// retried returns the packet that answers a Retry (RFC 9000 §17.2.5).
func (o *opening) retried(b []byte) ([]byte, error) {
	_, scid, rest, err := connectionIDs(b)
	if err != nil || b[0]&0xf0 != 0xf0 || len(rest) < tagSize {
		return nil, errPacket
	}
	return o.packet(scid, rest[:len(rest)-tagSize])
}

// fresh returns a first packet of a new connection.
func (o *opening) fresh() ([]byte, error) {
	dcid := make([]byte, idSize)
	_, _ = rand.Read(dcid)
	return o.packet(dcid, nil)
}

// half begins handshakes from 64 ports, as fast as the line allows, answers
// each Retry, and sends nothing more.
func half(ctx context.Context, a *attacker) {
	o := newOpening(a.t, a.ids[0])
	to := net.UDPAddrFromAddrPort(a.cfg.Target)
	var all sync.WaitGroup
	for range 64 {
		u, err := net.ListenUDP("udp4", nil)
		require.NoError(a.t, err)
		all.Go(func() {
			defer u.Close()
			for ctx.Err() == nil {
				b, err := o.fresh()
				require.NoError(a.t, err)
				a.line.wait(len(b) + headers)
				_, _ = u.WriteTo(b, to)
				a.handshakes.Add(1)
			}
		})
		all.Go(func() {
			for b := make([]byte, 2000); ; {
				n, err := u.Read(b)
				if err != nil {
					return
				}
				if again, err := o.retried(b[:n]); err == nil {
					a.line.wait(len(again) + headers)
					_, _ = u.WriteTo(again, to)
					a.retries.Add(1)
				}
			}
		})
	}
	all.Wait()
}

// prefixes is like half, but from 1,000 networks: /64s of a /48.
func prefixes(ctx context.Context, a *attacker) {
	const networks = 1000
	o := newOpening(a.t, a.ids[0])
	u, err := net.ListenUDP("udp6", nil)
	require.NoError(a.t, err)
	p := ipv6.NewPacketConn(u)
	require.NoError(a.t, p.SetControlMessage(ipv6.FlagDst, true))
	to := net.UDPAddrFromAddrPort(a.cfg.Target)
	send := func(from net.IP, b []byte) {
		a.line.wait(len(b) + headers + 20)
		if _, err := p.WriteTo(b, &ipv6.ControlMessage{Src: from}, to); err != nil {
			a.failed.Add(1)
			a.fail(err)
		}
	}
	var all sync.WaitGroup
	all.Go(func() {
		defer u.Close()
		for i := 0; ctx.Err() == nil; i++ {
			from := a.cfg.Prefix.Addr().As16()
			binary.BigEndian.PutUint16(from[6:], uint16(i%networks))
			from[15] = 1
			b, err := o.fresh()
			require.NoError(a.t, err)
			send(netip.AddrFrom16(from).AsSlice(), b)
			a.handshakes.Add(1)
		}
	})
	all.Go(func() {
		for b := make([]byte, 2000); ; {
			n, about, _, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			if again, err := o.retried(b[:n]); err == nil && about != nil {
				send(about.Dst, again)
				a.retries.Add(1)
			}
		}
	})
	all.Wait()
}
