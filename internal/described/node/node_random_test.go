package node

import (
	"math/rand/v2"
	"strings"
)

func randomPair(r *rand.Rand) *Entry {
	e := new(Entry)
	for range 1 + r.IntN(64) {
		e.Key += string(rune('>' + r.IntN(60)))
	}
	genText(r, &e.Value, r.IntN(255-len(e.Key)))
	return e
}

func randomName(r *rand.Rand) *Route {
	return &Route{strings.Repeat("ré", 1+r.IntN(85))}
}
