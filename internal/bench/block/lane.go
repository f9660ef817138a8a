package block

import (
	"context"
	"errors"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/bench/race"
	"github.com/sdp2p/p2p/internal/bench/report"
	"github.com/sdp2p/p2p/tcp"
)

// lanes measures one large file over a lane, which is a connection of TCP,
// beside QUIC.
func lanes(ctx context.Context, b *bench) error {
	p, err := newPair(ctx, b.dir, 0)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.addLanes(ctx); err != nil {
		return err
	}
	contenders := []race.Contender{
		p.contender(ctx, "block over a lane", blocks, p.overLane(blocks), b.file),
		p.contender(ctx, "block over QUIC", blocks, p.bare(blocks), b.file),
	}
	wall, cpu, err := run(ctx, b.rounds, contenders...)
	if err != nil {
		return err
	}
	f := report.Figure{What: "a file of " + sized(b.large) + ", over a lane", Unit: "s", Digits: 2, Peer: contenders[1].Name}
	f.Ours, f.Theirs = wall[0], wall[1]
	b.table.Add(f)
	f.What = "… CPU for 1 GiB"
	perGiB := float64(1<<30) / float64(b.large)
	f.Ours, f.Theirs = cpu[0].Scaled(perGiB), cpu[1].Scaled(perGiB)
	b.table.Add(f)
	return p.empty()
}

// addLanes has both nodes take lanes, and waits until the sender knows where.
func (p *pair) addLanes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, n := range []*node{p.receiver, p.sender} {
		if err := n.Register(ctx, tcp.New(tcp.Config{})); err != nil {
			return err
		}
	}
	for {
		if port, _ := p.peer.Entry(p2p.KeyLane); port != "" {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("the receiver names no port for lanes")
		}
	}
}

// overLane opens streams of much to the peer, and fails if they are none of
// lanes.
func (p *pair) overLane(w way) opener {
	return func(ctx context.Context) (stream, error) {
		s, err := p.peer.Open(p2p.Bulk(ctx), w.route)
		if err != nil {
			return nil, err
		}
		if local, _ := s.Endpoints(); local.Network() != "tcp" {
			s.Reset(p2p.ErrCanceled)
			return nil, errors.New("the stream is no lane")
		}
		return s, nil
	}
}
