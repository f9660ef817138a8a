package schema

import (
	"strings"
	"unicode"
)

// Words returns a name of Go in words: "block size" for BlockSize, "peer ID"
// for PeerID.
func Words(name string) string {
	var words []string
	runes := []rune(name)
	begin := 0
	for i := 1; i <= len(runes); i++ {
		if i < len(runes) {
			upper, before := unicode.IsUpper(runes[i]), unicode.IsUpper(runes[i-1])
			next := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if !upper || before && !next {
				continue
			}
		}
		word := string(runes[begin:i])
		if len(word) < 2 || strings.ToUpper(word) != word {
			word = strings.ToLower(word)
		}
		words = append(words, word)
		begin = i
	}
	return strings.Join(words, " ")
}
