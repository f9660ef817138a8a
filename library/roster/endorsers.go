package roster

import "github.com/sdp2p/p2p/identity"

// Endorsers returns the admins that endorsed a statement, by its
// [Statement.UnsignedHash], and are not removed.
func (r *Roster) Endorsers(unsigned Hash) (admins []identity.RemoteIdentity) {
	for _, n := range r.known.endorsed[unsigned] {
		if r.View().Admin(n.Signer) {
			admins = append(admins, n.Signer)
		}
	}
	return admins
}
