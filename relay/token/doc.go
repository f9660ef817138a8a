// Package token holds the access token of relays: an issuer's signed statement
// that one node may use relays at an account's expense, for a day at most.
//
//	t, err := token.Token{Node: node, Account: account, Rights: token.Reserve | token.Connect,
//		NotBefore: now, Expiry: now.Add(token.MaxLife)}.Sign(issuer)
//	fmt.Println(t.Text()) // which the app passes to the node
//
// A relay checks it offline, with [Rules.Verify]: one Ed25519 verification. It
// is bound to the node's key, which the connection has proved, so that a copy
// is of no use to others; it still prints as a placeholder.
package token
