// Package v1 encodes and decodes the messages of /sdp2p/1, the protocol of the
// first implementation.
//
//	Mode      the first byte of a stream
//	Identity  a node's public key, alone
//	Metadata  metadata, as MessagePack
//	Hello     public key and metadata
package v1

import (
	"fmt"
	"slices"
	"sort"
	"unicode/utf8"

	"github.com/sdp2p/p2p/proto"
)

// Limits of [Metadata], in bytes of MessagePack, which its length field counts.
const (
	// MaxMetadata is the size of the largest Metadata that is accepted.
	MaxMetadata = 8 << 10
	// MaxPeerMetadata is the size of the largest Metadata that the first
	// implementation accepts, and so may be sent to it. See [Metadata.Fit].
	MaxPeerMetadata = 1000
)

// ErrMetadata is wrapped by the errors about [Metadata] that is not a
// MessagePack map of strings, or does not have the announced length. It wraps
// [proto.ErrInvalid].
var ErrMetadata = fmt.Errorf("%w version 1 metadata", proto.ErrInvalid)

// A Mode is the first byte of a /sdp2p/1 stream, sent by its initiator.
//
//	size  field
//	1     mode: 0 or 1
type Mode uint8

// The modes.
const (
	// Stream is a stream for the application. The initiator's [Hello] follows
	// at once, and the responder answers with its [Metadata].
	Stream Mode = 0
	// Identify asks for the responder's identity. The responder answers with
	// its [Identity], then the initiator sends its [Hello], and the responder
	// its [Metadata].
	Identify Mode = 1
)

// AppendBinary appends m to b. If m is unknown, it fails with an
// [*proto.EnumError] and returns b unchanged.
func (m Mode) AppendBinary(b []byte) ([]byte, error) {
	return proto.AppendEnum(b, "version 1 mode", m, Stream, Identify)
}

// DecodeFrom reads m. It fails with an [*proto.EnumError] if the mode is
// unknown, and as the Decoder does; m is then unchanged.
func (m *Mode) DecodeFrom(d *proto.Decoder) error {
	got := proto.DecodeEnum(d, "version 1 mode", Stream, Identify)
	if err := d.Err(); err != nil {
		return err
	}
	*m = got
	return nil
}

// An Identity is a node's Ed25519 public key. The receiver has to check that it
// is valid and the connection's.
//
//	size  field
//	32    public key
type Identity [32]byte

// AppendBinary appends id to b. It never fails.
func (id Identity) AppendBinary(b []byte) ([]byte, error) { return append(b, id[:]...), nil }

// DecodeFrom reads id. It fails as the Decoder does; the value of id is then
// undefined.
func (id *Identity) DecodeFrom(d *proto.Decoder) error {
	d.Fixed(id[:])
	return d.Err()
}

// A Hello is the introduction of the initiator of a /sdp2p/1 stream.
//
//	size  field
//	32    Identity    an Ed25519 public key, for the receiver to check against the connection
//	8+n   Metadata    n ≤ 8 KiB; at most 1000 towards the first implementation
type Hello struct {
	Identity Identity
	Metadata Metadata
}

// AppendBinary appends m to b. It fails as [Metadata.AppendBinary] does, and
// then returns b unchanged.
func (m *Hello) AppendBinary(b []byte) ([]byte, error) {
	out, err := m.Metadata.AppendBinary(append(b, m.Identity[:]...))
	if err != nil {
		return b, err
	}
	return out, nil
}

// DecodeFrom reads m. It fails as [Metadata.DecodeFrom] does; m's Metadata is
// then unchanged.
func (m *Hello) DecodeFrom(d *proto.Decoder) error {
	d.Fixed(m.Identity[:])
	return m.Metadata.DecodeFrom(d)
}

// Metadata is a node's description of itself on a /sdp2p/1 stream.
//
//	size  field
//	8     length n, n ≤ 8 KiB
//	n     MessagePack: a map of n bytes exactly, its keys and values strings
//
// It is sent as serde's rmp does: keys sorted, each map and string in its
// shortest form. It is accepted in any order and with any form of map and
// string in MessagePack; every other type is refused, as is a key that occurs
// twice.
//
// The rules of [proto.Metadata] for keys and values are younger than this
// message and are not checked here, on either side. Refusing a peer because of
// an irrelevant entry would cut off nodes that work today, and dropping the
// entry would hide it from the caller, which alone knows its purpose. So a
// Metadata contains everything that the peer sent, and the caller has to check
// each entry that it keeps with [proto.ValidateMetadataKey] and
// [proto.ValidateMetadataValue].
//
// As with any map, concurrent reading is safe and writing is not.
type Metadata map[string]string

// AppendBinary appends m to b. It fails with a [*proto.LimitError] if the map
// takes more than [MaxMetadata] bytes, and with a [*proto.MetadataError] that
// wraps [proto.ErrUTF8] if an entry is not UTF-8; it then returns b unchanged.
// It does not allocate if b has room and m has at most
// [proto.MaxMetadataEntries] entries.
func (m Metadata) AppendBinary(b []byte) ([]byte, error) {
	keys := sortedKeys(m, make([]string, 0, proto.MaxMetadataEntries))
	size := msgpackMapSize(len(keys))
	for _, key := range keys {
		value := m[key]
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return b, &proto.MetadataError{Key: key, Err: proto.ErrUTF8}
		}
		size += msgpackStringSize(key) + msgpackStringSize(value)
	}
	if size > MaxMetadata {
		return b, tooLarge(uint64(size))
	}
	out := appendMsgpackMap(proto.AppendUint64(b, uint64(size)), len(keys))
	for _, key := range keys {
		out = appendMsgpackString(appendMsgpackString(out, key), m[key])
	}
	return out, nil
}

// DecodeFrom replaces m with a message read from d. It fails with a
// [*proto.LimitError] if the length is over [MaxMetadata], with [ErrMetadata]
// if the bytes are not a map of strings of exactly that length, with a
// [*proto.MetadataError] if a key occurs twice or an entry is not UTF-8, and as
// the Decoder does; m is then unchanged.
func (m *Metadata) DecodeFrom(d *proto.Decoder) error {
	n := d.Uint64()
	if n > MaxMetadata {
		d.Fail(tooLarge(n))
		return d.Err()
	}
	p := make([]byte, n)
	d.Fixed(p)
	if err := d.Err(); err != nil {
		return err
	}
	got, err := parseMsgpackMap(p)
	if err != nil {
		d.Fail(err)
		return err
	}
	*m = got
	return nil
}

// tooLarge is the error for metadata of more than [MaxMetadata] bytes.
func tooLarge(size uint64) error {
	return &proto.LimitError{What: "metadata", Size: size, Limit: MaxMetadata}
}

// sortedKeys appends the keys of m to keys, which is empty, and sorts them.
func sortedKeys(m Metadata, keys []string) []string {
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// nodeFields are the entries about the node itself, beginning with those that a
// person sees first.
var nodeFields = []string{"name", "os", "operating_system", "device_model", "version"}

// Fit returns the entries of m that fit into limit bytes of MessagePack: first
// the node's own fields (name, os, operating_system, device_model, version, in
// this order), then every other entry, in the order of keys, that still fits.
// It returns a new map and does not modify m.
func (m Metadata) Fit(limit int) Metadata {
	keys := sortedKeys(m, nil)
	sort.SliceStable(keys, func(i, j int) bool { return rank(keys[i]) < rank(keys[j]) })
	fit, size := make(Metadata), 0
	for _, key := range keys {
		n := msgpackStringSize(key) + msgpackStringSize(m[key])
		if msgpackMapSize(len(fit)+1)+size+n <= limit {
			fit[key] = m[key]
			size += n
		}
	}
	return fit
}

// rank returns the place of a key in the order in which [Metadata.Fit] takes
// entries.
func rank(key string) int {
	if i := slices.Index(nodeFields, key); i >= 0 {
		return i
	}
	return len(nodeFields)
}
