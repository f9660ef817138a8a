package library

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/tunnel"
)

const secretRoute = reserved + "secret"

// ErrTooSoon is returned if this device has replaced the library's secret less
// than [SecretTime] ago, and no member was removed since.
var ErrTooSoon = errors.New("library: the secret was replaced less than 24 hours ago")

// Rotate gives the library a new secret, which members get as they become
// available. Members that stay away for 7 days do not get it, and have to be
// paired again. [Library.Remove] rotates the secret, too. It fails with
// [ErrNotAdmin], with [ErrTooSoon], and with [ErrTooMany] if there is no room
// for another former secret.
func (l *Library) Rotate() error {
	return l.change(func(d *draft) error {
		if err := d.admin(); err != nil {
			return err
		}
		if !d.mayReplace() {
			return ErrTooSoon
		}
		s, number := NewSecret(), uint64(1)
		if all := d.roster.View().Secrets; len(all) > 0 {
			number = all[len(all)-1].Number + 1
		}
		if err := d.say(roster.Secret{Number: number, Hash: roster.HashSecret(s.Bytes())}); err != nil {
			return err
		}
		d.replaceSecret(s, number)
		d.Rotate = false
		return nil
	})
}

// rotateIfDue replaces the secret if a removal has made that due, and returns
// when to try again; zero: never.
func (l *Library) rotateIfDue() (again time.Time) {
	r := &l.content().record
	if !r.Rotate {
		return time.Time{}
	}
	switch err := l.Rotate(); {
	case err == nil, errors.Is(err, ErrRemoved), errors.Is(err, ErrNotAdmin): // others have to do it
		return time.Time{}
	case errors.Is(err, ErrTooSoon):
		return r.Replaced.Add(SecretTime)
	default:
		l.hook.log().Debug("the secret cannot be replaced", "library", l.id, "cause", err)
		return time.Now().Add(errandMax)
	}
}

// mayReplace reports whether this device may take another secret now: once in
// SecretTime, and once more within it after a removal.
func (d *draft) mayReplace() bool {
	now := time.Now()
	switch {
	case d.Secret.IsZero() || now.Sub(d.Replaced) >= SecretTime || now.Before(d.Replaced):
		return true
	}
	return d.Again.IsZero() && d.Lost
}

// lose records that a member was removed since the secret was taken. The number
// of removals that count does not show that: removing a thief undoes those that
// it has signed.
func (d *draft) lose() {
	before := map[roster.Hash]bool{}
	for _, r := range d.before.view.Removals {
		before[r.Hash] = true
	}
	for _, r := range d.roster.View().Removals {
		d.Lost = d.Lost || !before[r.Hash]
	}
}

// replaceSecret makes the present secret a former one.
func (d *draft) replaceSecret(s Secret, number uint64) {
	now := time.Now()
	if !d.Secret.IsZero() {
		d.Former = append(d.Former, Former{Secret: d.Secret, Until: now.Add(FormerTime)})
	}
	if now.Sub(d.Replaced) >= SecretTime || now.Before(d.Replaced) { // or the clock was set back
		d.Replaced, d.Again = now, time.Time{}
	} else {
		d.Again = now
	}
	d.Secret, d.Number, d.Lost = s, number, false
}

// standing returns the index of a secret among those that count, or -1.
func standing(secrets []roster.Secret, s Secret) int {
	h := roster.HashSecret(s.Bytes())
	return slices.IndexFunc(secrets, func(o roster.Secret) bool { return o.Hash == h })
}

// standby records the number from which on another secret is accepted if the
// present one no longer counts: the first greater than those of the secrets
// that counted before and still do.
func (d *draft) standby() {
	all, before := d.roster.View().Secrets, d.before.view.Secrets
	if standing(all, d.Secret) >= 0 || standing(before, d.Secret) < 0 {
		return
	}
	d.Number = 0
	for _, s := range all {
		if slices.Contains(before, s) {
			d.Number = s.Number // in ascending order
		}
	}
}

// learn accepts the secret of the other side of an exchange if that secret
// counts and comes after the present one. A present secret that no longer
// counts stays in use until the next number that does.
func (l *Library) learn(s Secret) error {
	return l.change(func(d *draft) error {
		all := d.roster.View().Secrets
		theirs, ours := standing(all, s), standing(all, d.Secret)
		if theirs < 0 || theirs <= ours || ours < 0 && all[theirs].Number <= d.Number || !d.mayReplace() {
			return errUnchanged
		}
		d.replaceSecret(s, all[theirs].Number)
		return nil
	})
}

// serveSecret is the handler of the route for secrets: each side writes its
// own.
func (l *Library) serveSecret(_ context.Context, c *tunnel.Conn) error {
	theirs, err := readSecret(c)
	if err != nil {
		return err
	}
	if err := l.learn(theirs); err != nil {
		return err
	}
	if err := writeSecret(c, l.Record().Secret); err != nil {
		return err
	}
	l.hasSecret(c, theirs)
	return nil
}

// exchangeSecret sends the secret to a member, over a tunnel to the route for
// secrets.
func (l *Library) exchangeSecret(c *tunnel.Conn) error {
	if err := writeSecret(c, l.Record().Secret); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	theirs, err := readSecret(c)
	if err != nil {
		return err
	}
	if err := l.learn(theirs); err != nil {
		return err
	}
	l.hasSecret(c, theirs)
	if theirs != l.Record().Secret {
		return errors.New("library: the member keeps another secret for now")
	}
	return nil
}

func readSecret(r io.Reader) (Secret, error) {
	var b [32]byte
	_, err := io.ReadFull(r, b[:])
	return SecretOf(b), err
}

func writeSecret(w io.Writer, s Secret) error {
	b := s.Bytes()
	_, err := w.Write(b[:])
	return err
}

// hasSecret records which secret a member has.
func (l *Library) hasSecret(c *tunnel.Conn, s Secret) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now.members[c.Instance()] != nil {
		l.with(c.Instance()).secret = s
	}
}

// expireFormer drops former secrets that have expired.
func (l *Library) expireFormer() {
	_ = l.change(func(d *draft) error {
		if !slices.ContainsFunc(d.Former, func(f Former) bool { return !time.Now().Before(f.Until) }) {
			return errUnchanged
		}
		return nil
	})
}
