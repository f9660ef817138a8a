package relay

import "math/rand/v2"

func randomSigned(r *rand.Rand) *Token {
	m := &Token{NodeKey: genKey(r), IssuerKey: genKey(r), Rights: 1 + Rights(r.IntN(3)), NotBefore: r.Uint32N(1 << 30), Rate: r.Uint64(), Serial: r.Uint32()}
	if r.IntN(2) == 1 {
		m.RelayKey = genKey(r)
	}
	m.Expiry = m.NotBefore + 1 + r.Uint32N(1440)
	genFill(r, m.Account[:])
	genFill(r, m.Signature[:])
	return m
}

func randomHello0(r *rand.Rand) *Hello {
	m := new(Hello)
	genBytes(r, &m.Tokens, 206*r.IntN(5))
	return m
}
