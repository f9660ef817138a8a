package pairing

import (
	"crypto/sha256"

	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	described "github.com/sdp2p/p2p/internal/described/pairing"
	"github.com/sdp2p/p2p/internal/hidden"
	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
)

// followed appends a generated message, and the part after it that is not
// described.
func followed(m, by messagetest.Appender) messagetest.AppendFunc {
	return func(b []byte) ([]byte, error) {
		b, err := m.AppendBinary(b)
		if err != nil {
			return nil, err
		}
		return by.AppendBinary(b)
	}
}

// read reads a generated message, and the part after it.
func read[T any, M interface {
	*T
	decoder
}, R any, N interface {
	*R
	decoder
}](r io.Reader) (messagetest.Appender, error) {
	m, rest, d := M(new(T)), N(new(R)), proto.NewDecoder(r)
	if err := m.DecodeFrom(d); err != nil {
		return nil, err
	}
	return followed(m, rest), rest.DecodeFrom(d)
}

// by reads a message with the code written by hand.
func by[T any, M interface {
	*T
	decoder
}](r io.Reader) error {
	return M(new(T)).DecodeFrom(proto.NewDecoder(r))
}

func randomStatements(r messagetest.Random) (all roster.Statements) {
	for range r.IntN(3) {
		all = append(all, roster.Statement{Kind: roster.KindAdd, Signer: r.Key(), Counter: r.Uint32(), Body: r.Bytes(20)})
	}
	return all
}

// The messages have the layout that internal/described describes.
func TestDescribed(t *testing.T) {
	for name, pair := range map[string]messagetest.Pair{
		"hello": {Sample: func(r messagetest.Random) (hand, generated messagetest.Appender) {
			name := r.Text(maxName)
			return &hello{name}, &described.Hello{Name: name}
		}, Hand: by[hello], Generated: messagetest.By[described.Hello]()},
		"reply": {Sample: func(r messagetest.Random) (hand, generated messagetest.Appender) {
			m := &reply{status(r.IntN(5)), r.Text(maxName)}
			return m, &described.Reply{Status: described.Status(m.status), Name: m.name}
		}, Hand: by[reply], Generated: messagetest.By[described.Reply]()},
		"welcome": {Sample: func(r messagetest.Random) (hand, generated messagetest.Appender) {
			secret := r.Hash()
			m := &welcome{library.Record{
				ID: uuid.UUID(r.UUID()), Name: r.Text(maxName), Founder: r.Key(), Secret: library.SecretOf(secret), Statements: randomStatements(r),
			}, library.RoleMember + library.Role(r.IntN(2))}
			return m, followed(&described.Welcome{
				Library: m.ID, Name: m.Name, Founder: m.Founder, Role: described.Role(m.role), Secret: secret,
			}, m.Statements)
		}, Hand: by[welcome], Generated: read[described.Welcome, *described.Welcome, roster.Statements]},
		"first": {Sample: func(r messagetest.Random) (hand, generated messagetest.Appender) {
			m := &first{roster.Statement{Kind: roster.KindMove, Signer: r.Key(), Counter: 1, Body: r.Bytes(9)}}
			return m, followed(&described.OK{}, m.Statement)
		}, Hand: by[first], Generated: read[described.OK, *described.OK, roster.Statement]},
		"admission": {Sample: func(r messagetest.Random) (hand, generated messagetest.Appender) {
			m := &admission{randomStatements(r)}
			return m, followed(&described.OK{}, m.Statements)
		}, Hand: by[admission], Generated: read[described.OK, *described.OK, roster.Statements]},
	} {
		t.Run(name, pair.Agree)
	}
}

func randomAddr(r messagetest.Random) (netip.AddrPort, described.AddrPort) {
	ip, port := r.UUID(), uint16(r.Uint32())
	if r.IntN(2) == 0 {
		ip4 := [4]byte(ip[:4])
		return netip.AddrPortFrom(netip.AddrFrom4(ip4), port), described.AddrPort{Addr: &described.IPv4{IP: ip4}, Port: port}
	}
	return netip.AddrPortFrom(netip.AddrFrom16(ip), port), described.AddrPort{Addr: &described.IPv6{IP: ip}, Port: port}
}

// A ticket consists of its head, fields, and a checksum.
func TestDescribedTicket(t *testing.T) {
	messagetest.Pair{
		Sample: func(r messagetest.Random) (hand, generated messagetest.Appender) {
			minutes := r.Uint32()
			a := Ticket{Node: r.Key(), Expiry: time.Unix(int64(minutes)*60, 0), App: r.Text(255), Library: r.UUID(), Lane: uint16(r.Uint32())}
			secret := r.UUID()
			a.secret = hidden.Of(secret)
			b := &described.Ticket{Node: a.Node, Secret: secret, Expiry: minutes}
			for range r.IntN(MaxAddrs + 1) {
				addr, same := randomAddr(r)
				a.Addrs, b.Addrs = append(a.Addrs, addr), append(b.Addrs, same)
			}
			return a, messagetest.AppendFunc(func(buf []byte) ([]byte, error) { return appendTicket(buf, b, a) })
		},
	}.Agree(t)
}

// appendTicket appends a ticket with generated code.
func appendTicket(buf []byte, head *described.Ticket, fields Ticket) ([]byte, error) {
	b, err := head.AppendBinary(nil)
	field := func(kind uint8, value []byte) {
		if err == nil && len(value) > 0 {
			b, err = (&described.Field{Kind: kind, Value: value}).AppendBinary(b)
		}
	}
	field(fieldApp, []byte(fields.App))
	field(fieldLibrary, fields.Library[:])
	if fields.Lane != 0 {
		field(fieldLane, proto.AppendUint16(nil, fields.Lane))
	}
	sum := sha256.Sum256(b)
	return append(append(buf, b...), sum[:sumSize]...), err
}

// The generated code reads a ticket's head like the code written by hand.
func TestDescribedTicketHead(t *testing.T) {
	head := &described.Ticket{Node: key(t), Secret: [16]byte{1}, Expiry: 7, Addrs: []described.AddrPort{{Addr: &described.IPv4{IP: [4]byte{1, 2, 3, 4}}, Port: 5}}}
	b, err := head.AppendBinary(nil)
	require.NoError(t, err)
	got, err := decodeTicket(b)
	require.NoError(t, err)
	require.Equal(t, "1.2.3.4:5", got.Addrs[0].String())
	require.Equal(t, time.Unix(7*60, 0), got.Expiry)
	for n := range b {
		_, err := decodeTicket(b[:n])
		require.Error(t, err)
	}
}
