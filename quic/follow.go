package quic

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
)

// follow keeps a connection alive after the network has changed or the peer has
// become silent: it moves the connection unless the peer is heard on the
// present path. It tries for as long as the connection can survive silence.
//
// Probing a path in vain costs one of the few connection IDs that the peer has
// given, and without an answer no others come. So a path that is not known to
// lead to the peer is probed only after this node's own address has changed.
func (e *endpoint) follow(c *conn) {
	ctx, cancel := context.WithTimeout(c.ctx, moveTime)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	if l := e.lanes.at(c.remote()); l != nil {
		if c.signWithin(ctx, signTime) != nil {
			l.renew()
		}
		return
	}
	for first := true; ctx.Err() == nil; first = false {
		c.mover.mu.Lock()
		at, to := c.mover.at, c.mover.to
		c.mover.mu.Unlock()
		source := sourceTo(to)
		if source == at.source && c.alive(ctx) {
			return
		}
		if source == at.source && !c.canAnswer() {
			e.replace(c)
			return
		}
		var err error
		if !first || source == at.source {
			to, err = e.seek(ctx, c, first)
		} else if !source.IsValid() {
			err = errNoRoute
		}
		if err == nil {
			err = c.move(ctx, to)
		}
		switch {
		case err == nil:
			return
		case errors.Is(err, errPinned):
			e.supersede(c, at.source)
			return
		}
		e.log.Debug("not moved", "peer", c.id, "to", to, "cause", err)
		select {
		case <-time.After(moveRest):
		case <-ctx.Done():
		}
	}
}

// seek finds an address at which the peer of a connection answers. If it may
// not try all addresses, it tries others after the first time.
func (e *endpoint) seek(ctx context.Context, c *conn, first bool) (netip.AddrPort, error) {
	via := e.ways(c)
	if !first {
		rand.Shuffle(len(via)-1, func(i, j int) { via[1+i], via[1+j] = via[1+j], via[1+i] })
	}
	if a := e.listener.routed(); a != nil {
		return a.reach(e, ctx, c, via)
	}
	return e.locate(ctx, c, via)
}

// locate returns the first of several addresses at which the peer answers.
// Besides the present address, it tries only as many as the limits allow; if
// that is none, it fails with [errTooOften].
func (e *endpoint) locate(ctx context.Context, c *conn, via []netip.AddrPort) (netip.AddrPort, error) {
	patience := max(seekTime, 4*c.RTT())
	ctx, cancel := context.WithTimeout(ctx, e.patient(patience))
	defer cancel()
	found := make(chan netip.AddrPort)
	var asking sync.WaitGroup
	nowhere := errNobodyThere
	for i, to := range via {
		if !sourceTo(to).IsValid() {
			continue
		}
		end, ok := func(bool) {}, true
		if to != c.remote() {
			end, ok = e.looks.begin(c.id, patience)
		}
		if !ok {
			if i == 0 {
				nowhere = errTooOften
			}
			continue
		}
		asking.Go(func() {
			err := e.shake(ctx, to, c.id)
			end(err == nil)
			if err == nil {
				select {
				case found <- to:
				case <-ctx.Done():
				}
			}
		})
	}
	over := make(chan struct{})
	go func() { asking.Wait(); close(over) }()
	defer func() { cancel(); <-over }()
	select {
	case to := <-found:
		return to, nil
	case <-over:
	}
	return netip.AddrPort{}, nowhere
}

// ways returns the possible addresses of the peer of a connection, the present
// one first.
func (e *endpoint) ways(c *conn) []netip.AddrPort {
	all := []netip.AddrPort{c.remote()}
	if c.confined() {
		return all
	}
	if peer, known := e.scope.Node().Peer(c.id); known {
		for _, v := range peer.Info().Candidates {
			if v.Kind != p2p.Relay && e.dialable(v) == nil && !slices.Contains(all, unmap(v.Addr)) {
				all = append(all, unmap(v.Addr))
			}
		}
	}
	return all
}

// signWithin waits for a sign of life of the connection.
func (c *conn) signWithin(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, max(d, 2*c.RTT()))
	defer cancel()
	return c.sign(ctx)
}
