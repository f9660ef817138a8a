package library

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/tunnel"
)

const (
	secretRoute = reserved + "secret"
	secretSize  = 8 + len(Secret{})
	secretSkip  = 1 << 16          // by how much a number may be ahead: a member cannot use them up
	secretTime  = 10 * time.Second // for one exchange
	secretAgain = time.Minute      // after one that failed; doubled each time, up to an hour
)

// Rotate gives the library a new secret, which is handed out to the members as they come by. Those that do not come within
// 7 days do not get it, and have to be paired again. Members hand it on: after the removal of one, remove it on all
// devices before. It fails with [ErrTooMany] where there is no room for another former secret; a member that has none
// for that reason cannot take the new one until it has.
func (l *Library) Rotate() error {
	return l.change(func(r *Record) error {
		r.replaceSecret(NewSecret(), r.Number+1, identity.RemoteIdentity{})
		return nil
	})
}

// replaceSecret makes the present secret a former one, for all members but the one that the new one came from. Who may have
// missed the secrets before is still let in with those.
func (r *Record) replaceSecret(s Secret, number uint64, from identity.RemoteIdentity) {
	former := Former{Secret: r.Secret, Until: time.Now().Add(FormerTime)}
	for _, m := range r.Members {
		if m.Instance != from {
			former.Members = append(former.Members, m.Instance)
		}
	}
	r.given(from)
	r.Secret, r.Number = s, number
	r.Former = append(r.Former, former)
	r.Former = r.Former[max(0, len(r.Former)-MaxFormer):]
}

// compareSecret compares the present secret with another one, in the order in which they replace each other.
func (r *Record) compareSecret(number uint64, s Secret) int {
	return cmp.Or(cmp.Compare(r.Number, number), bytes.Compare(r.Secret[:], s[:]))
}

// given notes that a member has the present secret, and reports whether that was news.
func (r *Record) given(instance identity.RemoteIdentity) (news bool) {
	for i := range r.Former {
		f := &r.Former[i]
		news = news || slices.Contains(f.Members, instance)
		f.Members = slices.DeleteFunc(f.Members, func(m identity.RemoteIdentity) bool { return m == instance })
	}
	return news
}

// hasSecret notes that a member has authenticated with the present secret.
func (l *Library) hasSecret(instance identity.RemoteIdentity) {
	_ = l.change(func(r *Record) error { // or else it is asked again
		if !r.given(instance) {
			return errUnchanged
		}
		return nil
	})
}

// learn takes what the other side of an exchange says.
func (l *Library) learn(from identity.RemoteIdentity, message []byte) error {
	number, s := binary.LittleEndian.Uint64(message), Secret(message[8:])
	return l.change(func(r *Record) error {
		switch r.compareSecret(number, s) {
		case 1:
			return errUnchanged
		case 0:
			if !r.given(from) {
				return errUnchanged
			}
		default:
			if s.IsZero() || number-r.Number > secretSkip {
				return fmt.Errorf("%w: secret number %d", ErrInvalid, number)
			}
			r.replaceSecret(s, number, from)
		}
		return nil
	})
}

// secretMessage is what each side of an exchange says.
func (r *Record) secretMessage() []byte {
	return append(binary.LittleEndian.AppendUint64(nil, r.Number), r.Secret[:]...)
}

// serveSecret is the handler of the route for exchanges.
func (l *Library) serveSecret(_ context.Context, c *tunnel.Conn) error {
	c.SetDeadline(time.Now().Add(secretTime))
	var message [secretSize]byte
	if _, err := io.ReadFull(c, message[:]); err != nil {
		return err
	}
	if err := l.learn(c.Instance(), message[:]); err != nil {
		return err
	}
	r := l.Record()
	_, err := c.Write(r.secretMessage())
	return err
}

// exchange hands the secret to a member.
func (l *Library) exchange(ctx context.Context, instance identity.RemoteIdentity) error {
	ctx, cancel := context.WithTimeout(ctx, secretTime)
	defer cancel()
	c, err := l.openRoute(ctx, instance, secretRoute)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Abort(context.Cause(ctx)) })
	defer stop()
	r := l.Record()
	if _, err := c.Write(r.secretMessage()); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	var message [secretSize]byte
	if _, err := io.ReadFull(c, message[:]); err != nil {
		return err
	}
	return l.learn(instance, message[:])
}

// handOut hands out new secrets to members as they come by, until ctx is done.
func (h *Libraries) handOut(ctx context.Context) {
	tried := map[attempt]*retry{}
	for ctx.Err() == nil {
		changed := h.changed.next()
		wait, cancel := ctx, context.CancelFunc(func() {})
		if due := h.handOutNow(ctx, tried); !due.IsZero() {
			wait, cancel = context.WithDeadline(ctx, due)
		}
		select {
		case <-wait.Done():
		case <-changed:
		}
		cancel()
	}
}

// An attempt is to hand one secret to one member.
type attempt struct {
	library  *Library
	number   uint64
	instance identity.RemoteIdentity
}

// A retry says when an attempt that failed is made again.
type retry struct {
	at   time.Time
	wait time.Duration
}

// handOutNow makes the attempts that are due, and returns when there is something to do again; zero if only a change can tell.
func (h *Libraries) handOutNow(ctx context.Context, tried map[attempt]*retry) (due time.Time) {
	soonest := func(at time.Time) {
		if due.IsZero() || at.Before(due) {
			due = at
		}
	}
	open := map[attempt]bool{}
	for _, l := range h.All() {
		r := l.Record()
		if len(r.Former) == 0 {
			continue
		}
		_ = l.change(func(r *Record) error { // a former secret may be over
			if !slices.ContainsFunc(r.Former, func(f Former) bool { return !time.Now().Before(f.Until) }) {
				return errUnchanged
			}
			return nil
		})
		r = l.Record()
		for _, f := range r.Former {
			soonest(f.Until)
		}
		for _, p := range l.Members() {
			a := attempt{l, r.Number, p.Member.Instance}
			if !r.pending(a.instance) {
				continue
			}
			open[a] = true
			if !p.Available {
				continue
			}
			t := tried[a]
			if t == nil {
				t = &retry{wait: secretAgain}
				tried[a] = t
			}
			if !time.Now().Before(t.at) {
				if err := l.exchange(ctx, a.instance); err != nil {
					h.log().Debug("a member did not take the new secret", "library", l.id, "member", a.instance, "err", err)
				}
				t.at = time.Now().Add(t.wait)
				t.wait = min(2*t.wait, time.Hour)
			}
			soonest(t.at)
		}
	}
	maps.DeleteFunc(tried, func(a attempt, _ *retry) bool { return !open[a] })
	return due
}
