// Package fleet simulates a million devices at a hundred relays, and what
// happens when relays die. What a device costs a relay is measured first, with
// package relay/server in a process of its own; the rules by which clients
// choose relays and come back are those of package relay, whose constants a
// test compares.
package fleet
