package p2p

import (
	"fmt"
	"maps"
	"runtime"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/proto"
)

// MaxLibraries is how many libraries one node may have in its metadata.
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
	keyAncestorSystem  = "os" // read and written by version 1, with words of its own
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

// ValidateMetadata says what is wrong with a node's metadata, naming the entry.
// Keys are 1 to 64 printable ASCII bytes without '='; values are UTF-8; a key
// and its value take at most 254 bytes; and all of it at most 128 entries and 8
// KiB as encoded, with at most [MaxLibraries] libraries.
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

// Metadata returns a copy of this node's metadata: what other nodes are told
// about it.
func (n *P2P) Metadata() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.state.self.entries)
}

// UpdateMetadata changes this node's metadata in one step: change is called
// with a copy, which then replaces it. If the result is not valid (see
// [ValidateMetadata]), nothing changes and the error says why. change may read
// the node, but must not call UpdateMetadata.
func (n *P2P) UpdateMetadata(change func(entries map[string]string)) error {
	n.metadataUpdate.Lock() // before mu, so that change runs without it
	defer n.metadataUpdate.Unlock()
	entries := n.Metadata()
	change(entries)
	if err := ValidateMetadata(entries); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state.hooks.closing {
		return ErrClosed
	}
	if maps.Equal(entries, n.state.self.entries) {
		return nil
	}
	n.state.self = metadata{entries, n.state.stamp()}
	n.state.bus.publish(MetadataModified{})
	return nil
}

// mergeMetadata unites what several discoveries said; for a key that more than
// one has, the last one wins.
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
