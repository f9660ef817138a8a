package circuit

import (
	"encoding"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/sdp2p/p2p/identity"
	described "github.com/sdp2p/p2p/internal/described/relay"
	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/relay/token"
)

// plain adapts an encoder that does not fail.
func plain(f func(b []byte) []byte) messagetest.AppendFunc {
	return func(b []byte) ([]byte, error) { return f(b), nil }
}

func randomAddr(r messagetest.Random) (netip.AddrPort, described.AddrPort) {
	ip, port := r.UUID(), uint16(r.Uint32())
	if r.IntN(2) == 0 {
		ip4 := [4]byte(ip[:4])
		return netip.AddrPortFrom(netip.AddrFrom4(ip4), port), described.AddrPort{Addr: &described.IPv4{IP: ip4}, Port: port}
	}
	return netip.AddrPortFrom(netip.AddrFrom16(ip), port), described.AddrPort{Addr: &described.IPv6{IP: ip}, Port: port}
}

func asClient(v described.ClientMessage) messagetest.AppendFunc {
	return func(b []byte) ([]byte, error) { return described.AppendClientMessage(b, v) }
}

func asRelay(v described.RelayMessage) messagetest.AppendFunc {
	return func(b []byte) ([]byte, error) { return described.AppendRelayMessage(b, v) }
}

func randomClient(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
	if r.IntN(2) == 0 {
		n := r.Uint32()
		return plain(Ping(n).Append), asClient(&described.Ping{Number: n})
	}
	c := Callers{Rule: CallerRule(r.IntN(3))}
	if c.Rule != CallersListed {
		rule := []described.Rule{&described.Anyone{}, &described.Account{}}[c.Rule]
		return plain(c.Append), asClient(&described.Callers{Rule: rule})
	}
	listed := new(described.Listed)
	for range r.IntN(5) {
		id := r.UUID()
		c.Listed, listed.Prefixes = append(c.Listed, CallerPrefix(id[:8])), append(listed.Prefixes, [8]byte(id[:8]))
	}
	return plain(c.Append), asClient(&described.Callers{Rule: listed})
}

func randomRelay(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
	switch n := r.Uint32(); r.IntN(4) {
	case 0:
		return plain(Pong(n).Append), asRelay(&described.Pong{Number: n})
	case 1:
		addr, same := randomAddr(r)
		return plain(Observed(addr).Append), asRelay(&described.Observed{Addr: same})
	case 2:
		return plain(Quota(n).Append), asRelay(&described.Quota{Left: uint64(n)})
	default:
		var instead []identity.RemoteIdentity
		for range r.IntN(3) {
			instead = append(instead, r.Key())
		}
		return plain(Leave{time.Duration(n) * time.Second, instead}.Append), asRelay(&described.Leave{After: n, Instead: instead})
	}
}

// The messages have the layout that internal/described describes.
func TestDescribed(t *testing.T) {
	for name, pair := range map[string]messagetest.Pair{
		"hello": {
			Sample: func(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
				m := &described.Hello{Tokens: make([]byte, token.Size*r.IntN(MaxTokens+1))}
				r.Fill(m.Tokens)
				return plain(func(b []byte) []byte { // AppendHello takes signed tokens
					return append(proto.AppendUint16(b, uint16(len(m.Tokens))), m.Tokens...)
				}), m
			},
			Hand:      func(r io.Reader) error { _, err := ReadHello(r); return err },
			Generated: messagetest.By[described.Hello](),
		},
		"answer": {
			Sample: func(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
				addr, same := randomAddr(r)
				n := r.Uint32()
				a := Answer{token.Status(r.IntN(256)), addr, r.Uint64(), time.Duration(n) * time.Second}
				return plain(a.Append), &described.Answer{Status: uint8(a.Status), Observed: same, Left: a.Left, Again: n}
			},
			Hand:      func(r io.Reader) error { _, err := ReadAnswer(r); return err },
			Generated: messagetest.By[described.Answer](),
		},
		"client": {
			Sample: randomClient,
			Hand:   func(r io.Reader) error { _, err := ReadClient(r); return err },
			Generated: func(r io.Reader) (encoding.BinaryAppender, error) {
				d := proto.NewDecoder(r)
				return asClient(described.DecodeClientMessage(d)), d.Err()
			},
		},
		"relay": {
			Sample: randomRelay,
			Hand:   func(r io.Reader) error { _, err := ReadRelay(r); return err },
			Generated: func(r io.Reader) (encoding.BinaryAppender, error) {
				d := proto.NewDecoder(r)
				return asRelay(described.DecodeRelayMessage(d)), d.Err()
			},
		},
	} {
		t.Run(name, pair.Agree)
	}
}
