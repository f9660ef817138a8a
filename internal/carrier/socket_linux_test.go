package carrier

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The system tells whether there is a route.
func TestRoute(t *testing.T) {
	t.Parallel()
	from, err := Route(addrPort("127.0.0.1:7373"))
	require.NoError(t, err)
	require.Equal(t, addrPort("127.0.0.1:0").Addr(), from)
	_, err = Route(addrPort("[fe80::1%nosuchinterface]:7373"))
	require.Error(t, err)
}
