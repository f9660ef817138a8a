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
// endorsement, or else those of two admins, of which the signer is one. Nobody's
// signature counts on a statement about itself. A statement of an unknown kind,
// or whose body is malformed, is kept and passed on, and counts for nothing.
//
// # Chains
//
// The statements of a signer form a chain: each has a counter, from 1, and the
// hash of the one before. Number 1 is a move: nobody is a member who has not
// said where it lives, and any other number 1 counts for nothing. Two statements
// with one predecessor prove that a key is used by two, or came back from a
// backup: both count, and [View.Forked] names the signer.
//
// An add needs a place. The founder has [FounderPlaces], everybody else
// [Places], counted on each branch anew, the same instance once; a chain has 16
// statements and four more for each place. What lies beyond counts nowhere.
//
// # Removals
//
// A removal is for good. It also limits what its target signed: what counts is
// the statement that the removal names and those before it on its branch; of
// several removals, what all of them leave. What the founder's removals leave,
// others do not narrow. A removal of the signer itself cuts off what follows on
// its branch and nothing else. Removals are taken one after the other, always the
// first of those that count under the limits so far: those with the founder's
// signature, then those with two admins', then the rest, by hash within each.
// What was taken stays.
package roster
