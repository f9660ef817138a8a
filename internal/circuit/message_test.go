package circuit

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	pb "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/pb"
	"github.com/multiformats/go-varint"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/sdp2p/p2p/identity"
)

// seeded returns the key whose seed is 32 times b.
func seeded(t testing.TB, b byte) identity.RemoteIdentity {
	id, err := identity.FromSeed(bytes.Repeat([]byte{b}, identity.SeedSize))
	require.NoError(t, err)
	return id.Remote()
}

// exactly checks that read returns a message from wire in every way in which a
// stream may deliver it, that it reads nothing beyond, and that it detects
// every cut.
func exactly[M any](t *testing.T, wire []byte, want M, read func(io.Reader) (M, error)) {
	t.Helper()
	for name, reader := range map[string]func(io.Reader) io.Reader{
		"plain":           func(r io.Reader) io.Reader { return r },
		"one byte":        iotest.OneByteReader,
		"error with data": iotest.DataErrReader,
	} {
		r := bytes.NewReader(append(bytes.Clone(wire), "behind"...))
		got, err := read(reader(r))
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
		if name != "error with data" { // this reader reads ahead by itself
			require.Equal(t, len("behind"), r.Len(), name)
		}
		for n := range wire {
			cut := io.ErrUnexpectedEOF
			if n == 0 {
				cut = io.EOF
			}
			_, err := read(reader(bytes.NewReader(wire[:n])))
			require.Equal(t, cut, err, "%s: %d of %d bytes", name, n, len(wire))
		}
	}
	_, err := read(iotest.ErrReader(io.ErrClosedPipe))
	require.Equal(t, io.ErrClosedPipe, err)
}

func delimited(t testing.TB, m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	require.NoError(t, err)
	return append(varint.ToUvarint(uint64(len(b))), b...)
}

func peerID(t testing.TB, id identity.RemoteIdentity) peer.ID {
	p, err := peer.IDFromBytes(AppendPeerID(nil, id))
	require.NoError(t, err)
	require.NoError(t, p.Validate())
	key, err := p.ExtractPublicKey()
	require.NoError(t, err)
	raw, err := key.Raw()
	require.NoError(t, err)
	want := id.Bytes()
	require.Equal(t, want[:], raw)
	return p
}

// The messages equal those of go-libp2p, byte for byte.
func TestHop(t *testing.T) {
	them := seeded(t, 1)
	theirs := &pb.Peer{Id: []byte(peerID(t, them))}
	expire := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		ours   Hop
		theirs *pb.HopMessage
	}{
		"reserve": {Hop{Type: HopReserve}, &pb.HopMessage{Type: pb.HopMessage_RESERVE.Enum()}},
		"connect": {Hop{Type: HopConnect, Peer: them}, &pb.HopMessage{Type: pb.HopMessage_CONNECT.Enum(), Peer: theirs}},
		"reserved": {
			Hop{Type: HopStatus, Expire: expire, Limit: Limit{2 * time.Minute, 1 << 17}, Status: OK},
			&pb.HopMessage{
				Type: pb.HopMessage_STATUS.Enum(), Reservation: &pb.Reservation{Expire: proto.Uint64(uint64(expire.Unix()))},
				Limit: &pb.Limit{Duration: proto.Uint32(120), Data: proto.Uint64(1 << 17)}, Status: pb.Status_OK.Enum(),
			},
		},
		"largest limit": {
			Hop{Type: HopStatus, Limit: Limit{math.MaxUint32 * time.Second, math.MaxUint64}, Status: OK},
			&pb.HopMessage{Type: pb.HopMessage_STATUS.Enum(), Limit: &pb.Limit{Duration: proto.Uint32(math.MaxUint32), Data: proto.Uint64(math.MaxUint64)}, Status: pb.Status_OK.Enum()},
		},
		"refused": {Hop{Type: HopStatus, Status: PermissionDenied}, &pb.HopMessage{Type: pb.HopMessage_STATUS.Enum(), Status: pb.Status_PERMISSION_DENIED.Enum()}},
	} {
		wire := delimited(t, c.theirs)
		require.Equal(t, wire, c.ours.Append(nil), name)
		exactly(t, wire, c.ours, ReadHop)
	}
	// Fields that are not needed are skipped.
	exactly(t, delimited(t, &pb.HopMessage{
		Type: pb.HopMessage_STATUS.Enum(), Peer: &pb.Peer{Id: theirs.Id, Addrs: [][]byte{{1, 2, 3}}},
		Reservation: &pb.Reservation{Expire: proto.Uint64(5), Addrs: [][]byte{{1}, {2}}, Voucher: []byte("voucher")},
	}), Hop{Type: HopStatus, Peer: them, Expire: time.Unix(5, 0)}, ReadHop)
}

func TestStop(t *testing.T) {
	them := seeded(t, 1)
	theirs := &pb.Peer{Id: []byte(peerID(t, them))}
	for name, c := range map[string]struct {
		ours   Stop
		theirs *pb.StopMessage
	}{
		"connect": {Stop{Type: StopConnect, Peer: them}, &pb.StopMessage{Type: pb.StopMessage_CONNECT.Enum(), Peer: theirs}},
		"connect, limited": {
			Stop{Type: StopConnect, Peer: them, Limit: Limit{time.Second, 5}},
			&pb.StopMessage{Type: pb.StopMessage_CONNECT.Enum(), Peer: theirs, Limit: &pb.Limit{Duration: proto.Uint32(1), Data: proto.Uint64(5)}},
		},
		"status": {Stop{Type: StopStatus, Status: UnexpectedMessage}, &pb.StopMessage{Type: pb.StopMessage_STATUS.Enum(), Status: pb.Status_UNEXPECTED_MESSAGE.Enum()}},
	} {
		wire := delimited(t, c.theirs)
		require.Equal(t, wire, c.ours.Append(nil), name)
		exactly(t, wire, c.ours, ReadStop)
	}
}

// The statuses are those of go-libp2p.
func TestStatus(t *testing.T) {
	for number, name := range pb.Status_name {
		if number == 0 {
			continue
		}
		s := Status(number)
		require.NotContains(t, s.String(), "status", name)
		if s == OK {
			require.NoError(t, s.Err())
		} else {
			require.ErrorIs(t, s.Err(), s)
		}
	}
	require.Equal(t, "relay: status 7", Status(7).Error())
}

// Unknown fields of every wire type are skipped, at each place, and so are
// known ones of another type.
func TestUnknownFields(t *testing.T) {
	unknown := [][]byte{
		binary.LittleEndian.AppendUint64([]byte{100<<3&0x7F | 1 | 0x80, 100 >> 4}, 5), // 100, fixed64
		binary.LittleEndian.AppendUint32([]byte{15<<3 | 5}, 5),                        // 15, fixed32
		appendVarint(nil, 99, math.MaxUint64),
		appendBytes(nil, maxFieldNum, []byte("unknown")),
		appendBytes(nil, 15, nil),
		binary.LittleEndian.AppendUint32([]byte{1<<3 | 5}, 5), // the type as fixed32
		appendBytes(nil, 1, []byte("type")),
		appendVarint(nil, 2, 7),
	}
	parts := [][]byte{appendVarint(nil, 1, uint64(HopStatus)), appendPeer(nil, 2, seeded(t, 1)), appendLimit(nil, 4, Limit{time.Second, 2}), appendStatus(nil, 5, OK)}
	want := Hop{Type: HopStatus, Peer: seeded(t, 1), Limit: Limit{time.Second, 2}, Status: OK}
	for at := range len(parts) + 1 {
		for _, u := range unknown {
			m := append(bytes.Join(parts[:at], nil), append(bytes.Clone(u), bytes.Join(parts[at:], nil)...)...)
			got, err := ReadHop(bytes.NewReader(appendDelimited(nil, m)))
			require.NoError(t, err, "%x", m)
			require.Equal(t, want, got)
			var theirs pb.HopMessage
			require.NoError(t, proto.Unmarshal(m, &theirs))
			require.Equal(t, pb.HopMessage_STATUS, theirs.GetType())
		}
	}
}

// If a field occurs twice, the last one counts; messages are merged.
func TestRepeatedFields(t *testing.T) {
	m := appendVarint(appendVarint(nil, 1, 0), 1, uint64(HopStatus))
	m = appendBytes(m, 4, appendVarint(nil, 1, 1))
	m = appendBytes(m, 4, appendVarint(nil, 2, 2))
	got, err := ReadHop(bytes.NewReader(appendDelimited(nil, m)))
	require.NoError(t, err)
	require.Equal(t, Hop{Type: HopStatus, Limit: Limit{time.Second, 2}}, got)
}

func TestMalformed(t *testing.T) {
	ok := appendVarint(nil, 1, uint64(HopReserve))
	for name, wire := range map[string][]byte{
		"too long":                      append([]byte{0x81, 0x20}, make([]byte, MaxMessage+1)...),
		"length of three bytes":         {0x80, 0x80, 0x01},
		"length of ten bytes":           bytes.Repeat([]byte{0xFF}, 10),
		"length not minimal":            {0x82, 0x00, 0x08, 0x00},
		"no type":                       appendDelimited(nil, appendStatus(nil, 5, OK)),
		"empty":                         {0},
		"unknown type":                  appendDelimited(nil, appendVarint(nil, 1, 3)),
		"a type that is 0 in a byte":    appendDelimited(nil, appendVarint(nil, 1, 256)),
		"field 0":                       appendDelimited(nil, append(ok, 0, 0)),
		"a group":                       appendDelimited(nil, append(ok, 15<<3|3, 15<<3|4)),
		"wire type 6":                   appendDelimited(nil, append(ok, 15<<3|6)),
		"wire type 7":                   appendDelimited(nil, append(ok, 15<<3|7)),
		"number too large":              appendDelimited(nil, appendVarint(ok, 1<<29, 0)),
		"key overflows":                 appendDelimited(nil, append(ok, bytes.Repeat([]byte{0xFF}, 11)...)),
		"varint overflows":              appendDelimited(nil, append(append(ok, 15<<3), bytes.Repeat([]byte{0xFF}, 11)...)),
		"fixed64 is cut":                appendDelimited(nil, append(ok, 15<<3|1, 1, 2, 3, 4, 5, 6, 7)),
		"fixed32 is cut":                appendDelimited(nil, append(ok, 15<<3|5, 1, 2, 3)),
		"bytes are cut":                 appendDelimited(nil, append(ok, 15<<3|2, 2, 1)),
		"bytes of 2^63":                 appendDelimited(nil, append(binary.AppendUvarint(append(ok, 15<<3|2), 1<<63), 1)),
		"peer is no message":            appendDelimited(nil, appendBytes(ok, 2, []byte{0x0A, 0x09})),
		"peer without a key":            appendDelimited(nil, appendBytes(ok, 2, appendBytes(nil, 1, []byte("\x12\x20"+strings.Repeat("x", 32))))),
		"peer's key is too short":       appendDelimited(nil, appendBytes(ok, 2, appendBytes(nil, 1, AppendPeerID(nil, seeded(t, 1))[:37]))),
		"peer's key is of small order":  appendDelimited(nil, appendBytes(ok, 2, appendBytes(nil, 1, append([]byte(peerIDPrefix), append([]byte{1}, make([]byte, 31)...)...)))),
		"reservation is no message":     appendDelimited(nil, appendBytes(ok, 3, []byte{0xFF})),
		"limit is no message":           appendDelimited(nil, appendBytes(ok, 4, []byte{0xFF})),
		"a length that lies about more": {0x03, 0x08},
	} {
		want := ErrMalformed
		if name == "a length that lies about more" {
			want = io.ErrUnexpectedEOF
		}
		got, err := ReadHop(bytes.NewReader(wire))
		require.ErrorIs(t, err, want, name)
		require.Zero(t, got, name)
		if name != "limit is no message" && name != "reservation is no message" { // other fields in a Stop
			_, err = ReadStop(bytes.NewReader(wire))
			require.Error(t, err, name)
		}
	}
	largest := appendBytes(ok, 15, make([]byte, MaxMessage-len(ok)-3))
	require.Len(t, largest, MaxMessage)
	_, err := ReadHop(bytes.NewReader(appendDelimited(nil, largest)))
	require.NoError(t, err)
	got, err := ReadHop(bytes.NewReader(appendDelimited(nil, appendBytes(ok, 3, appendVarint(nil, 1, math.MaxUint64)))))
	require.NoError(t, err)
	require.Equal(t, time.Unix(expireLimit, 0), got.Expire)
}

// A message that our decoder accepts is accepted by go-libp2p's as well, with
// the same result.
func FuzzHop(f *testing.F) {
	f.Add(Hop{Type: HopConnect, Peer: seeded(f, 1)}.Append(nil))
	f.Add(Hop{Type: HopStatus, Expire: time.Unix(1, 0), Limit: Limit{1, 2}, Status: OK}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		m, err := ReadHop(r)
		if err != nil {
			return
		}
		read := b[:len(b)-r.Len()]
		n, size := binary.Uvarint(read)
		require.Len(t, read, size+int(n))
		var theirs pb.HopMessage
		require.NoError(t, proto.Unmarshal(read[size:], &theirs))
		require.EqualValues(t, theirs.GetType(), m.Type)
		require.EqualValues(t, theirs.GetStatus(), m.Status)
		require.EqualValues(t, theirs.GetLimit().GetData(), m.Limit.Bytes)
		require.EqualValues(t, theirs.GetLimit().GetDuration(), m.Limit.Duration/time.Second)
		if !m.Expire.IsZero() {
			require.EqualValues(t, min(theirs.GetReservation().GetExpire(), expireLimit), m.Expire.Unix())
		}
		if !m.Peer.IsZero() {
			require.Equal(t, theirs.GetPeer().GetId(), AppendPeerID(nil, m.Peer))
		}
		again, err := ReadHop(bytes.NewReader(m.Append(nil)))
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}

func FuzzStop(f *testing.F) {
	f.Add(Stop{Type: StopConnect, Peer: seeded(f, 1), Limit: Limit{1, 2}}.Append(nil))
	f.Add(Stop{Type: StopStatus, Status: OK}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ReadStop(bytes.NewReader(b))
		if err != nil {
			return
		}
		n, size := binary.Uvarint(b)
		var theirs pb.StopMessage
		require.NoError(t, proto.Unmarshal(b[size:size+int(n)], &theirs))
		require.EqualValues(t, theirs.GetType(), m.Type)
		require.EqualValues(t, theirs.GetStatus(), m.Status)
		require.EqualValues(t, theirs.GetLimit().GetData(), m.Limit.Bytes)
		again, err := ReadStop(bytes.NewReader(m.Append(nil)))
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}
