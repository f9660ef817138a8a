package gather

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/internal/carrier"
)

var (
	here  = &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 7000}
	there = &net.UDPAddr{IP: net.IPv4(192, 0, 2, 9).To4(), Port: 7373}
)

// control returns a control message.
func control(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	binary.NativeEndian.PutUint32(b[8:], uint32(level))
	binary.NativeEndian.PutUint32(b[12:], uint32(kind))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// size returns a control message that gives the size of a message's packets.
func size(n int) []byte {
	return control(unix.IPPROTO_UDP, unix.UDP_GRO, binary.NativeEndian.AppendUint32(nil, uint32(n)))
}

// packetOf returns the n-th packet of a connection, of the given length.
func packetOf(connection byte, n uint32, length int) []byte {
	b := append(make([]byte, 0, length), 0x40, connection, connection, 0, 0, 0, 0, 0, connection)
	return binary.BigEndian.AppendUint32(b, n)[:length:length]
}

// A sent is one message that a fake system hands over.
type sent struct {
	data, oob []byte
	from      *net.UDPAddr
}

type reader func([]ipv4.Message) (int, error)

func (r reader) Read(all []ipv4.Message, _ bool) (int, error) { return r(all) }

// system hands over messages, as many at a time as the buffers hold.
func system(left *[]sent) reader {
	return func(all []ipv4.Message) (n int, err error) {
		if len(*left) == 0 {
			return 0, unix.EAGAIN
		}
		for ; n < len(all) && len(*left) > 0; n++ {
			m := (*left)[0]
			all[n].N, all[n].NN, all[n].Addr = copy(all[n].Buffers[0], m.data), copy(all[n].OOB, m.oob), m.from
			*left = (*left)[1:]
		}
		return n, nil
	}
}

// eight returns room for what quic-go reads at a time.
func eight() []ipv4.Message {
	all := make([]ipv4.Message, 8)
	for i := range all {
		all[i] = ipv4.Message{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, 128)}
	}
	return all
}

// What the system has coalesced is split into the packets that were sent, each
// with the message's address and its control messages, except the one that
// gives the packets' size.
func TestIntake(t *testing.T) {
	marks := append(control(unix.IPPROTO_IP, unix.IP_TOS, []byte{2}), control(unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, 12))...)
	var data []byte
	for n := range uint32(63) {
		data = append(data, packetOf(1, n, 13)...)
	}
	data = append(data, "the last"...)
	left := []sent{
		{data, append(size(13), marks...), here},
		{packetOf(2, 0, 13), marks, there},
		{packetOf(2, 1, 13), append(marks, size(13)...), there},
		{nil, nil, there},
	}
	in := new(intake)
	var got []sent
	for len(left) > 0 || len(in.flows) > 0 {
		all := eight()
		n, err := in.Read(all, system(&left), true)
		require.NoError(t, err)
		for _, m := range all[:n] {
			got = append(got, sent{m.Buffers[0][:m.N], m.OOB[:m.NN], m.Addr.(*net.UDPAddr)})
		}
	}
	require.Len(t, got, 66)
	of := map[string]int{}
	for _, p := range got {
		require.Equal(t, marks, p.oob)
		switch {
		case string(p.data) == "the last":
			require.Equal(t, here, p.from)
		case p.data[1] == 1:
			require.Equal(t, here, p.from)
			require.Equal(t, packetOf(1, uint32(of["1"]), 13), p.data)
			of["1"]++
		default:
			require.Equal(t, there, p.from)
			require.Equal(t, packetOf(2, uint32(of["2"]), 13), p.data)
			of["2"]++
		}
	}
	require.Equal(t, map[string]int{"1": 63, "2": 2}, of)
}

// Whatever is read, all packets of a connection are handed over in their order;
// and between two turns of a connection, each other connection that has packets
// gets a turn.
func TestIntakeTurns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var left []sent
		next := map[byte]uint32{}
		for range rapid.IntRange(1, 12).Draw(t, "messages") {
			c := rapid.ByteRange(1, 4).Draw(t, "connection")
			var data []byte
			for range rapid.IntRange(1, 64).Draw(t, "packets") {
				if rapid.IntRange(0, 9).Draw(t, "other") == 0 {
					c = rapid.ByteRange(1, 4).Draw(t, "connection")
				}
				data = append(data, packetOf(c, next[c], 13)...)
				next[c]++
			}
			left = append(left, sent{data, size(13), here})
		}
		in, handed := new(intake), map[byte]uint32{}
		waited := map[byte]int{} // packets of others since its turn
		for len(left) > 0 || len(in.flows) > 0 {
			all := eight()[:rapid.IntRange(1, 8).Draw(t, "room")]
			n, err := in.Read(all, system(&left), true)
			require.NoError(t, err)
			for _, m := range all[:n] {
				c := m.Buffers[0][1]
				require.Equal(t, packetOf(c, handed[c], 13), m.Buffers[0][:m.N])
				handed[c]++
				for _, f := range in.flows {
					waited[byte(f.id>>8)]++
				}
				waited[c] = 0
				for other, n := range waited {
					require.LessOrEqual(t, n, 3*turnPackets+len(all), "connection %d", other)
				}
			}
			if len(in.flows) == 0 {
				clear(waited)
			}
		}
		require.Equal(t, next, handed)
	})
}

// A socket makes room for more messages while more arrive, and gives it up
// later.
func TestIntakeRoom(t *testing.T) {
	in := new(intake)
	read := func(n int) {
		var left []sent
		for i := range n {
			left = append(left, sent{packetOf(1, uint32(i), 13), nil, here})
		}
		for len(left) > 0 || len(in.flows) > 0 {
			_, err := in.Read(eight(), system(&left), true)
			require.NoError(t, err)
		}
	}
	read(1)
	require.Len(t, in.messages, 1)
	var left []sent
	for range 100 {
		left = append(left, sent{append(packetOf(1, 0, 13), packetOf(1, 1, 13)...), size(13), here})
	}
	for len(left) > 0 {
		_, err := in.Read(eight(), system(&left), true)
		require.NoError(t, err)
	}
	require.Len(t, in.messages, maxMessages)
	for range narrowAfter + 2 {
		read(1)
	}
	require.Len(t, in.messages, 1)
}

// Packets that were sent together arrive one by one.
func TestCoalescedBySystem(t *testing.T) {
	t.Parallel()
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		return c
	}
	to, from := carrier.New(listen(), carrier.Config{}), listen()
	defer to.Close()
	defer from.Close()
	require.NoError(t, to.SetReadDeadline(time.Now().Add(time.Minute)))
	const packets = 40
	for range 3 {
		var data []byte
		var want, got []string
		for n := range uint32(packets) {
			data = append(data, packetOf(7, n, 13)...)
			want = append(want, fmt.Sprint(packetOf(7, n, 13)))
		}
		segments := control(unix.IPPROTO_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, 13))
		if _, _, err := from.WriteMsgUDP(data, segments, to.LocalAddr().(*net.UDPAddr)); err != nil {
			t.Skip("this system does not coalesce packets:", err)
		}
		for len(got) < packets {
			all := eight()
			n, err := to.ReadBatch(all, 0)
			require.NoError(t, err)
			for _, m := range all[:n] {
				got = append(got, fmt.Sprint(m.Buffers[0][:m.N]))
			}
		}
		require.Equal(t, want, got)
	}
}
