package block

import (
	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/tunnel"
)

// The journal of a transfer is found again by the name of its sender, so the
// streams of this SDK must be those that from recognizes.
var (
	_ tunnelConn = (*tunnel.Conn)(nil)
	_ nodeConn   = (*p2p.Stream)(nil)
)
