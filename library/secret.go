package library

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/tunnel"
)

const (
	secretRoute = reserved + "secret"
	secretSize  = 8 + len(Secret{})
	secretSkip  = 1 << 16 // by how much a number may be ahead: a member cannot use them up
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

// exchangeSecret hands the secret to a member, over a tunnel for that.
func (l *Library) exchangeSecret(c *tunnel.Conn) error {
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
	return l.learn(c.Instance(), message[:])
}

// expireFormer drops former secrets that are over.
func (l *Library) expireFormer() {
	_ = l.change(func(r *Record) error {
		if !slices.ContainsFunc(r.Former, func(f Former) bool { return !time.Now().Before(f.Until) }) {
			return errUnchanged
		}
		return nil
	})
}
