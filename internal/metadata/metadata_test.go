package metadata_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/metadata"
)

func library(i int) string { return fmt.Sprintf("6ba7b810-9dad-11d1-80b4-%012x", i) }

// cut returns the entries that stay, and the keys of the others, in order.
func cut(entries map[string]string) (kept map[string]string, left []string) {
	kept = metadata.Cut(entries, func(key string, err error) {
		if err == nil {
			panic("no rule is broken")
		}
		left = append(left, key)
	})
	return kept, left
}

// Beyond each limit, one entry is dropped and all others stay, always the same
// ones.
func TestLimits(t *testing.T) {
	node := map[string]string{"name": "n", "version": "1", "os": "Linux"}
	with := func(n int, key func(int) string, value string) map[string]string {
		m := maps.Clone(node)
		for i := range n {
			m[key(i)] = value
		}
		return m
	}
	number := func(i int) string { return fmt.Sprintf("%03d", i) } // before "name"
	for name, test := range map[string]struct {
		entries map[string]string
		left    []string
	}{
		"64 libraries":       {with(64, library, strings.Repeat("A", 43)), nil},
		"65 libraries":       {with(65, library, strings.Repeat("A", 43)), []string{library(64)}},
		"128 entries":        {with(125, number, "v"), nil},
		"129 entries":        {with(126, number, "v"), []string{"125"}},
		"8 KiB":              {with(32, number, strings.Repeat("v", 247)), nil}, // 2 + 32 × 254 and the node's fields
		"more than 8 KiB":    {with(33, number, strings.Repeat("v", 247)), []string{"032"}},
		"a key":              {with(1, func(int) string { return "a=b" }, ""), []string{"a=b"}},
		"a value":            {with(1, number, "\xff"), []string{"000"}},
		"a pair":             {with(1, number, strings.Repeat("v", 252)), []string{"000"}},
		"too large, then no": {map[string]string{"a": strings.Repeat("v", 254), "b": ""}, []string{"a"}},
	} {
		for range 10 { // independent of the map's order
			before := maps.Clone(test.entries)
			kept, left := cut(test.entries)
			require.Equal(t, test.left, left, name)
			require.Equal(t, before, test.entries, name)
			for _, key := range left {
				delete(before, key)
			}
			require.Equal(t, before, kept, name)
			require.NoError(t, p2p.ValidateMetadata(kept), name)
		}
	}
}

// Whatever the metadata is, the remaining entries are valid, and no entry that
// fits is dropped.
func TestCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.OneOf(
			rapid.SampledFrom(metadata.NodeFields()), rapid.Map(rapid.IntRange(0, 99), library),
			rapid.StringMatching(`[a-z]{1,3}`), rapid.StringN(0, 70, 70), rapid.Just("a=b"),
		)
		values := rapid.OneOf(rapid.StringN(0, 300, 300), rapid.StringMatching(`x{0,250}`))
		entries := rapid.MapOfN(keys, values, 0, 300).Draw(t, "entries")
		kept, left := cut(entries)
		require.NoError(t, p2p.ValidateMetadata(kept))
		require.Len(t, entries, len(kept)+len(left))
		for _, key := range left {
			more := maps.Clone(kept)
			more[key] = entries[key]
			require.Error(t, p2p.ValidateMetadata(more), key)
		}
		require.True(t, slices.IsSortedFunc(left, func(a, b string) int { return rank(a) - rank(b) }))
	})
}

// rank puts the node's own fields first.
func rank(key string) int {
	if i := slices.Index(metadata.NodeFields(), key); i >= 0 {
		return i
	}
	return len(metadata.NodeFields())
}

// BenchmarkCut measures a message of version 1 that is full of entries.
func BenchmarkCut(b *testing.B) {
	entries := map[string]string{}
	for i := range 2000 {
		entries[fmt.Sprintf("%03x", i)] = ""
	}
	for b.Loop() {
		metadata.Cut(entries, func(string, error) {})
	}
}
