package circuit

import (
	"bytes"
	"errors"
	"testing"

	pb "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/pb"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// A reason is a field that go-libp2p skips, and it reads like any other.
func TestReason(t *testing.T) {
	theirs := &pb.HopMessage{Type: pb.HopMessage_STATUS.Enum(), Status: pb.Status_RESOURCE_LIMIT_EXCEEDED.Enum()}
	for reason := QuotaUsedUp; reason.known(); reason++ {
		ours := Hop{Type: HopStatus, Status: ResourceLimit, Reason: reason}
		body, err := proto.Marshal(theirs)
		require.NoError(t, err)
		body = protowire.AppendVarint(protowire.AppendTag(body, 16, protowire.VarintType), uint64(reason))
		wire := appendDelimited(nil, body)
		require.Equal(t, wire, ours.Append(nil))
		exactly(t, wire, ours, ReadHop)
		var read pb.HopMessage
		require.NoError(t, proto.Unmarshal(body, &read))
		require.Equal(t, pb.Status_RESOURCE_LIMIT_EXCEEDED, read.GetStatus())
	}
}

// Each reason is an error beside that of the status, with a name of its own for
// counters.
func TestReasonErrors(t *testing.T) {
	causes := map[string]Reason{}
	for reason := QuotaUsedUp; reason.known(); reason++ {
		err := Hop{Type: HopStatus, Status: ResourceLimit, Reason: reason}.Err()
		require.ErrorIs(t, err, reason)
		require.ErrorIs(t, err, ResourceLimit)
		require.Equal(t, reason.Error()+": relay: over a limit", err.Error())
		var named interface{ Cause() string }
		require.ErrorAs(t, err, &named)
		require.Equal(t, reason.Cause(), named.Cause())
		require.NotContains(t, causes, reason.Cause())
		require.NotEqual(t, "relay: protocol", reason.Cause())
		require.NotEmpty(t, reason.String())
		causes[reason.Cause()] = reason
	}
	require.Len(t, causes, int(NoRight), "one of each")
	require.NoError(t, Hop{Type: HopStatus, Status: OK, Reason: QuotaUsedUp}.Err())
	require.Equal(t, ResourceLimit, Hop{Type: HopStatus, Status: ResourceLimit}.Err())
	require.Empty(t, NoReason.String())
}

// A later relay may have reasons that are not known here: its status counts.
func TestUnknownReason(t *testing.T) {
	for _, number := range []uint64{100, 255, 256, 1 << 40} {
		body := appendVarint(appendVarint(appendVarint(nil, 1, uint64(HopStatus)), 5, uint64(ResourceLimit)), 16, number)
		m, err := ReadHop(bytes.NewReader(appendDelimited(nil, body)))
		require.NoError(t, err)
		require.Equal(t, ResourceLimit, m.Err(), number)
		require.False(t, errors.Is(m.Err(), QuotaUsedUp))
	}
	require.Equal(t, "relay: reason 100", Reason(100).Error())
	require.Equal(t, "relay: protocol", Reason(100).Cause())
}
