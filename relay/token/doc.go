// Package token holds the access token of relays: an issuer's signed statement
// that one node may use relays at an account's expense, for a day at most.
//
//	t, err := token.Token{Node: node, Account: account, Rights: token.Reserve | token.Connect,
//		NotBefore: now, Expiry: now.Add(token.MaxLife)}.Sign(issuer)
//	fmt.Println(t.Text()) // what the app gives to the node
//
// A relay checks it offline, with [Rules.Verify]: one Ed25519 verification. It is
// bound to the node's key, which the connection has proved, so that a copy of it
// is of no use to others; it prints as a placeholder all the same.
package token
