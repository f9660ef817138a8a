package carrier

import (
	"net"

	quicgo "github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
)

// whole has the methods that quic-go looks for in a socket, and uses if they
// are there.
type whole interface {
	quicgo.OOBCapablePacketConn
	SetWriteBuffer(bytes int) error
	ReadBatch(all []ipv4.Message, flags int) (int, error)
}

var (
	_ whole          = (*Socket)(nil)
	_ whole          = (*Way)(nil)
	_ net.PacketConn = udp{}
)
