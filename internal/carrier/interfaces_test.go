package carrier

import (
	"net"

	quicgo "github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
)

// What quic-go asks a socket for, and uses if it is there.
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
