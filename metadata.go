package p2p

import (
	"fmt"
	"maps"
	"runtime"
	"strconv"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/proto"
)

// MaxLibraries is the most libraries that a node may have in its metadata.
const MaxLibraries = 64

// ErrTooManyLibraries is returned if metadata would hold more than
// [MaxLibraries] libraries.
var ErrTooManyLibraries = fmt.Errorf("p2p: more than %d libraries on one node", MaxLibraries)

// NodeMetadata holds the fields of a node's metadata that the SDK itself
// writes. Empty fields are left out.
type NodeMetadata struct {
	Name            string // for people: "Oscars Laptop"
	OperatingSystem string // Go's word: "macos", otherwise GOOS
	DeviceModel     string // for people: "MacBook Pro"
	Version         string // of the app, for it to coordinate breaking changes
}

const (
	keyName            = "name"
	keyOperatingSystem = "operating_system"
	keyAncestorSystem  = "os" // read and written by version 1, with other words
	keyDeviceModel     = "device_model"
	keyVersion         = "version"
)

// ancestorSystems are version 1's words for Go's.
var ancestorSystems = map[string]string{
	"macos": "MacOS", "windows": "Windows", "linux": "Linux", "ios": "IOS", "android": "Android",
}

// Map returns the metadata entries for m.
func (m NodeMetadata) Map() map[string]string {
	entries := make(map[string]string, 5)
	for key, value := range map[string]string{
		keyName: m.Name, keyOperatingSystem: m.OperatingSystem, keyDeviceModel: m.DeviceModel, keyVersion: m.Version,
		keyAncestorSystem: ancestorSystems[m.OperatingSystem],
	} {
		if value != "" {
			entries[key] = value
		}
	}
	return entries
}

// ParseNodeMetadata reads the fields out of a node's metadata. Missing ones are
// empty.
func ParseNodeMetadata(entries map[string]string) NodeMetadata {
	m := NodeMetadata{
		Name:            entries[keyName],
		OperatingSystem: entries[keyOperatingSystem],
		DeviceModel:     entries[keyDeviceModel],
		Version:         entries[keyVersion],
	}
	if m.OperatingSystem == "" {
		m.OperatingSystem = entries[keyAncestorSystem]
		for word, ancestors := range ancestorSystems {
			if ancestors == m.OperatingSystem {
				m.OperatingSystem = word
			}
		}
	}
	return m
}

func operatingSystem() string {
	if runtime.GOOS == "darwin" {
		return "macos"
	}
	return runtime.GOOS
}

// ValidateMetadata checks a node's metadata; its error names the entry. Keys
// are 1 to 64 printable ASCII bytes without '='; values are UTF-8; a key and
// its value take at most 254 bytes together. There are at most 128 entries and
// [MaxLibraries] libraries, and the encoded form takes at most 8 KiB.
func ValidateMetadata(entries map[string]string) error {
	libraries := 0
	for key := range entries {
		if isUUID(key) {
			libraries++
		}
	}
	if libraries > MaxLibraries {
		return ErrTooManyLibraries
	}
	return proto.Metadata(entries).Validate()
}

// Libraries returns the libraries that a node claims to have: its instance of
// each, in text form, keyed by the library's UUID. The claim is unverified.
func Libraries(entries map[string]string) map[string]string {
	libraries := map[string]string{}
	for key, value := range entries {
		if isUUID(key) {
			libraries[key] = value
		}
	}
	return libraries
}

// isUUID reports whether key names a library: 8-4-4-4-12 hexadecimal digits.
func isUUID(key string) bool { return len(key) == 36 && uuid.Validate(key) == nil }

// Metadata returns a copy of this node's metadata, which is what other nodes
// are told about it.
func (n *P2P) Metadata() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.state.self.entries)
}

// mergeMetadata merges the metadata from several discoveries; for a key that
// occurs more than once, the last discovery wins.
func mergeMetadata(sources []map[string]string) map[string]string {
	switch len(sources) {
	case 0:
		return nil
	case 1:
		return sources[0]
	}
	merged := map[string]string{}
	for _, entries := range sources {
		maps.Copy(merged, entries)
	}
	return merged
}

// KeyLane is the metadata entry that names the TCP port of a node's lanes: see
// package tcp, which writes it.
const KeyLane = "tcp"

// LanePort returns the TCP port of a node's lanes from its metadata; 0 if it
// has none.
func LanePort(entries map[string]string) uint16 {
	port, err := strconv.ParseUint(entries[KeyLane], 10, 16)
	if err != nil {
		return 0
	}
	return uint16(port)
}
