// Package roster describes the messages of library/roster for protogen. Nothing
// but tests imports it, and docs/protocol.md has its layouts.
package roster

import (
	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
)

//go:generate go -C ../../../proto/protogen run . -dir ../../internal/described/roster
//go:generate go -C ../../../proto/protogen run . -dir ../../internal/described/roster -doc ../../docs/protocol.md

// A Statement is roster.Statement.
//
//proto:message
type Statement struct {
	Kind      uint8     // 1 add, 2 move, 3 remove, 4 endorse, 5 secret
	Library   uuid.UUID // UUID
	Signer    identity.RemoteIdentity
	Counter   uint32   // from 1
	Previous  [32]byte // SHA-256 of the signer's previous statement, including its signature; zero for the first
	Time      int64    // in seconds since 1970; for information only: no rule uses it
	Body      []byte   `proto:"len=u16,max=512"`
	Signature [64]byte // Ed25519 over "sdp2p-roster-v1\0", the founder's key (32), and all fields before it
}

// Ends is roster.Ends.
//
//proto:message
type Ends struct {
	Ends []End `proto:"count=u32,max=65536"`
}

// An End is roster.End.
//
//proto:message
type End struct {
	Signer  identity.RemoteIdentity
	Counter uint32
	Hash    [32]byte // of the statement
}

// A Role is roster.Role.
type Role uint8

// The roles.
const (
	RoleMember Role = iota + 1
	RoleAdmin
)

// An Add is the body of an addition.
//
//proto:message
type Add struct {
	Instance identity.RemoteIdentity
	Role     Role
	Name     string `proto:"max=255"`
}

// A Move is the body of a move to a node. A move to the zero node has another
// body, without a signature.
//
//proto:message
type Move struct {
	Node      identity.RemoteIdentity
	Signature [64]byte
}

// A Remove is the body of a removal.
//
//proto:message
type Remove struct {
	Instance identity.RemoteIdentity
	Last     [32]byte
}

// An Endorse is the body of a second signature.
//
//proto:message
type Endorse struct{ Of [32]byte }

// A Secret is the body of a statement about the library's secret.
//
//proto:message
type Secret struct {
	Number uint64
	Hash   [32]byte
}
