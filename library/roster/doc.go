// Package roster decides who belongs to a library: a pure function of signed
// statements, the same on every device that has the same statements, in
// whatever order they arrived.
//
// A [Statement] is a signed fact about the library, by an instance or the
// library's founder. A [Roster] is a set of statements that prove themselves;
// [Roster.View] evaluates it. Package library keeps a roster for each library,
// exchanges statements when members meet, and asks the app's user if a second
// signature is needed.
//
// # Roles
//
// The founder is the key that made the library: a recovery key, kept on no
// device, or the first device's instance. An admin adds and removes members; a
// member only takes part.
//
// # Statements
//
//	kind      body                                    counts if
//	add       instance 32, role u8, name string       as a member: one admin signed it
//	                                                  as an admin: the admin rule
//	move      node 32, signature 64 by the node's     always, within the signer's limit
//	          key, none for the zero node
//	remove    instance 32, last 32                    of a member: one admin signed it
//	                                                  of an admin or the founder: the admin rule
//	                                                  of the signer itself: always
//	endorse   SHA-256 of an add or a remove,          an admin or the founder signed it
//	          without its signature
//	secret    number u64, SHA-256 of the secret       one admin signed it, and the number
//	                                                  is 1 or one more than another that counts
//
// The admin rule: the statement has the founder's signature, as the signer's or
// as an endorsement, or else the signatures of two admins, one of them its
// signer. A signature does not count on the removal of its own signer, nor an
// endorsement on the endorser's own statement. An admin's statement about an
// instance that is not an admin needs no second signature. With the founder's
// signature, any signer's statement counts, including the add or removal of a
// member, and even beyond its signer's limit. An add as an admin with only one
// admin's signature counts as an add as a member. A statement of an unknown
// kind, or with a malformed body, is kept and passed on, and counts for
// nothing.
//
// # Chains
//
// The statements of a signer form a chain: each has a counter, from 1, and the
// hash of the one before. Number 1 is a move: an instance that has not said
// where it lives is no member. Any other number 1 counts for nothing, but the
// statements after it do count. Two statements with the same predecessor prove
// that a key is used by two devices, or was restored from a backup: both count,
// and [View.Forked] names the signer.
//
// A move to the zero node counts only if it is the founder's, who then lives
// nowhere and is no member. A founder that lives nowhere from the start, by its
// number 1, is a recovery key, which is a member only if it is added like any
// other instance.
//
// An add needs a place. The founder has [FounderPlaces], every other signer
// [Places], counted anew on each branch, in the order of the branch, whether or
// not the adds count otherwise; an instance takes one place, however often it
// is added. A branch has room for 16 statements and four more for each place; a
// branch of a signer that is not an admin, for 16. Statements beyond that do
// not count and are not kept.
//
// A roster keeps the statements of the founder, and of instances that an admin
// added with a statement that is kept: removed or not, one admin's signature is
// enough. Here, admins are those made so by the founder or by two admins,
// before any removal. For a signer that has more than twice as many statements
// as fit on a branch, only statements that continue the longest branch, or that
// a removal names, are accepted: with one admin's key, a thief cannot fill a
// device. A roster sends statements in the order in which they arrived, so that
// such a thief's statements cannot displace earlier ones.
//
// # Removals
//
// A removal is for good, even of an instance that was never added. It also
// limits the statements of its target: those that count are the statement that
// the removal names and those before it on its branch, and none if that
// statement is not known or another signer's; with several removals, only those
// that all of them leave. Statements left by the founder's removals are not
// affected by others. An instance's removal of itself cuts off only the
// statements that follow it on its branch, whatever it names and no matter who
// endorsed it. Removals are taken one by one, always the first of those that
// count under the limits so far: those with the founder's signature, then those
// with two admins', then the rest, by hash within each group. A removal that
// was taken stays.
//
// # Members
//
// The name of a member comes from the add with the founder's signature,
// otherwise from one with two admins', otherwise from one with one admin's; if
// several are equal, from that with the smallest hash. Of two instances with
// keys A and -A only the smaller one is a member: in a key agreement the two
// keys are the same.
package roster
