package transport

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"
)

// Neither side of quic-go accepts a wrong peer.
func TestRawRefuses(t *testing.T) {
	l, err := newRawListener()
	require.NoError(t, err)
	defer l.close()
	ctx, cancel := within(t.Context())
	defer cancel()
	stranger, err := newCertificate()
	require.NoError(t, err)
	for _, c := range []*tls.Config{tlsConfig(stranger, l.own), tlsConfig(l.client, stranger)} {
		d, err := l.dialer(ctx, l.addr())
		require.NoError(t, err)
		defer d.close()
		require.NoError(t, exchange(ctx, d))
		d, err = l.dialer(ctx, l.addr())
		require.NoError(t, err)
		defer d.close()
		d.(*rawDialer).tls = c
		require.Error(t, exchange(ctx, d))
	}
}
