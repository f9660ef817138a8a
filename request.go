package p2p

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
)

// An Action is what a peer asks for.
type Action uint8

const (
	Connect    Action = iota + 1 // a connection
	OpenStream                   // a stream to a handler
	OpenTunnel                   // a tunnel to a library, as one of its members
)

// String returns the action in words.
func (a Action) String() string {
	switch a {
	case Connect:
		return "connect"
	case OpenStream:
		return "open a stream"
	case OpenTunnel:
		return "open a tunnel"
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// A Request is a peer's request, for [Config.Allow] to decide. Allow is not
// consulted about what this node initiates.
type Request struct {
	Action Action
	Peer   identity.RemoteIdentity // as the connection has authenticated it
	Path   Path                    // zero for OpenTunnel

	// Set for OpenTunnel. The peer proves that it holds the instance's key only
	// after the answer.
	Library  uuid.UUID
	Instance identity.RemoteIdentity
}
