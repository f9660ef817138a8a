// Package core measures what a node does without a network: events, and the
// table of peers, at sizes up to far beyond what a local network has.
package core
