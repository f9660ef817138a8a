// Package proto encodes and decodes what the SDK writes on a stream: by hand, field by field, with every limit checked.
//
// Encoding appends to a buffer of yours, decoding reads from a stream, and this is all that most programs need:
//
//	b, err := msg.AppendBinary(buf[:0])
//	_, err = stream.Write(b)
//
//	d := proto.NewDecoder(stream)
//	err = msg.DecodeFrom(d)
//
// The functions may be called by any number of goroutines at once; a message, while one writes to it, by one.
//
// A message of your own validates, then appends, and mirrors that with a [Decoder], whose error sticks so that it is
// looked at once, at the end. The example of the package is one, whole.
//
// # Encoding
//
// Integers are little-endian. A message is its fields, one behind the other: no tags, no padding, no length of the whole.
//
//	Go                                          bytes
//	uint8, uint16, uint32, uint64, float64      1, 2, 4, 8, 8
//	bool                                        1: 0 or 1
//	UUID                                        16
//	string                                      u16 length + UTF-8
//	[]byte                                      u32 length + bytes
//	list                                        u8, u16 or u32 count + the elements
//	enum                                        u8 discriminator
//	optional                                    u8 0 or 1, + the value if 1
//
// Both sides refuse everything that the table does not hold: invalid UTF-8, a
// bool that is neither 0 nor 1, an unknown discriminator, a length or a count
// over the limit that the message sets. So a value has one encoding, and the
// bytes of an accepted message are those that it encodes to. Only the entries of
// [Metadata] may arrive in another order than they are sent in.
//
// The encodings of string, []byte and UUID are those of Spacedrive's crate
// sd_p2p_proto.
//
// # Messages
//
//	Metadata  /sdp2p/2/meta: what a node says about itself
//	Route     /sdp2p/2: the route that a stream is for
package proto
