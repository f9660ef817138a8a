package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sdp2p/p2p"
)

// pump reads frames until the lane ends. It calls accept, if not nil, when the
// peer begins to use the stream.
func (l *lane) pump(accept func()) {
	err := l.frames(accept)
	if errors.Is(err, io.EOF) && l.in.ended() == io.EOF {
		l.endedBy("idle") // its stream is over
	}
	l.endedBy(endOf(err))
	var reset *p2p.ResetError
	if errors.As(err, &reset) {
		l.mu.Lock()
		l.stopped = err
		l.mu.Unlock()
	} else {
		err = lostError(err)
	}
	l.in.end(err)
	l.in.filled()
	close(l.read)
	l.wire.TCPConn.Close() // nothing can be received or delivered any more
	l.run.gone(l)
}

// frames reads frames until the end of the lane, and returns its cause.
func (l *lane) frames(accept func()) error {
	ended := false
	for {
		k, size, err := l.header()
		if err != nil {
			return err
		}
		switch {
		case k == frameNone:
			continue
		case k == frameReset:
			return l.resetFrame()
		}
		if accept != nil && k != frameHello { // the peer learns of a stream with its first bytes
			accept()
			accept = nil
		}
		switch {
		case k == frameData && !ended:
			if err := l.fill(size); err != nil {
				return err
			}
		case k == frameEnd && !ended:
			ended = true
			l.in.end(io.EOF)
		default:
			return fmt.Errorf("%w: kind %d out of turn", errFrame, k)
		}
	}
}

// header reads the header of a frame.
func (l *lane) header() (kind, int, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(l.frame, h[:]); err != nil {
		return 0, 0, err
	}
	l.heard.Store(int64(time.Since(l.born)))
	return parseHeader(h)
}

func (l *lane) resetFrame() error {
	var b [4]byte
	if _, err := io.ReadFull(l.frame, b[:]); err != nil {
		return err
	}
	return &p2p.ResetError{Code: p2p.ResetCode(binary.LittleEndian.Uint32(b[:])), Remote: true}
}

// fill reads the bytes of a data frame as the inbox has room for them.
func (l *lane) fill(size int) error {
	for size > 0 {
		b := l.in.room()
		if b == nil {
			_, err := io.CopyN(io.Discard, l.frame, int64(size))
			return err
		}
		n, err := l.frame.Read(b[:min(len(b), size)])
		l.in.add(n)
		size -= n
		if err != nil {
			return err
		}
	}
	return nil
}
