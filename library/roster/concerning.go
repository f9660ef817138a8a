package roster

import "github.com/sdp2p/p2p/identity"

// Concerning returns the removals of an instance that count, with what they rest
// on.
func (r *Roster) Concerning(identity.RemoteIdentity) Statements { return r.All() }
