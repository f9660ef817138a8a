package quic

import (
	"fmt"
	"io"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// QUIC's reasons for the end of a stream are translated into the errors of
// package p2p.
func TestStreamErrors(t *testing.T) {
	t.Parallel()
	require.NoError(t, streamError(nil))
	require.Equal(t, io.EOF, streamError(io.EOF))
	for code, want := range map[quicgo.StreamErrorCode]p2p.ResetCode{
		quicgo.StreamErrorCode(p2p.ErrNoRoute):                      p2p.ErrNoRoute,
		quicgo.StreamErrorCode(p2p.LastAppCode):                     p2p.LastAppCode,
		quicgo.StreamErrorCode(network.StreamResourceLimitExceeded): p2p.ErrBusy,
		quicgo.StreamErrorCode(network.StreamRateLimited):           p2p.ErrBusy,
		quicgo.StreamErrorCode(network.StreamShutdown):              p2p.ErrShuttingDown,
		quicgo.StreamErrorCode(network.StreamGated):                 p2p.ErrRefused,
		1<<32 + quicgo.StreamErrorCode(p2p.ErrNoRoute):              p2p.ResetCode(network.StreamCodeOutOfRange),
	} {
		for _, remote := range []bool{false, true} {
			err := streamError(fmt.Errorf("wrapped: %w", &quicgo.StreamError{ErrorCode: code, Remote: remote}))
			require.Equal(t, &p2p.ResetError{Code: want, Remote: remote}, err, "%#x", uint64(code))
		}
	}
	for _, err := range []error{
		&quicgo.ApplicationError{ErrorCode: 1}, &quicgo.ApplicationError{Remote: true}, &quicgo.IdleTimeoutError{},
	} {
		require.ErrorIs(t, streamError(err), p2p.ErrConnectionLost)
	}
	require.ErrorContains(t, streamError(&quicgo.ApplicationError{Remote: true}), "the peer has closed it")
}
