// Package pairing describes the messages of the package pairing for protogen.
// Nothing but tests imports it. The statements at the end of some messages are
// left out: package roster describes them.
package pairing

import (
	"errors"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
)

//go:generate go -C ../../../proto/protogen run . -dir ../../internal/described/pairing

// A Status is the state of the pairing on one side.
type Status uint8

// The statuses.
const (
	StatusOK Status = iota
	StatusUsed
	StatusDeclined
	StatusNoAnswer
	StatusFailed
)

// A Hello is the first message of the device that joins.
//
//proto:message
type Hello struct {
	_    uint8  `proto:"const=2"` // version
	Name string `proto:"max=255"` // of the device
}

// A Reply is the answer to a Hello.
//
//proto:message
type Reply struct {
	_      uint8 `proto:"const=2"` // version
	Status Status
	Name   string `proto:"max=255"` // of the device
}

// A Role says what a member may do.
type Role uint8

// The roles.
const (
	RoleMember Role = iota + 1
	RoleAdmin
)

// A Welcome is the message that admits the joining device, without the
// statements.
//
//proto:message
type Welcome struct {
	_       uint8     `proto:"const=0"` // status
	Library uuid.UUID // UUID
	Name    string    `proto:"max=255"` // of the library
	Founder identity.RemoteIdentity
	Role    Role     // of the new member
	Secret  [32]byte // of the library
}

// An OK is a status that is followed by statements.
//
//proto:message
type OK struct {
	_ uint8 `proto:"const=0"` // status
}

// A Ticket is the beginning of a ticket. Fields and a checksum follow.
//
//proto:message
type Ticket struct {
	_      uint8                   `proto:"const=2"` // version
	Node   identity.RemoteIdentity // of the device that invites
	Secret [16]byte                // random
	Expiry uint32                  // in minutes since 1970
	Addrs  []AddrPort              `proto:"count=u8,max=4"`
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

// A Field is an optional field of a ticket.
//
//proto:message
type Field struct {
	Kind  uint8
	Value []byte `proto:"len=u8,max=255"`
}
