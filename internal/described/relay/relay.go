// Package relay describes the messages of packages relay/token and
// internal/circuit for protogen. Nothing but tests imports it, and
// docs/protocol.md has its layouts. The messages of the circuit relay are
// protobuf, and not described.
package relay

import (
	"errors"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
)

//go:generate go -C ../../../proto/protogen run . -dir ../../internal/described/relay
//go:generate go -C ../../../proto/protogen run . -dir ../../internal/described/relay -doc ../../docs/protocol.md

// Rights are the rights that a token grants.
type Rights uint8

// The rights.
const (
	Reserve Rights = 1 << iota
	Connect
)

// A Token is token.Token.
//
//proto:message validate=check sample=randomSigned
type Token struct {
	_         uint8 `proto:"const=1"` // version
	NodeKey   identity.RemoteIdentity
	Account   uuid.UUID
	RelayKey  identity.RemoteIdentity `proto:"zero"` // zeros: every relay that trusts the issuer
	Rights    Rights                  `proto:"bits"` // 1 to reserve, 2 to connect, 3 both
	NotBefore uint32                  // in minutes since 1970
	Expiry    uint32                  // in minutes since 1970; at most 1440 later
	Rate      uint64                  // in bytes per second; 0: the relay's default
	Quota     uint64                  // in bytes for a period; 0: the ledger's default
	Serial    uint32
	IssuerKey identity.RemoteIdentity
	Signature [64]byte // Ed25519, of "sdp2p-relay-token-v1", a zero byte, and all before
}

func (m *Token) check() error {
	if m.Rights == 0 || m.Expiry <= m.NotBefore || m.Expiry-m.NotBefore > 1440 || m.Signature == [64]byte{} {
		return errors.New("no rights, a life that cannot be, or no signature")
	}
	return nil
}

// A Hello shows tokens.
//
//proto:message validate=check sample=randomHello0
type Hello struct {
	Tokens []byte `proto:"len=u16,max=824"` // 206 for each
}

func (m *Hello) check() error {
	if len(m.Tokens)%206 != 0 {
		return errors.New("not whole tokens")
	}
	return nil
}

// An Answer is the relay's answer to a Hello.
//
//proto:message
type Answer struct {
	Status   uint8
	Observed AddrPort // the client's address
	Left     uint64   // bytes that the account has left
	Again    uint32   // seconds until a token must be shown again
}

// An AddrPort is an IP address and a port.
//
//proto:message
type AddrPort struct {
	Addr Addr
	Port uint16
}

// An Addr is an IP address.
//
//proto:union
//proto:case 4 IPv4
//proto:case 6 IPv6
type Addr interface{ isAddr() }

// An IPv4 is an IPv4 address.
//
//proto:message
type IPv4 struct{ IP [4]byte }

// An IPv6 is an IPv6 address, but not an IPv4-mapped one.
//
//proto:message validate=check
type IPv6 struct{ IP [16]byte }

func (m *IPv6) check() error {
	if [12]byte(m.IP[:12]) == [12]byte{10: 0xFF, 11: 0xFF} {
		return errors.New("an address of IPv4")
	}
	return nil
}

// A ClientMessage is a later message of the client.
//
//proto:union
//proto:case 1 Ping
//proto:case 6 Callers
type ClientMessage interface{ isClientMessage() }

// A RelayMessage is a later message of the relay.
//
//proto:union
//proto:case 2 Pong
//proto:case 3 Observed
//proto:case 4 Quota
//proto:case 5 Leave
type RelayMessage interface{ isRelayMessage() }

// A Ping asks for a Pong.
//
//proto:message
type Ping struct{ Number uint32 }

// A Pong answers a Ping.
//
//proto:message
type Pong struct{ Number uint32 }

// Observed is the client's address, after a change.
//
//proto:message
type Observed struct{ Addr AddrPort }

// Quota is the number of bytes that the account has left.
//
//proto:message
type Quota struct{ Left uint64 }

// Leave says that the relay is shutting down.
//
//proto:message
type Leave struct {
	After   uint32                    // seconds
	Instead []identity.RemoteIdentity `proto:"count=u8,max=255"`
}

// Callers says who may call.
//
//proto:message
type Callers struct{ Rule Rule }

// A Rule is the kind of Callers.
//
//proto:union
//proto:case 0 Anyone
//proto:case 1 Account
//proto:case 2 Listed
type Rule interface{ isRule() }

// Anyone may call.
//
//proto:message
type Anyone struct{}

// Account lets nodes of the same account call.
//
//proto:message
type Account struct{}

// Listed names the nodes that may call.
//
//proto:message
type Listed struct {
	Prefixes [][8]byte `proto:"count=u8,max=255"` // of node keys
}
