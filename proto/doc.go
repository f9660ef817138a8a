// Package proto encodes and decodes the SDK's messages on streams: by hand,
// field by field, with every limit checked.
//
// Encoding appends to a buffer, decoding reads from a stream, and most programs
// need no more than this:
//
//	b, err := msg.AppendBinary(buf[:0])
//	_, err = stream.Write(b)
//
//	d := proto.NewDecoder(stream)
//	err = msg.DecodeFrom(d)
//
// The functions may be called concurrently. A message must not be used
// concurrently while one goroutine writes to it.
//
// A message of your own validates its fields, then appends them, and mirrors
// that with a [Decoder], whose error is sticky and needs checking only once, at
// the end. The package example shows a complete one. The tool proto/protogen
// generates such messages, and their tests, from structs.
//
// # Encoding
//
// Integers are little-endian. A message is the sequence of its fields, without
// tags, padding, or a total length.
//
//	Go                                          bytes
//	uint8, uint16, uint32, uint64, float64      1, 2, 4, 8, 8
//	bool                                        1: 0 or 1
//	UUID                                        16
//	string                                      u16 length + UTF-8; u8 or u32, if the message says so
//	[]byte                                      u32 length + bytes; u8 or u16, likewise
//	list                                        u8, u16 or u32 count + the elements
//	enum                                        u8 discriminator
//	optional                                    u8 0 or 1, + the value if 1
//
// A part of a message, or a whole message, that may grow is preceded by its
// length, a u32: see [Decoder.Begin].
//
// Both sides refuse everything that is not in the table: invalid UTF-8, a bool
// that is neither 0 nor 1, an unknown discriminator, a length or a count over
// the limit of the message. So a value has exactly one encoding, and an
// accepted message encodes to the bytes that it was decoded from. The only
// exception is that the entries of [Metadata] may arrive in any order.
//
// The encodings of string, []byte and UUID are those of Spacedrive's crate
// sd_p2p_proto.
//
// # Messages
//
//	Metadata  /sdp2p/2/meta: what a node says about itself
//	Route     /sdp2p/2: the route that a stream is for
package proto
