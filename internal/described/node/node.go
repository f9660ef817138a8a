// Package node describes the messages of packages proto, quic and internal/v1
// for protogen. Nothing but tests imports it, and docs/protocol.md has its
// layouts.
package node

import (
	"errors"
	"strings"
	"unicode"
)

//go:generate go -C ../../../proto/protogen run . -dir ../../internal/described/node
//go:generate go -C ../../../proto/protogen run . -dir ../../internal/described/node -doc ../../docs/protocol.md

// Metadata is proto.Metadata.
//
//proto:message
type Metadata struct {
	Entries []Entry `proto:"count=u16,max=128"`
}

// An Entry is an entry of Metadata.
//
//proto:message validate=check sample=randomPair
type Entry struct {
	Key   string `proto:"min=1,max=64"` // printable ASCII without =
	Value string `proto:"max=255"`      // with the key at most 254 bytes
}

func (e *Entry) check() error {
	if strings.ContainsFunc(e.Key, func(c rune) bool { return c < ' ' || c > '~' || c == '=' }) {
		return errors.New("a key is printable ASCII without =")
	}
	if len(e.Key)+1+len(e.Value) > 255 {
		return errors.New("key and value are too long")
	}
	return nil
}

// A Route is proto.Route.
//
//proto:message validate=check sample=randomName
type Route struct {
	Name string `proto:"len=u8,min=1,max=255"` // printable
}

func (r *Route) check() error {
	if strings.ContainsFunc(r.Name, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return errors.New("not printable")
	}
	return nil
}

// Moved is a message on /sdp2p/2/move.
//
//proto:union
//proto:case 1 Addresses
//proto:case 2 Relays
//proto:case 3 Sleep
type Moved interface{ isMoved() }

// Addresses are the addresses at which the opener can be reached.
//
//proto:message
type Addresses struct {
	Addrs []AddrPort `proto:"count=u8,max=16"`
}

// Relays are the relays of the opener: reserved.
//
//proto:message
type Relays struct {
	Keys [][32]byte `proto:"count=u8,max=4"` // reserved
}

// Sleep says that the opener is going to sleep: reserved.
//
//proto:message
type Sleep struct{}

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

// An IPv6 is an IPv6 address.
//
//proto:message
type IPv6 struct{ IP [16]byte }

// A Mode is a mode of version 1.
type Mode uint8

// The modes.
const (
	Stream Mode = iota
	Identify
)

// A Begin is the first byte of a stream of version 1.
//
//proto:message
type Begin struct{ Mode Mode }

// An Identity is a key in version 1, which is not validated.
//
//proto:message
type Identity struct{ Key [32]byte }
