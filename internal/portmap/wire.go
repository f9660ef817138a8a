package portmap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Port is the UDP port at which gateways are asked.
const Port = 5351

// A Protocol is a protocol for asking a gateway.
type Protocol uint8

// The protocols.
const (
	PCP    Protocol = 1 // RFC 6887
	NATPMP Protocol = 2 // RFC 6886
)

// String returns the name of the protocol.
func (p Protocol) String() string {
	if p == PCP {
		return "PCP"
	}
	return "NAT-PMP"
}

// A Refusal is the answer of a gateway that does not map the port.
type Refusal struct {
	Protocol Protocol
	Code     uint16        // RFC 6887 §7.4, RFC 6886 §3.5
	Lasts    time.Duration // from PCP; 0 if unknown
}

// Error describes the code.
func (r Refusal) Error() string {
	names := [...]string{
		"success", "unsupported version", "not authorized", "malformed request", "unsupported operation", "unsupported option",
		"malformed option", "network failure", "no resources", "unsupported protocol", "quota exceeded", "cannot provide external address",
		"address mismatch", "too many remote peers",
	}
	if r.Protocol == NATPMP {
		names = [...]string{0: "success", 1: "unsupported version", 2: "not authorized", 3: "network failure", 4: "out of resources", 5: "unsupported operation", 13: ""}
	}
	name := fmt.Sprintf("code %d", r.Code)
	if int(r.Code) < len(names) && names[r.Code] != "" {
		name = names[r.Code]
	}
	return fmt.Sprintf("portmap: the gateway refuses by %v: %s", r.Protocol, name)
}

var (
	errVersion  = errors.New("portmap: the gateway does not speak this protocol")
	errNoAnswer = errors.New("portmap: none") // for a datagram that is not the answer
)

// A nonce identifies the owner of a mapping (RFC 6887 §11.1).
type nonce [12]byte

// A request holds the parameters of a mapping. They are the same for its
// release.
type request struct {
	nonce    nonce
	client   netip.Addr // of this node; IPv4
	port     uint16     // of this node
	external netip.AddrPort
	lifetime time.Duration // 0: release
}

// An answer is a successful answer.
type answer struct {
	epoch    uint32 // seconds
	addr     netip.Addr
	port     uint16
	lifetime time.Duration
}

const (
	pcpVersion   = 2
	opMap        = 1 // of both protocols, in NAT-PMP for UDP
	opAddress    = 0 // of NAT-PMP
	isAnswer     = 0x80
	unsupported  = 1 // version; of both protocols
	protocolUDP  = 17
	pcpHead      = 24
	pcpSize      = 60
	pcpMost      = 1100 // RFC 6887 §7
	pmpAddressed = 12
	pmpMapped    = 16
	pmpRefused   = 8
	longest      = 24 * time.Hour // lifetime that is believed (RFC 6887 §15)
)

// appendPCP appends a request of opcode MAP (RFC 6887 §7.1, §11.1).
func (r request) appendPCP(b []byte) []byte {
	b = append(b, pcpVersion, opMap, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(r.lifetime/time.Second))
	client := r.client.As16() // as IPv4-mapped
	b = append(b, client[:]...)
	b = append(b, r.nonce[:]...)
	b = append(b, protocolUDP, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, r.port)
	suggested := r.external
	if !suggested.IsValid() || r.lifetime == 0 {
		suggested = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	b = binary.BigEndian.AppendUint16(b, suggested.Port())
	external := suggested.Addr().As16()
	return append(b, external[:]...)
}

// readPCP parses the answer to appendPCP (RFC 6887 §7.2, §11.1). It fails with
// errNoAnswer if b is not the answer, and with a Refusal or errVersion.
func (r request) readPCP(b []byte) (answer, error) {
	if len(b) >= 4 && b[0] != pcpVersion && b[1]&isAnswer != 0 && binary.BigEndian.Uint16(b[2:])&0xff == unsupported {
		return answer{}, errVersion // another version with another layout
	}
	if len(b) < pcpHead || len(b) > pcpMost || len(b)%4 != 0 || b[0] != pcpVersion || b[1] != isAnswer|opMap {
		return answer{}, errNoAnswer
	}
	lifetime := seconds(binary.BigEndian.Uint32(b[4:]))
	if code := b[3]; code == unsupported {
		return answer{}, errVersion
	} else if code != 0 {
		if len(b) >= pcpSize && nonce(b[24:36]) != r.nonce {
			return answer{}, errNoAnswer
		}
		return answer{}, Refusal{PCP, uint16(code), lifetime}
	}
	if len(b) < pcpSize || nonce(b[24:36]) != r.nonce || b[36] != protocolUDP || binary.BigEndian.Uint16(b[40:]) != r.port {
		return answer{}, errNoAnswer
	}
	a := answer{epoch: binary.BigEndian.Uint32(b[8:]), lifetime: lifetime}
	a.port = binary.BigEndian.Uint16(b[42:])
	a.addr = netip.AddrFrom16([16]byte(b[44:60])).Unmap()
	return a, nil
}

// appendPMP appends a request for a mapping (RFC 6886 §3.3).
func (r request) appendPMP(b []byte) []byte {
	b = append(b, 0, opMap, 0, 0)
	b = binary.BigEndian.AppendUint16(b, r.port)
	suggested := r.external.Port()
	if r.lifetime == 0 {
		suggested = 0
	}
	b = binary.BigEndian.AppendUint16(b, suggested)
	return binary.BigEndian.AppendUint32(b, uint32(r.lifetime/time.Second))
}

// appendAddress appends a request for the external address (RFC 6886 §3.2).
func appendAddress(b []byte) []byte { return append(b, 0, opAddress) }

// readPMP parses the answer to appendPMP, which contains no address.
func (r request) readPMP(b []byte) (a answer, err error) {
	if b, err = readPMP(b, opMap, pmpMapped); err != nil {
		return answer{}, err
	}
	if binary.BigEndian.Uint16(b[8:]) != r.port {
		return answer{}, errNoAnswer
	}
	a.epoch = binary.BigEndian.Uint32(b[4:])
	a.port = binary.BigEndian.Uint16(b[10:])
	a.lifetime = seconds(binary.BigEndian.Uint32(b[12:]))
	return a, nil
}

// readAddress parses the answer to appendAddress, which contains only an
// address.
func readAddress(b []byte) (a answer, err error) {
	if b, err = readPMP(b, opAddress, pmpAddressed); err != nil {
		return answer{}, err
	}
	a.epoch = binary.BigEndian.Uint32(b[4:])
	a.addr = netip.AddrFrom4([4]byte(b[8:12]))
	return a, nil
}

// readPMP returns the successful answer to an operation, which must have a
// size.
func readPMP(b []byte, op byte, size int) ([]byte, error) {
	if len(b) < 4 {
		return nil, errNoAnswer
	}
	code := binary.BigEndian.Uint16(b[2:])
	switch {
	case b[1]&isAnswer == 0:
		return nil, errNoAnswer
	case b[0] != 0 && code&0xff == unsupported:
		return nil, errVersion // of PCP
	case b[0] != 0, b[1] != isAnswer|op, len(b) < pmpRefused, code == unsupported: // the latter answers an earlier PCP request
		return nil, errNoAnswer
	case code != 0:
		return nil, Refusal{Protocol: NATPMP, Code: code}
	case len(b) != size:
		return nil, errNoAnswer
	}
	return b, nil
}

func seconds(n uint32) time.Duration { return min(time.Duration(n)*time.Second, longest) }

// An epoch is a reading of a gateway's clock (RFC 6887 §8.5).
type epoch struct {
	server uint32
	at     time.Time // zero if there was none
}

// restarted records the present reading of the clock, and reports whether the
// gateway has lost its state since the last one.
func (e *epoch) restarted(server uint32, now time.Time) bool {
	before := *e
	e.server, e.at = server, now
	if before.at.IsZero() {
		return false
	}
	passed, shown := int64(now.Sub(before.at)/time.Second), int64(server)-int64(before.server)
	return shown < -1 || passed+2 < shown-shown/16 || shown+2 < passed-passed/16
}
