package proto

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// Limits of [Metadata].
const (
	// MaxMetadataSize is the size in bytes of the largest Metadata, encoded.
	MaxMetadataSize = 8 << 10
	// MaxMetadataEntries is the number of entries of the largest Metadata.
	MaxMetadataEntries = 128
	// MaxMetadataKey is the size in bytes of the longest key.
	MaxMetadataKey = 64
	// MaxMetadataPair is the size in bytes of the longest "key=value", which
	// has to fit into one string of a DNS TXT record (RFC 6763 §6.1).
	MaxMetadataPair = 255
)

// Errors of [Metadata]. Each is wrapped in a [*MetadataError] that names the
// entry, and wraps [ErrInvalid].
var (
	// ErrMetadataKey is wrapped by the errors for a key that is not 1 to 64
	// bytes of printable ASCII without '='.
	ErrMetadataKey = fmt.Errorf("%w metadata key", ErrInvalid)
	// ErrMetadataValue is wrapped by the errors for a value that is not UTF-8
	// or too long for its key.
	ErrMetadataValue = fmt.Errorf("%w metadata value", ErrInvalid)
	// ErrMetadataDuplicate is wrapped by the error for a key that occurs twice.
	ErrMetadataDuplicate = fmt.Errorf("%w metadata: the key came twice", ErrInvalid)
)

// A MetadataError says which entry of a [Metadata] is invalid, and why.
type MetadataError struct {
	Key string // the entry's key, as received
	Err error  // wraps ErrMetadataKey, ErrMetadataValue, ErrMetadataDuplicate or ErrUTF8
}

func (e *MetadataError) Error() string {
	return fmt.Sprintf("%v: entry %.*q", e.Err, MaxMetadataKey, e.Key)
}

// Unwrap returns e.Err.
func (e *MetadataError) Unwrap() error { return e.Err }

// ValidateMetadataKey checks a key of [Metadata]: 1 to [MaxMetadataKey] bytes
// of printable ASCII (0x20 to 0x7E, RFC 6763 §6.4) without '='. The error is a
// [*MetadataError] that wraps [ErrMetadataKey].
func ValidateMetadataKey(key string) error {
	if key == "" || len(key) > MaxMetadataKey {
		return &MetadataError{key, fmt.Errorf("%w: %d bytes, not 1 to %d", ErrMetadataKey, len(key), MaxMetadataKey)}
	}
	for i := range len(key) {
		if c := key[i]; c < ' ' || c > '~' || c == '=' {
			return &MetadataError{key, fmt.Errorf("%w: byte %#02x", ErrMetadataKey, c)}
		}
	}
	return nil
}

// ValidateMetadataValue checks a value of [Metadata]: it must be UTF-8, and
// "key=value" must take at most [MaxMetadataPair] bytes. The error is a
// [*MetadataError] that wraps [ErrMetadataValue]. The key itself is not
// checked; see [ValidateMetadataKey].
func ValidateMetadataValue(key, value string) error {
	if n := len(key) + 1 + len(value); n > MaxMetadataPair {
		return &MetadataError{key, fmt.Errorf("%w: %d bytes with its key, over %d", ErrMetadataValue, n, MaxMetadataPair)}
	}
	if !utf8.ValidString(value) {
		return &MetadataError{key, fmt.Errorf("%w: not UTF-8", ErrMetadataValue)}
	}
	return nil
}

// Metadata is a node's description of itself. It is sent on a /sdp2p/2/meta
// stream: when the stream opens, and again in full whenever it changes.
//
//	size  field
//	2     count of entries, n ≤ 128
//	…     n × (key, value)
//	2+k   key      1 ≤ k ≤ 64, printable ASCII without '='
//	2+v   value    k+1+v ≤ 255, UTF-8
//
// The whole message is at most 8 KiB. Keys are sent sorted and accepted in any
// order; duplicate keys are refused.
//
// As with any map, concurrent reading is safe and writing is not.
type Metadata map[string]string

// Validate returns nil if m can be sent. Otherwise it returns a
// [*MetadataError] for the first invalid entry, in the order of keys, or a
// [*LimitError] if the entries are too many or too large in total.
func (m Metadata) Validate() error {
	_, err := m.sorted(make([]string, 0, MaxMetadataEntries))
	return err
}

// AppendBinary appends m to b. It fails as [Metadata.Validate] does, and then
// returns b unchanged. It does not allocate if b has room.
func (m Metadata) AppendBinary(b []byte) ([]byte, error) {
	keys, err := m.sorted(make([]string, 0, MaxMetadataEntries))
	if err != nil {
		return b, err
	}
	out := AppendUint16(b, uint16(len(keys)))
	for _, key := range keys {
		value := m[key]
		out = append(AppendUint16(out, uint16(len(key))), key...)
		out = append(AppendUint16(out, uint16(len(value))), value...)
	}
	return out, nil
}

// sorted returns the sorted keys of m, in the memory of keys, if m is valid.
func (m Metadata) sorted(keys []string) ([]string, error) {
	if err := checkSize("list", len(m), MaxMetadataEntries, math.MaxUint16); err != nil {
		return nil, err
	}
	keys = sortedKeys(m, keys)
	size := 2
	for _, key := range keys {
		if err := validateEntry(key, m[key]); err != nil {
			return nil, err
		}
		size += 2 + len(key) + 2 + len(m[key])
	}
	return keys, checkSize("metadata", size, MaxMetadataSize, math.MaxUint32)
}

// DecodeFrom replaces m with a message read from d. It fails as
// [Metadata.Validate] and the Decoder do, and if a key occurs twice; m is then
// unchanged.
func (m *Metadata) DecodeFrom(d *Decoder) error {
	n := d.Count16(MaxMetadataEntries)
	got := make(Metadata, n)
	size := 2
	for range n {
		key := d.String(MaxMetadataKey)
		value := d.String(MaxMetadataPair)
		size += 2 + len(key) + 2 + len(value)
		d.Fail(validateEntry(key, value))
		d.Fail(checkSize("metadata", size, MaxMetadataSize, math.MaxUint32))
		if _, ok := got[key]; ok {
			d.Fail(&MetadataError{key, ErrMetadataDuplicate})
		}
		if d.err != nil {
			break
		}
		got[key] = value
	}
	if err := d.Err(); err != nil {
		return err
	}
	*m = got
	return nil
}

func validateEntry(key, value string) error {
	if err := ValidateMetadataKey(key); err != nil {
		return err
	}
	return ValidateMetadataValue(key, value)
}

// sortedKeys appends the keys of m to keys, which is empty, and sorts them.
func sortedKeys(m map[string]string, keys []string) []string {
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
