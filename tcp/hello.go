package tcp

import (
	"bytes"
	"fmt"
	"io"

	"github.com/sdp2p/p2p/proto"
)

// A purpose says what a lane is for.
type purpose uint8

const (
	forStream purpose = iota // one stream
	forPeer                  // kept, so that the peer stays connected
)

// A hello is the first frame of each side: the dialer's says what the lane is
// for, and the other side's, with the same purpose, accepts it. On a lane that
// is kept, further hellos carry changed metadata.
type hello struct {
	purpose  purpose
	metadata map[string]string
}

// encode returns the payload of the frame: u8 purpose, and metadata encoded as
// [proto.Metadata].
func (h hello) encode() ([]byte, error) {
	return proto.Metadata(h.metadata).AppendBinary([]byte{byte(h.purpose)})
}

func decodeHello(b []byte) (h hello, err error) {
	if len(b) == 0 || b[0] > byte(forPeer) {
		return h, fmt.Errorf("%w: a hello with an unknown purpose", errFrame)
	}
	r := bytes.NewReader(b[1:])
	var m proto.Metadata
	if err := m.DecodeFrom(proto.NewDecoder(r)); err != nil {
		return h, err
	}
	if r.Len() > 0 {
		return h, fmt.Errorf("%w: %d bytes after a hello", errFrame, r.Len())
	}
	return hello{purpose: purpose(b[0]), metadata: m}, nil
}

// say sends a hello to the peer.
func (l *lane) say(h hello) error {
	b, err := h.encode()
	if err != nil {
		return err
	}
	if err := l.seal(frameHello, b); err != nil {
		return err
	}
	return l.wire.flush()
}

// hear reads the other side's hello. A reset instead means that the peer
// refused the lane.
func (l *lane) hear() (hello, error) {
	k, size, err := l.header()
	switch {
	case err != nil:
		return hello{}, err
	case k == frameReset:
		return hello{}, l.resetFrame()
	case k != frameHello:
		return hello{}, fmt.Errorf("%w: kind %d before the hello", errFrame, k)
	}
	return l.readHello(size)
}

func (l *lane) readHello(size int) (hello, error) {
	b := make([]byte, size)
	if _, err := io.ReadFull(l.frame, b); err != nil {
		return hello{}, err
	}
	return decodeHello(b)
}
