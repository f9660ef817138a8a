package call

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// Both contenders do the work that is measured.
func TestCalls(t *testing.T) {
	p, err := newPair(t.Context())
	require.NoError(t, err)
	defer p.close()
	for name, do := range map[string]func(context.Context) error{
		"do": p.do, "receive": p.receive, "gRPC do": p.grpc.do, "gRPC receive": p.grpc.receive,
	} {
		require.NoError(t, atOnce(t.Context(), 5, do), name)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Error(t, do(ctx), name)
	}
}
