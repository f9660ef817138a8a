package nettest

import (
	"cmp"
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
)

// These are a node's calls about streams that it holds.
type (
	holdArgs struct { // "hold": echoes a byte again and again, until it fails
		Peer  string
		Every time.Duration // 50 ms if zero
	}
	wentOn struct { // "went on", since a time
		All bool      // whether each of the streams has
		At  time.Time // when the last one did
	}
)

// A holder has streams on which a byte is echoed again and again.
type holder struct {
	console *netlab.Console
	rounds  atomic.Int64 // of all streams

	mu      sync.Mutex
	streams []*[]time.Time // when the rounds of each stream ended
}

// hold opens a stream. It reports the error that ends the stream.
func (h *holder) hold(holding context.Context, node *p2p.P2P, a holdArgs) (echoed, error) {
	id, err := identity.Parse(a.Peer)
	if err != nil {
		return echoed{}, err
	}
	peer, ok := node.Peer(id)
	if !ok {
		return echoed{}, p2p.ErrUnavailable
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := peer.Open(ctx, "hold")
	if err != nil {
		return echoed{}, err
	}
	ends := new([]time.Time)
	h.mu.Lock()
	h.streams = append(h.streams, ends)
	h.mu.Unlock()
	go func() {
		defer s.Close()
		for b := make([]byte, 1); holding.Err() == nil; time.Sleep(cmp.Or(a.Every, 50*time.Millisecond)) {
			_, err := s.Write(b)
			if err == nil {
				_, err = io.ReadFull(s, b)
			}
			if err != nil {
				tellFailed(h.console, "hold failed", a.Peer, err)
				return
			}
			h.mu.Lock()
			*ends = append(*ends, time.Now())
			h.mu.Unlock()
			h.rounds.Add(1)
		}
	}()
	return echoed{Path: s.Path()}, nil
}

// wentOn reports the first round of each stream that ended after a time.
func (h *holder) wentOn(since time.Time) wentOn {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := wentOn{All: len(h.streams) > 0}
	for _, ends := range h.streams {
		i := slices.IndexFunc(*ends, since.Before)
		if i < 0 {
			return wentOn{}
		}
		if at := (*ends)[i]; at.After(w.At) {
			w.At = at
		}
	}
	return w
}

// serveHeld is the other side of hold.
func serveHeld(console *netlab.Console, s *p2p.Stream) error {
	_, err := io.CopyBuffer(s, s, make([]byte, 4<<10))
	if err != nil {
		tellFailed(console, "serving failed", s.RemoteIdentity().String(), err)
	}
	return err
}
