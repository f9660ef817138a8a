package tcp

import (
	"errors"
	"fmt"
)

// protocol is the name of the protocol in the TLS handshake (RFC 7301).
const protocol = "sdp2p-lane/1"

// A kind is the type of a frame.
type kind uint8

const (
	frameData  kind = iota // bytes of the stream, at least one
	frameEnd               // the end of this direction
	frameReset             // a code: both directions end; after frameEnd, the sender no longer reads
	frameNone              // empty: the sender is alive
	frameHello             // purpose and metadata: the first frame of each side
)

const (
	headerSize = 4
	maxData    = 256 << 10
	maxHello   = 1 + 8<<10 + 2 // a purpose, and metadata
)

// errFrame is wrapped by errors about frames that break the protocol.
var errFrame = errors.New("tcp: not a frame of a lane")

// appendHeader appends the header of a frame: its kind, and the length of its
// payload in 24 bits.
func appendHeader(b []byte, k kind, size int) []byte {
	return append(b, byte(k), byte(size), byte(size>>8), byte(size>>16))
}

// parseHeader parses a header, and refuses lengths that a frame of its kind
// cannot have.
func parseHeader(h [headerSize]byte) (k kind, size int, err error) {
	k, size = kind(h[0]), int(h[1])|int(h[2])<<8|int(h[3])<<16
	ok := false
	switch k {
	case frameData:
		ok = 0 < size && size <= maxData
	case frameEnd, frameNone:
		ok = size == 0
	case frameReset:
		ok = size == 4
	case frameHello:
		ok = 0 < size && size <= maxHello
	}
	if !ok {
		return 0, 0, fmt.Errorf("%w: kind %d with %d bytes", errFrame, k, size)
	}
	return k, size, nil
}
