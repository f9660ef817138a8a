package circuit

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// MaxPacket is the size in bytes of the largest packet that a frame holds.
	MaxPacket = 1500
	// FrameHeader is the size in bytes of a frame's header.
	FrameHeader = 2
)

// AppendFrame appends a frame: a big-endian u16 length and the packet. It panics
// if the packet is empty or longer than [MaxPacket].
func AppendFrame(b, packet []byte) []byte {
	if len(packet) == 0 || len(packet) > MaxPacket {
		panic(fmt.Sprintf("circuit: a packet of %d bytes", len(packet)))
	}
	return append(binary.BigEndian.AppendUint16(b, uint16(len(packet))), packet...)
}

// ReadFrame reads a frame's packet into b, which has room for [MaxPacket] bytes,
// and returns its size.
func ReadFrame(r io.Reader, b []byte) (int, error) {
	var header [FrameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(header[:]))
	if n == 0 || n > MaxPacket {
		return 0, fmt.Errorf("%w: a frame of %d bytes", ErrMalformed, n)
	}
	if _, err := io.ReadFull(r, b[:n]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	return n, nil
}
