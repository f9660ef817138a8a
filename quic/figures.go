package quic

import (
	"context"
	"errors"

	"github.com/libp2p/go-libp2p/core/network"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
)

var (
	_ p2p.MeasuredConn = (*conn)(nil)
	_ p2p.ConnStream   = (*stream)(nil)
)

// Stats implements [p2p.MeasuredConn]. The bytes are those of UDP payloads.
func (c *conn) Stats() p2p.ConnStats {
	s := c.quic.ConnectionStats()
	stats := p2p.ConnStats{
		Bytes:       p2p.Bytes{Sent: s.BytesSent, Received: s.BytesReceived},
		PacketsSent: s.PacketsSent, PacketsReceived: s.PacketsReceived, PacketsLost: s.PacketsLost, Window: s.CongestionWindow,
	}
	if c.gone() {
		stats.End = endOf(context.Cause(c.quic.Context()))
	}
	return stats
}

// Conn implements [p2p.ConnStream].
func (s *stream) Conn() p2p.RawConn { return s.conn }

// endOf names the end of a connection.
func endOf(err error) string {
	var closed *quicgo.ApplicationError
	var silent *quicgo.IdleTimeoutError
	var reset *quicgo.StatelessResetError
	switch {
	case errors.As(err, &silent):
		return "silent"
	case errors.As(err, &reset):
		return "restarted"
	case !errors.As(err, &closed):
		return "broken"
	}
	switch network.ConnErrorCode(closed.ErrorCode) {
	case network.ConnShutdown:
		return "shutting down"
	case network.ConnGarbageCollected:
		return "idle"
	case network.ConnResourceLimitExceeded, network.ConnRateLimited:
		return "limit"
	case network.ConnGated:
		return "refused"
	case network.ConnProtocolNegotiationFailed, network.ConnProtocolViolation:
		return "protocol"
	}
	return "closed"
}
