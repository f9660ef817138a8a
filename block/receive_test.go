package block

import (
	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/tunnel"
)

// The journal of a transfer is found again by its sender, so that from must
// recognize the streams of this SDK.
var (
	_ tunnelConn = (*tunnel.Conn)(nil)
	_ nodeConn   = (*p2p.Stream)(nil)
)
