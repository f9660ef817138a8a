// Package roster decides who belongs to a library: a pure function of signed
// statements, the same on every device that has the same statements, in
// whatever order they came.
//
// A [Statement] is something that an instance, or the library's founder, signed
// about the library. A [Roster] is a set of statements that prove themselves;
// [Roster.View] evaluates it. Package library keeps a roster for each library,
// exchanges statements when members meet, and asks the app's user where a
// second signature is needed.
//
// # Roles
//
// The founder is the key that made the library: a recovery key, which is on no
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
// The admin rule: the founder's signature is on it, as the signer's or as an
// endorsement, or else those of two admins, of which the signer is one.
// Nobody's signature counts on the removal of itself, nobody's endorsement on a
// statement of its own. A statement of an admin about somebody who is
// no admin needs no second signature. With the founder's signature, a statement
// of anybody counts, also the add or removal of a member, and also beyond its
// signer's limit. An add as admin with one admin's signature counts as one as a
// member. A statement of an unknown kind, or whose body is malformed, is kept
// and passed on, and counts for nothing.
//
// # Chains
//
// The statements of a signer form a chain: each has a counter, from 1, and the
// hash of the one before. Number 1 is a move: nobody is a member who has not
// said where it lives. Any other number 1 counts for nothing, what follows it
// counts nevertheless. Two statements with one predecessor prove that a key is
// used by two, or came back from a backup: both count, and [View.Forked] names
// the signer.
//
// A move to the zero node counts only as the founder's: it lives nowhere then,
// and is no member. A founder that lived nowhere from the start, by its number
// 1, is a recovery key, which is a member only if it is added like anybody
// else.
//
// An add needs a place. The founder has [FounderPlaces], everybody else
// [Places], counted on each branch anew, in the order of the branch, whether
// the adds count otherwise or not; the same instance has one place, however
// often it is added. A branch has 16 statements and four more for each place;
// that of somebody who is no admin has 16. What lies beyond counts nowhere and
// is not kept.
//
// A roster keeps the statements of the founder, and of instances that an admin
// added with a statement that is kept: removed or not, one admin's signature is
// enough. Admins are here those that the founder or two admins made one, before
// any removal.
// Of a signer that has more than twice as many statements as fit on a branch,
// only the longest branch goes on, and those are taken that a removal names:
// with one admin's key, a thief fills no device. A roster sends statements in
// the order in which they came, so that what such a thief signed hides nothing
// of what was there before it.
//
// # Removals
//
// A removal is for good, also of somebody who was never added. It also limits
// what its target signed: what counts is the statement that the removal names
// and those before it on its branch, nothing if that statement is not known or
// somebody else's; of several removals, what all of them leave. What the
// founder's removals leave, others do not narrow. A removal of the signer
// itself cuts off what follows on its branch and nothing else, whatever it
// names, and whoever endorsed it. Removals are taken one after the other,
// always the first of those that count under the limits so far: those with the
// founder's signature, then those with two admins', then the rest, by hash
// within each. What was taken stays.
//
// # Members
//
// The name of a member is that of the add with the founder's signature, else
// with two admins', else with one, and of equal ones that with the smallest
// hash. Of two members whose keys are A and -A only the smaller one is a
// member: in a key agreement the two are the same.
package roster
