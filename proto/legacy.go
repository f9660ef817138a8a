package proto

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"unicode/utf8"
)

// Limits of [LegacyMetadata], in bytes of MessagePack, which its length field counts.
const (
	// MaxLegacyMetadata is the size of the largest LegacyMetadata that is accepted.
	MaxLegacyMetadata = 8 << 10
	// MaxLegacyPeerMetadata is the size of the largest LegacyMetadata that the first implementation accepts: what is
	// sent to it must fit. See [LegacyMetadata.Fit].
	MaxLegacyPeerMetadata = 1000
)

// ErrLegacyMetadata is wrapped by the errors for [LegacyMetadata] that is not a MessagePack map of strings, or not of
// the length that was announced. It wraps [ErrInvalid].
var ErrLegacyMetadata = fmt.Errorf("%w legacy metadata", ErrInvalid)

// A LegacyMode is the first byte of a /sdp2p/1 stream, sent by its initiator.
//
//	size  field
//	1     mode: 0 or 1
type LegacyMode uint8

// The modes.
const (
	// LegacyStream is a stream for the application. The initiator's [LegacyHello] follows at once, and the responder
	// answers with its [LegacyMetadata].
	LegacyStream LegacyMode = 0
	// LegacyIdentify asks the responder who it is. It answers with its [LegacyIdentity], then the initiator sends its
	// [LegacyHello], and the responder its [LegacyMetadata].
	LegacyIdentify LegacyMode = 1
)

// AppendBinary appends m to b. It fails with an [*EnumError] if m is unknown, and returns b as it was.
func (m LegacyMode) AppendBinary(b []byte) ([]byte, error) {
	return AppendEnum(b, "legacy mode", m, LegacyStream, LegacyIdentify)
}

// DecodeFrom reads m. It fails with an [*EnumError] if the mode is unknown, and as the Decoder does; m is then as it
// was.
func (m *LegacyMode) DecodeFrom(d *Decoder) error {
	got := DecodeEnum(d, "legacy mode", LegacyStream, LegacyIdentify)
	if err := d.Err(); err != nil {
		return err
	}
	*m = got
	return nil
}

// A LegacyIdentity is a node's Ed25519 public key. That it is a valid one, and the connection's, is for the receiver
// to check.
//
//	size  field
//	32    public key
type LegacyIdentity [32]byte

// AppendBinary appends id to b. It never fails.
func (id LegacyIdentity) AppendBinary(b []byte) ([]byte, error) { return append(b, id[:]...), nil }

// DecodeFrom reads id. It fails as the Decoder does; id then holds anything.
func (id *LegacyIdentity) DecodeFrom(d *Decoder) error {
	d.Fixed(id[:])
	return d.Err()
}

// A LegacyHello is what the initiator of a /sdp2p/1 stream says about itself.
//
//	size  field
//	32    Identity    an Ed25519 public key, for the receiver to check against the connection
//	8+n   Metadata    n ≤ 8 KiB; at most 1000 towards the first implementation
type LegacyHello struct {
	Identity LegacyIdentity
	Metadata LegacyMetadata
}

// AppendBinary appends m to b. It fails as [LegacyMetadata.AppendBinary] does, and returns b as it was.
func (m *LegacyHello) AppendBinary(b []byte) ([]byte, error) {
	out, err := m.Metadata.AppendBinary(append(b, m.Identity[:]...))
	if err != nil {
		return b, err
	}
	return out, nil
}

// DecodeFrom reads m. It fails as [LegacyMetadata.DecodeFrom] does; m's Metadata is then as it was.
func (m *LegacyHello) DecodeFrom(d *Decoder) error {
	d.Fixed(m.Identity[:])
	return m.Metadata.DecodeFrom(d)
}

// LegacyMetadata is what a node says about itself on a /sdp2p/1 stream.
//
//	size  field
//	8     length n, n ≤ 8 KiB
//	n     MessagePack: a map of n bytes exactly, its keys and values strings
//
// It is sent as serde's rmp does: keys sorted, each map and string in its shortest form. It is accepted in any order
// and with any form of map and string that MessagePack has; every other type is refused, as is a key that comes twice.
//
// The rules of [Metadata] for keys and values are younger than this message and not checked here, on neither side. To
// refuse a peer for an entry that nobody asked for would cut off nodes that work today, and to drop the entry here
// would hide it from the caller, who alone knows what it is for. So a LegacyMetadata is what the peer sent, whole, and
// the caller passes each entry that it means to keep through [ValidateMetadataKey] and [ValidateMetadataValue].
//
// As with any map, concurrent reading is safe and writing is not.
type LegacyMetadata map[string]string

// AppendBinary appends m to b. It fails with a [*LimitError] if the map takes more than [MaxLegacyMetadata] bytes and
// with a [*MetadataError] that wraps [ErrUTF8] if an entry is not UTF-8, and returns b as it was. It does not allocate
// if b has room and m has no more entries than [MaxMetadataEntries].
func (m LegacyMetadata) AppendBinary(b []byte) ([]byte, error) {
	keys := sortedKeys(m, make([]string, 0, MaxMetadataEntries))
	size := msgpackMapSize(len(keys))
	for _, key := range keys {
		value := m[key]
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return b, &MetadataError{key, ErrUTF8}
		}
		size += msgpackStringSize(key) + msgpackStringSize(value)
	}
	if err := checkSize("metadata", size, MaxLegacyMetadata, math.MaxUint32); err != nil {
		return b, err
	}
	out := appendMsgpackMap(AppendUint64(b, uint64(size)), len(keys))
	for _, key := range keys {
		out = appendMsgpackString(appendMsgpackString(out, key), m[key])
	}
	return out, nil
}

// DecodeFrom reads m, which it replaces. It fails with a [*LimitError] if the length is over [MaxLegacyMetadata], with
// [ErrLegacyMetadata] if the bytes are not a map of strings of just that length, with a [*MetadataError] if a key comes
// twice or an entry is not UTF-8, and as the Decoder does; m is then as it was.
func (m *LegacyMetadata) DecodeFrom(d *Decoder) error {
	p := d.next(d.count(d.Uint64(), "metadata", MaxLegacyMetadata))
	if d.err == nil {
		got, err := parseMsgpackMap(p)
		if err == nil {
			*m = got
		}
		d.Fail(err)
	}
	return d.Err()
}

// legacyNodeFields are the entries about the node itself, those that a person sees first.
var legacyNodeFields = []string{"name", "os", "operating_system", "device_model", "version"}

// Fit returns as much of m as takes at most limit bytes of MessagePack: first the node's own fields (name, os,
// operating_system, device_model, version, in this order), then every other entry, in the keys' order, that still fits.
// It returns a new map and leaves m alone.
func (m LegacyMetadata) Fit(limit int) LegacyMetadata {
	keys := sortedKeys(m, nil)
	sort.SliceStable(keys, func(i, j int) bool { return rank(keys[i]) < rank(keys[j]) })
	fit, size := make(LegacyMetadata), 0
	for _, key := range keys {
		n := msgpackStringSize(key) + msgpackStringSize(m[key])
		if msgpackMapSize(len(fit)+1)+size+n <= limit {
			fit[key] = m[key]
			size += n
		}
	}
	return fit
}

// rank is the place of a key in the order in which [LegacyMetadata.Fit] takes entries.
func rank(key string) int {
	if i := slices.Index(legacyNodeFields, key); i >= 0 {
		return i
	}
	return len(legacyNodeFields)
}
