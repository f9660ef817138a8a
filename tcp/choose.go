package tcp

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// maxLoss is the share of lost packets beyond which a path counts as lossy.
const maxLoss = 1.0 / 2000

const (
	// lead is how long the way that is tried first may stay without an answer
	// before the other one is tried, and silence how long before that is used.
	lead    = 400 * time.Millisecond
	silence = time.Second
)

// choose opens a stream over a lane if that is better, and otherwise through
// rest. If the one that is tried first gets no answer for a second, choose uses
// the other one.
func (r *run) choose(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate, rest func(context.Context) (p2p.RawStream, error)) (p2p.RawStream, error) {
	lane := func(ctx context.Context) (p2p.RawStream, error) { return r.listener.Dial(ctx, to, via) }
	switch {
	case r.prefers(ctx, to, via):
		raw, err := lane(ctx)
		if err == nil || ctx.Err() != nil {
			return raw, err
		}
		if errors.Is(err, context.DeadlineExceeded) { // a firewall that is silent, most likely
			r.dialedInVain(to)
		}
		if raw, others := rest(ctx); others == nil {
			return raw, nil
		} else if !errors.Is(others, p2p.ErrNoListener) {
			err = united(to, err, others)
		}
		return nil, err
	case p2p.IsBulk(ctx) && r.hopes(to):
		return either(ctx, to, r.hoping(ctx, to, lane), rest)
	case r.laneOf(to) == 0:
		raw, err := rest(ctx)
		if errors.Is(err, p2p.ErrNoListener) {
			return lane(ctx)
		}
		return raw, err
	}
	return either(ctx, to, rest, lane)
}

// prefers reports whether a stream should go over a lane: because the peer is
// connected only through lanes, since the other listeners got no answer; or
// because the stream is opened with [p2p.Bulk] and the peer is on a network of
// this host where lanes are not known to stay silent, or the direct path to it
// is lossy.
func (r *run) prefers(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) bool {
	others := r.others(to)
	if len(others) == 0 {
		if b := r.bond(to); b != nil && b.kept() != nil {
			return true
		}
	}
	if !p2p.IsBulk(ctx) || r.laneOf(to) == 0 {
		return false
	}
	silent := r.isVain(to)
	if slices.ContainsFunc(others, func(c p2p.RawConn) bool {
		path := c.Path()
		return path.Kind != p2p.Relay && (loses(c) || !silent && near(path.Remote.Addr()))
	}) {
		return true
	}
	return !silent && slices.ContainsFunc(via, func(c p2p.Candidate) bool {
		return c.Kind != p2p.Relay && c.Addr.IsValid() && near(c.Addr.Addr())
	})
}

// loses reports whether a connection is known to be lossy.
func loses(c p2p.RawConn) bool {
	l, ok := c.(interface{ Loss() float64 })
	return ok && l.Loss() > maxLoss
}

type openFunc = func(context.Context) (p2p.RawStream, error)

// An opened is the result of opening a stream.
type opened struct {
	raw p2p.RawStream
	err error
}

// either opens a stream with first, or with second if first fails or stays
// silent.
func either(ctx context.Context, to identity.RemoteIdentity, first, second openFunc) (p2p.RawStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	try := func(open openFunc) <-chan opened {
		c := make(chan opened, 1)
		go func() {
			raw, err := open(ctx)
			c <- opened{raw, err}
		}()
		return c
	}
	r := &rivals{to: to, second: func() <-chan opened { return try(second) }, one: try(first), lead: time.NewTimer(lead), silence: time.NewTimer(silence)}
	defer r.discard()
	defer cancel()
	return r.race()
}

// rivals are two ways to open a stream. A nil channel never yields anything.
type rivals struct {
	to            identity.RemoteIdentity
	second        func() <-chan opened // starts it
	one, two      <-chan opened
	lead, silence *time.Timer

	held   p2p.RawStream // the second's stream, before it may be used
	errs   [2]error
	begun  bool
	silent bool
}

// race returns the first stream that may be used.
func (r *rivals) race() (p2p.RawStream, error) {
	for {
		select {
		case o := <-r.one:
			r.one = nil
			if o.err == nil {
				return o.raw, nil
			}
			r.errs[0] = o.err
			r.begin()
		case o := <-r.two:
			r.two = nil
			r.held, r.errs[1] = o.raw, o.err
		case <-r.lead.C:
			r.begin()
		case <-r.silence.C:
			r.silent = true
		}
		switch {
		case r.held != nil && (r.silent || r.errs[0] != nil):
			raw := r.held
			r.held = nil
			return raw, nil
		case r.errs[0] != nil && r.errs[1] != nil:
			return nil, united(r.to, r.errs[0], r.errs[1])
		}
	}
}

func (r *rivals) begin() {
	if !r.begun {
		r.begun, r.two = true, r.second()
	}
}

// discard resets the streams that are not needed as they arrive.
func (r *rivals) discard() {
	r.lead.Stop()
	r.silence.Stop()
	if r.held != nil {
		r.held.Reset(p2p.ErrCanceled)
	}
	for _, c := range []<-chan opened{r.one, r.two} {
		if c == nil {
			continue
		}
		go func() {
			if o := <-c; o.err == nil {
				o.raw.Reset(p2p.ErrCanceled)
			}
		}()
	}
}

// united merges errors about a peer into one.
func united(to identity.RemoteIdentity, errs ...error) error {
	all := &p2p.DialError{Peer: to}
	for _, err := range errs {
		var failed *p2p.DialError
		if errors.As(err, &failed) {
			all.Attempts = append(all.Attempts, failed.Attempts...)
			err = failed.Err
		}
		all.Err = errors.Join(all.Err, err)
	}
	return all
}

// hopes reports whether a stream of [p2p.Bulk] may go over a lane to a peer that
// is not in a network of this host: the other listeners are connected with it
// directly. A firewall may let nothing through but that connection, so that the
// lane has a second, and a peer to which that was in vain is not asked again
// for a while.
func (r *run) hopes(to identity.RemoteIdentity) bool {
	if r.laneOf(to) == 0 || !slices.ContainsFunc(r.others(to), func(c p2p.RawConn) bool { return c.Path().Kind != p2p.Relay }) {
		return false
	}
	return !r.isVain(to)
}

// isVain reports whether a lane to a peer was dialed in vain of late.
func (r *run) isVain(to identity.RemoteIdentity) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.vain[to]
	return ok && time.Since(at) < r.listener.cfg.back
}

// dialedInVain records that a lane to a peer was dialed in vain.
func (r *run) dialedInVain(to identity.RemoteIdentity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.vain, func(_ identity.RemoteIdentity, at time.Time) bool { return time.Since(at) >= r.listener.cfg.back })
	r.vain[to] = time.Now()
}

// hoping is dial that remembers whether it was in vain, but not if ctx has
// ended.
func (r *run) hoping(ctx context.Context, to identity.RemoteIdentity, dial openFunc) openFunc {
	return func(dialing context.Context) (p2p.RawStream, error) {
		raw, err := dial(dialing)
		if err != nil && ctx.Err() == nil {
			r.dialedInVain(to)
		}
		return raw, err
	}
}
