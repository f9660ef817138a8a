// Package redis keeps the ledger, the directory and the revoked tokens of many
// relays in Redis (7 or later) or Valkey. It is a module of its own, so that a
// single relay does not link their client.
//
//	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true}) // github.com/redis/go-redis/v9
//	s, err := server.New(server.Config{Ledger: NewLedger(client, server.Monthly), Directory: NewDirectory(client), …})
//
// Without ContextTimeoutEnabled a relay waits for go-redis's own timeouts and
// retries, some 12 s instead of 2, before accounts live on their allowance.
//
// All keys begin with "sdp2p:". Those of an account share a hash tag, so that a
// cluster works as well as one instance. Times are those of the server's clock.
//
//	sdp2p:used:{ISSUER:ACCOUNT}:PERIOD   bytes, for 400 days
//	sdp2p:grant:{ISSUER:ACCOUNT}:ID      a grant that is not settled: bytes and period
//	sdp2p:owed:{ISSUER:ACCOUNT}:ID       bytes that were used without a grant are booked
//	sdp2p:{relays}:expiry                a sorted set of relays; sdp2p:{relays}:entry their entries
//	sdp2p:revoked                        a sorted set of "ISSUER SERIAL" by expiry
//
// The channels sdp2p:relays and sdp2p:revoked announce changes.
package redis
