package tcp

import (
	"errors"
	"io"
	"net"

	"github.com/sdp2p/p2p"
)

// Stats implements [p2p.MeasuredConn]. Bytes are those of all lanes there were,
// as TCP carries them, with TLS.
func (b *bond) Stats() p2p.ConnStats {
	b.run.mu.Lock()
	defer b.run.mu.Unlock()
	s := p2p.ConnStats{Bytes: b.past}
	for l := range b.lanes {
		s.Sent += l.wire.written.Load()
		s.Received += l.wire.taken.Load()
	}
	if len(b.lanes) == 0 {
		s.End = b.end
	}
	return s
}

// endedBy notes why the lane has ended, in a word or two. The first reason
// counts.
func (l *lane) endedBy(why string) {
	if l.run.ctx.Err() != nil {
		why = "shutting down"
	}
	l.why.CompareAndSwap(nil, &why)
}

// endOf names the end of a lane, by the same names as package quic.
func endOf(err error) string {
	var reset *p2p.ResetError
	var silent net.Error
	switch {
	case errors.As(err, &reset):
		return "idle" // its stream is over
	case errors.Is(err, errFrame):
		return "protocol"
	case errors.As(err, &silent) && silent.Timeout():
		return "silent"
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return "closed"
	}
	return "broken"
}
