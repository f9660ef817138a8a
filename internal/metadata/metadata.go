// Package metadata reduces the metadata that others claim to the limits of this
// protocol, and translates metadata to and from TXT records. The rules are
// younger than the first implementation, whose nodes may break them, and
// anybody can announce anything. Neither is a reason to refuse or to hide a
// peer.
package metadata

import (
	"errors"
	"maps"
	"slices"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/proto"
)

// NodeFields returns the keys of the entries about the node itself, beginning
// with those that a person sees first.
func NodeFields() []string {
	return []string{"name", "operating_system", "os", "device_model", "version"}
}

// Cut returns the entries that [p2p.ValidateMetadata] allows, and calls leftOut
// for each of the others with the rule that it breaks. If there are more than a
// node may have, it always keeps the same ones: the node's own fields first,
// then the others in the order of their keys, each if it still fits. It returns
// a new map and does not modify entries.
func Cut(entries map[string]string, leftOut func(key string, err error)) map[string]string {
	fields := NodeFields()
	rest := slices.DeleteFunc(slices.Sorted(maps.Keys(entries)), func(key string) bool {
		return slices.Contains(fields, key)
	})
	cut := tally{kept: map[string]string{}, claimed: p2p.Libraries(entries), size: 2}
	for _, key := range slices.Concat(fields, rest) {
		value, ok := entries[key]
		if !ok {
			continue
		}
		if err := cut.add(key, value); err != nil {
			leftOut(key, err)
		}
	}
	return cut.kept
}

// A tally counts the entries that are kept.
type tally struct {
	kept      map[string]string
	claimed   map[string]string // the libraries among all entries
	libraries int               // of those kept
	size      int               // bytes of those kept, as encoded by proto.Metadata
}

// add keeps an entry, unless it breaks a rule.
func (t *tally) add(key, value string) error {
	if err := errors.Join(proto.ValidateMetadataKey(key), proto.ValidateMetadataValue(key, value)); err != nil {
		return err
	}
	size := t.size + 2 + len(key) + 2 + len(value)
	_, library := t.claimed[key]
	switch {
	case len(t.kept) == proto.MaxMetadataEntries:
		return &proto.LimitError{What: "list", Size: proto.MaxMetadataEntries + 1, Limit: proto.MaxMetadataEntries}
	case size > proto.MaxMetadataSize:
		return &proto.LimitError{What: "metadata", Size: uint64(size), Limit: proto.MaxMetadataSize}
	case library && t.libraries == p2p.MaxLibraries:
		return p2p.ErrTooManyLibraries
	}
	if library {
		t.libraries++
	}
	t.kept[key], t.size = value, size
	return nil
}
