package block

import (
	"errors"
	"net"
)

// counted counts the outcome of a transfer if the stream, or the one that it is
// tunneled in, belongs to a node, which keeps counters.
func counted(stream net.Conn, what string, err error) {
	by := "complete"
	var incomplete *IncompleteError
	var peer *PeerError
	switch {
	case err == nil:
	case errors.As(err, &incomplete):
		by = "incomplete"
	case errors.As(err, &peer):
		by = "ended by the peer"
	case errors.Is(err, ErrBusy):
		by = "busy"
	default:
		by = "failed"
	}
	for {
		if node, ok := stream.(interface {
			Count(what, by string, n uint64)
		}); ok {
			node.Count(what, by, 1)
			return
		}
		inside, ok := stream.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		stream = inside.NetConn()
	}
}
