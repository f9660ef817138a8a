package circuit

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// ProbeSize is the size of a probe in bytes.
const ProbeSize = 64

// A Role is a node's part in the search for a direct path.
type Role uint8

// The roles.
const (
	Caller Role = iota // the QUIC client
	Callee
)

const (
	probePing = 1
	probePong = 2

	probeID     = 1  // 8 bytes
	probeTx     = 9  // 8 bytes
	probeAddr   = 17 // 16 bytes and a port
	probeRandom = 35 // 13 bytes
	probeMAC    = 48 // 16 bytes
)

// A ProbeID distinguishes the probes of one search from others.
type ProbeID [8]byte

// A Probe is the contents of a probe.
type Probe struct {
	// Pong reports whether it answers another probe.
	Pong bool
	// Transaction is the number of the ping; a pong repeats that of its ping.
	Transaction uint64
	// Addr is, in a pong, the source address of the ping as its receiver saw
	// it.
	Addr netip.AddrPort
}

// A Prober makes and checks the probes of one search. It may be used
// concurrently.
type Prober struct {
	id   ProbeID
	own  [2][]byte // keys of pings and pongs
	peer [2][]byte
}

// NewProber returns the Prober of a node.
func NewProber(token PunchToken, role Role) *Prober {
	secret := token.Get()
	key := func(info string, size int) []byte {
		k, err := hkdf.Key(sha256.New, secret[:], nil, info, size)
		if err != nil {
			panic(err) // only for lengths out of range
		}
		return k
	}
	keys := func(r Role) [2][]byte {
		return [2][]byte{key("ping"+string([]byte{byte(r)}), 32), key("pong"+string([]byte{byte(r)}), 32)}
	}
	return &Prober{id: ProbeID(key("id", 8)), own: keys(role), peer: keys(1 - role)}
}

// ID returns the ID of the search's probes.
func (p *Prober) ID() ProbeID { return p.id }

// ProbeIDOf returns the ID of a packet that has the form of a probe.
func ProbeIDOf(b []byte) (ProbeID, bool) {
	if len(b) != ProbeSize || b[0] != probePing && b[0] != probePong {
		return ProbeID{}, false
	}
	return ProbeID(b[probeID:]), true
}

// Ping returns a ping.
func (p *Prober) Ping(transaction uint64) []byte {
	return p.make(Probe{Transaction: transaction}, random())
}

// Pong returns the answer to a ping that came from an address.
func (p *Prober) Pong(ping Probe, from netip.AddrPort) []byte {
	return p.make(Probe{Pong: true, Transaction: ping.Transaction, Addr: from}, random())
}

func random() (r [probeMAC - probeRandom]byte) {
	rand.Read(r[:])
	return r
}

func (p *Prober) make(m Probe, random [probeMAC - probeRandom]byte) []byte {
	b := make([]byte, ProbeSize)
	kind := 0
	b[0] = probePing
	if m.Pong {
		kind, b[0] = 1, probePong
	}
	copy(b[probeID:], p.id[:])
	binary.LittleEndian.PutUint64(b[probeTx:], m.Transaction)
	if m.Addr.IsValid() {
		ip := m.Addr.Addr().As16()
		copy(b[probeAddr:], ip[:])
		binary.LittleEndian.PutUint16(b[probeAddr+16:], m.Addr.Port())
	}
	copy(b[probeRandom:], random[:])
	copy(b[probeMAC:], mac(p.own[kind], b[:probeMAC]))
	return b
}

// Parse returns the contents of a probe. It returns false if the bytes are not
// a probe of this search from the peer, or were altered.
func (p *Prober) Parse(b []byte) (m Probe, ok bool) {
	id, ok := ProbeIDOf(b)
	if !ok || id != p.id {
		return Probe{}, false
	}
	m.Pong = b[0] == probePong
	kind := 0
	if m.Pong {
		kind = 1
	}
	if !hmac.Equal(mac(p.peer[kind], b[:probeMAC]), b[probeMAC:]) {
		return Probe{}, false
	}
	m.Transaction = binary.LittleEndian.Uint64(b[probeTx:])
	if m.Pong {
		ip := netip.AddrFrom16([16]byte(b[probeAddr:])).Unmap()
		m.Addr = netip.AddrPortFrom(ip, binary.LittleEndian.Uint16(b[probeAddr+16:]))
	}
	return m, true
}

func mac(key, b []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return h.Sum(nil)[:ProbeSize-probeMAC]
}
