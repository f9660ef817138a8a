// Package server is a relay: a node with a public address that passes bytes
// between nodes that cannot reach each other.
//
// It serves circuit relay v2, and so every libp2p client over QUIC, to nodes
// that show a token (package relay/token) or are configured by key. It counts
// each account's bytes exactly, bounds their rate and their sum in a period,
// and keeps the sum in a [Ledger], which several relays may share.
//
//	s, err := server.New(server.Config{Identity: id, Trusted: isOurIssuer, Ledger: ledger})
//	http.Handle("/metrics", s.Metrics())
//	err = s.Run(ctx) // until ctx is done; then the clients are asked to leave
//
// A relay learns which keys talk to each other, from which addresses, when, and
// how much. Between two nodes of this module it sees only encrypted packets.
package server
