package metadata

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sdp2p/p2p/proto"
)

// versionKey is the key of the TXT string with the version of the protocol that
// a node speaks. It is not part of the metadata.
const versionKey = "sdp2p"

// TXT returns the strings of the TXT record with which a node announces itself
// on the local network. The node's own fields come first, in the order of
// [NodeFields], for readers that read only the beginning of the record.
func TXT(entries map[string]string, version int) []string {
	fields := NodeFields()
	strings := make([]string, 0, len(entries)+1)
	for _, key := range fields {
		if value, ok := entries[key]; ok {
			strings = append(strings, key+"="+value)
		}
	}
	strings = append(strings, versionKey+"="+strconv.Itoa(version))
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		if !slices.Contains(fields, key) && key != versionKey {
			strings = append(strings, key+"="+entries[key])
		}
	}
	return strings
}

// ParseTXT parses the strings of a TXT record (RFC 6763 §6.4): if a key occurs
// twice, its first value counts. It leaves out strings that are not metadata,
// and entries over a limit, one by one, so that nothing a stranger announces
// hides a peer. The version is 0 if the record has none. The map is never nil.
func ParseTXT(txt []string) (entries map[string]string, version int) {
	entries = map[string]string{}
	for _, s := range txt {
		key, value, ok := strings.Cut(s, "=")
		if !ok || proto.ValidateMetadataKey(key) != nil || proto.ValidateMetadataValue(key, value) != nil {
			continue
		}
		if strings.EqualFold(key, versionKey) {
			if v, err := strconv.Atoi(value); err == nil && version == 0 && v > 0 {
				version = v
			}
			continue
		}
		if _, twice := entries[key]; !twice {
			entries[key] = value
		}
	}
	return Cut(entries, func(string, error) {}), version
}
