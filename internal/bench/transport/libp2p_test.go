package transport

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// A host that claims to be another one is not served.
func TestAncestorRefuses(t *testing.T) {
	a, err := newHost(false)
	require.NoError(t, err)
	defer a.Close()
	b, err := newHost(false)
	require.NoError(t, err)
	defer b.Close()
	here, there := net.Pipe()
	go introduce(here, a.ID())
	require.ErrorIs(t, welcome(there, b.ID()), errPeer)
	here.Close()
}
