package proto_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/proto"
)

func TestOptional(t *testing.T) {
	v, ok := proto.Some(7).Get()
	require.Equal(t, 7, v)
	require.True(t, ok)
	_, ok = proto.Optional[int]{}.Get()
	require.False(t, ok)
}
