package quic

import (
	"github.com/sdp2p/p2p/internal/multistream"
	"github.com/sdp2p/p2p/internal/v1/intro"
)

// Protocols of streams.
const (
	protocolMeta     = "/sdp2p/2/meta"
	protocolMove     = "/sdp2p/2/move"
	protocolStream   = "/sdp2p/2"
	protocolAncestor = intro.Protocol
)

// streamQuestion is sent on every stream.
var streamQuestion = multistream.Question(protocolStream)
