// Protogen writes the encoders and decoders of messages, in the encoding of
// package proto (github.com/sdp2p/p2p/proto), and their tests.
//
// An app adds it as a tool. That adds this module, which needs only the
// standard library, to its go.mod; at run time only package proto is used.
//
//	go get -tool github.com/sdp2p/p2p/proto/protogen
//
// A message is a struct below a directive. One line in each package runs the
// tool:
//
//	//go:generate go tool protogen
//
//	// A Clip is text that was copied.
//	//
//	//proto:message
//	type Clip struct {
//		ID   uuid.UUID
//		At   time.Time `proto:"time=ms"`
//		Text string    `proto:"max=4096"`
//		Tags []string  `proto:"count=u8,max=10;max=64"`
//		From *Device   // may be missing
//	}
//
// The file proto_gen.go then contains AppendBinary, with the layout in its
// comment, DecodeFrom, and Size (BinarySize if the struct has a field Size):
//
//	b, err := clip.AppendBinary(nil)
//	err = clip.DecodeFrom(proto.NewDecoder(stream))
//
// They look as if written by hand. Both sides check every limit and every rule,
// with errors that wrap proto.ErrInvalid, and a value has exactly one encoding.
// The file imports only proto, identity and the standard library. For each
// message, proto_gen_test.go tests that random values survive a round trip
// through several kinds of readers, without reading further bytes, that
// truncation is noticed, and that both sides refuse values over a limit; it
// also has a fuzz target.
//
// The tool reports mistakes with their line: a string, bytes or a list without
// a limit, a message that contains itself, a type without an encoding, two
// equal discriminators, elements that take no bytes, an option that has no
// meaning in its place.
//
// # Types
//
//	Go                          bytes                          options
//	uint8 … uint64, int8 …      1, 2, 4, 8, little-endian      min, max
//	float32, float64            4, 8                           –
//	bool                        1                              –
//	string                      a length and UTF-8             max, min, len
//	[]byte                      a length and bytes             max, min, len
//	[16]byte, uuid.UUID         16                             –
//	[N]byte                     N                              –
//	identity.RemoteIdentity     32                             zero
//	time.Time                   8 or 12                        time
//	a uint8 with constants      1                              bits, any
//	[]T                         a count and the elements       count, max, min
//	[N]T                        N elements                     –
//	*T, proto.Optional[T]       0, or 1 and the value          those of T
//	a message of the package    its fields                     –
//	a union of the package      a discriminator and a message  optional
//	another type with           the bytes it appends           –
//	AppendBinary and DecodeFrom
//
// A named type is encoded like its underlying type. Maps, int, uint, functions
// and channels are not supported. Elements of a list that come from another
// package must be UUIDs or messages.
//
// # Options
//
// Options are in the tag proto, separated by commas. After a semicolon follow
// those for the elements of a list or an array:
// `proto:"count=u8,max=10;max=64"` are up to ten strings of up to 64 bytes. A
// number is any constant expression that the file could have: 4096, 4<<10,
// MaxText.
//
//	max=N         the largest number; the most bytes or elements. Required for
//	              strings, bytes and lists
//	min=N         the smallest number; the fewest bytes, or elements
//	len=u8        the size of the length of a string (u16, if this is missing) or of
//	              bytes (u32): u8, u16, u32
//	count=u8      the size of the count of a list: u8, u16, u32. Required
//	time=ms       a time as milliseconds since 1970, 8 bytes, signed. Fractions of
//	              them, and times 292 million years away, are lost
//	time=s+ns     a time as seconds since 1970, 8 bytes, signed, and nanoseconds, 4
//	zero          a key may be the zero RemoteIdentity, which is sent as zeros
//	bits          the constants are bits, and any of them may be set
//	any           any value, not only those with a constant; min and max apply
//	optional      a union may be nil; a byte 0 or 1 precedes it
//	validate=M    the type has a method M() error, which must return nil. Its error
//	              is wrapped in proto.ErrInvalid
//	const=N       the field, whose name is _, is a number that is always N
//	since=N       version N of an extensible message added the field
//	retired       the field, whose name is _, is no longer used: see below
//	-             (alone) the field is not sent
//
// An enum is a type uint8 with constants, which are its accepted values. A
// constant that is not a value is marked //proto:omit.
//
// A comment beside a field appears in the layout.
//
// # Directives
//
// Options of //proto:message, separated by spaces or commas:
//
//	validate=M    the message has a method M() error, which must return nil before
//	              the message is appended, and after it was read
//	sample=F      a function F(*rand.Rand) *T of the package or its tests makes the
//	              values that tests use, if random ones are not valid
//	extensible    see below
//	max=N         the most bytes of an extensible message; required
//
// A union is an interface with an unexported method, so that no other package
// can implement it. Its cases are pointers to messages; the method is
// generated. A retired number must not be used again.
//
//	//proto:union
//	//proto:case 1 Found
//	//proto:case 2 Refused
//	//proto:case 3 retired
//	type Reply interface{ isReply() }
//
// The tool generates AppendReply, DecodeReply and SizeReply, exported if Reply
// is. DecodeReply leaves its error with the Decoder, as the other functions for
// fields do.
//
// # Messages that grow
//
// An extensible message is preceded by its length, a u32. A receiver that knows
// fewer fields than the sender skips the others; to one that knows more, the
// missing ones are zero. So a new field comes last, is tagged with the version
// that adds it, and must be allowed to be zero: an enum without a constant 0
// has to be optional.
//
//	//proto:message extensible max=4096
//	type Clip struct {
//		Text  string `proto:"max=1024"`
//		Color *Color `proto:"since=2"`
//		_     uint16 `proto:"since=2,retired"` // was the width
//		From  string `proto:"max=64,since=3"`
//	}
//
// A field that is no longer needed stays in its place, retired: it is sent as
// zero and ignored by receivers. The generated file records the fields. A later
// run fails if a recorded field has disappeared, changed its form or its place,
// or is used again after it was retired; -break allows that, for a message that
// is not in use yet. Limits can be raised, but older receivers refuse values
// over their own; they also refuse new constants of an enum and new cases of a
// union. A message that is not extensible must not change.
//
// An extensible message does not always encode to the bytes that it was decoded
// from: a receiver does not send the fields that it has skipped or ignored. The
// same holds for a retired field of any message.
//
// # Flags
//
//	-dir D     the package's directory, instead of the current one
//	-tests=false  writes no tests
//	-check     writes nothing, and fails if a file is not what would be written
//	-break     lets extensible messages differ from those generated before
//	-doc FILE  instead writes the layout of each message or union Name into a
//	           Markdown file, between the lines <!-- protogen Name --> and
//	           <!-- /protogen -->; the name is package.Name if the file covers
//	           several packages
package main
