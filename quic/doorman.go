package quic

import (
	"net/netip"

	"golang.org/x/net/ipv4"

	"github.com/sdp2p/p2p/internal/carrier"
)

// A doorman is the endpoint's socket as quic-go reads it. quic-go answers each
// packet that begins a handshake, if only to refuse it: from an address that
// sends thousands, that is most of what they cost. The doorman hides these from
// it.
type doorman struct {
	*carrier.Socket
	outOfPace func(netip.Addr) bool
}

// ReadBatch reads packets. quic-go calls it on systems that read several at
// once; on others it calls ReadMsgUDP, whose packets are not filtered.
func (d *doorman) ReadBatch(all []ipv4.Message, flags int) (int, error) {
	n, err := d.Socket.ReadBatch(all, flags)
	if err != nil {
		return n, err
	}
	for i := range all[:n] {
		m := &all[i]
		if !begins(m.Buffers[0][:m.N]) {
			continue
		}
		if ip, ok := ipOf(m.Addr); ok && d.outOfPace(ip) {
			m.N = 0 // not a QUIC packet; the messages keep their places
		}
	}
	return n, nil
}

// begins reports whether a packet is an Initial of QUIC version 1 (RFC 9000
// §17.2.2), the only kind that begins a handshake.
func begins(packet []byte) bool {
	return len(packet) > 4 && packet[0]&0xF0 == 0xC0 && [4]byte(packet[1:5]) == [4]byte{0, 0, 0, 1}
}
