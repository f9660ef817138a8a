package library

import "github.com/sdp2p/p2p/identity"

// Take suspends errands to a member, as an exchange with it does.
func (l *Library) Take(instance identity.RemoteIdentity) (done func()) { return l.take(instance) }
