// Package tunnel measures package tunnel against its parts alone, which nobody
// can be faster than, and against others that authenticate both ends of a
// stream: what a record costs, what a stream carries with a tunnel in it, and
// what a handshake takes. It uses what the packages export, and nothing else.
package tunnel
