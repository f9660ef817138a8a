package quic

import (
	"encoding"
	"io"
	"net/netip"
	"testing"

	"github.com/sdp2p/p2p/internal/described/node"
	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/proto"
)

// The messages have the layout that internal/described describes.
func TestDescribed(t *testing.T) {
	asMoved := func(v node.Moved) messagetest.AppendFunc {
		return func(b []byte) ([]byte, error) { return node.AppendMoved(b, v) }
	}
	messagetest.Pair{
		Sample: func(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
			a, b := new(moved), new(node.Addresses)
			for range r.IntN(maxMoved + 1) {
				ip, port := r.UUID(), uint16(r.Uint32())
				addr, same := netip.AddrFrom16(ip), node.Addr(&node.IPv6{IP: ip})
				if r.IntN(2) == 0 {
					ip4 := [4]byte(ip[:4])
					addr, same = netip.AddrFrom4(ip4), &node.IPv4{IP: ip4}
				}
				a.addrs = append(a.addrs, netip.AddrPortFrom(addr, port))
				b.Addrs = append(b.Addrs, node.AddrPort{Addr: same, Port: port})
			}
			return a, asMoved(b)
		},
		Hand: func(r io.Reader) error { return new(moved).DecodeFrom(proto.NewDecoder(r)) },
		Generated: func(r io.Reader) (encoding.BinaryAppender, error) {
			d := proto.NewDecoder(r)
			return asMoved(node.DecodeMoved(d)), d.Err()
		},
	}.Agree(t)
}
