package library

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

const rosterRoute = reserved + "roster"

// sentAtOnce is the number of statements sent in one exchange: 2.6 MB at most,
// which have to arrive within [exchangeTime]. The next exchange sends the rest.
const sentAtOnce = 1 << 12

// A sent is everything that a member is sent in an exchange.
type sent struct {
	of         *content // the content of this device then
	statements roster.Statements
	all        bool        // whether these are all statements that it lacks
	knew       roster.Hash // the digest of the statements that it knew
}

// serveRoster is the handler of the route for statements. A removed admin may
// use it, too: its statements are accepted like any other's, and it is told the
// removals that concern it.
func (l *Library) serveRoster(_ context.Context, c *tunnel.Conn) error {
	if err := l.listen(c); err != nil {
		return err
	}
	defer l.leave(c)
	in := proto.NewDecoder(bufio.NewReader(c))
	var theirs roster.Ends
	if err := theirs.DecodeFrom(in); err != nil {
		return err
	}
	s := l.answer(c, l.content(), theirs)
	if err := send(c, s.of.ends(c.Instance()), s.statements); err != nil {
		return err
	}
	var said roster.Statements
	if err := said.DecodeFrom(in); err != nil {
		return err
	}
	if err := l.heard(c); err != nil {
		return err
	}
	l.mu.Lock()
	delete(l.open, c) // so that a member that has left is told, too, that its statements arrived
	l.mu.Unlock()
	defer l.take(c.Instance())()
	knows, err := l.hear(c, s.of, said)
	if err == nil {
		l.synced(c, s, knows)
	}
	return err
}

// take suspends errands to a member until done is called: an exchange is about
// to tell it of the statements, and a secret or a request is refused by a member
// that does not know the statements behind it.
func (l *Library) take(instance identity.RemoteIdentity) (done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.with(instance)
	d.taking++
	return func() {
		l.mu.Lock()
		d.taking--
		l.mu.Unlock()
		l.hook.changed.tell()
	}
}

// exchangeRoster sends a member the statements that it lacks, and receives
// those that this device lacks, over a tunnel to the route for statements.
func (l *Library) exchangeRoster(c *tunnel.Conn) error {
	now := l.content()
	if err := send(c, now.ends(c.Instance())); err != nil {
		return err
	}
	in := proto.NewDecoder(bufio.NewReader(c))
	var theirs roster.Ends
	if err := theirs.DecodeFrom(in); err != nil {
		return err
	}
	var said roster.Statements
	if err := said.DecodeFrom(in); err != nil {
		return err
	}
	s := l.answer(c, now, theirs)
	unsent := send(c, s.statements)
	if unsent == nil {
		unsent = c.CloseWrite()
	}
	knows, err := l.hear(c, now, said) // even if sending failed: its answer may say why
	if err = cmp.Or(err, unsent); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(c, 1)); err != nil { // until the other side has stored them
		return err
	}
	l.synced(c, s, knows)
	return nil
}

// answer returns the statements to send to a peer that has said which it knows.
func (l *Library) answer(c *tunnel.Conn, now *content, theirs roster.Ends) sent {
	l.spend(c, now.unknown(theirs))
	s := sent{of: now, statements: now.missing(c.Instance(), theirs), all: true, knew: digest(theirs)}
	if now.full(c.Instance()) && len(s.statements) > sentAtOnce {
		s.statements, s.all = s.statements[:sentAtOnce], false
	}
	return s
}

// full reports whether an instance is a member, and not a removed admin.
func (c *content) full(instance identity.RemoteIdentity) bool {
	m := c.members[instance]
	return m != nil && !m.out
}

// ends returns the ends that an instance is told of this device's statements.
func (c *content) ends(instance identity.RemoteIdentity) roster.Ends {
	if !c.full(instance) {
		return nil
	}
	return c.roster.Ends()
}

// missing returns the statements to send to an instance that has said which it
// knows.
func (c *content) missing(instance identity.RemoteIdentity, ends roster.Ends) roster.Statements {
	if !c.full(instance) {
		return c.roster.Concerning(instance)
	}
	return c.roster.Missing(ends)
}

// removals returns the digest of the removals by others that an instance is
// told of; zero if there are none.
func (c *content) removals(instance identity.RemoteIdentity) (digest roster.Hash) {
	for _, r := range c.view.Removals {
		if r.Instance == instance && r.By != instance {
			digest = sha256.Sum256(append(digest[:], r.Hash[:]...))
		}
	}
	return digest
}

// send writes messages in one go.
func send(w io.Writer, messages ...interface{ AppendBinary([]byte) ([]byte, error) }) (err error) {
	var b []byte
	for _, m := range messages {
		if b, err = m.AppendBinary(b); err != nil {
			return err
		}
	}
	_, err = w.Write(b)
	return err
}

// hear adds the statements of a member, and returns the digest of those it
// knows once it has received sent.
func (l *Library) hear(c *tunnel.Conn, sent *content, said roster.Statements) (knows roster.Hash, err error) {
	knows = sent.digest
	idle := len(said)
	err = l.change(func(d *draft) error {
		added, err := d.roster.Add(said...)
		idle -= len(added)
		if err != nil {
			return fmt.Errorf("%v said: %w", c.Instance(), err)
		}
		if d.before.digest == sent.digest {
			knows = digest(d.roster.Ends()) // unless this device has more
		}
		if len(added) == 0 {
			return errUnchanged
		}
		return nil
	})
	l.spend(c, idle)
	return knows, err
}

// synced records which statements a member knows. A member that was sent only a
// part of those it lacks is to be sent the rest, unless the last part added
// nothing.
func (l *Library) synced(c *tunnel.Conn, s sent, knows roster.Hash) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now.members[c.Instance()] == nil {
		return
	}
	d := l.with(c.Instance())
	switch {
	case !s.of.full(c.Instance()):
		knows = s.of.removals(c.Instance())
	case !s.all && d.cut != s.knew:
		d.cut, knows = s.knew, roster.Hash{}
	}
	d.synced = knows
}

// maxFirst is the number of statements that a new device is sent at once.
const maxFirst = 2 * sentAtOnce

// FirstStatements returns the statements for a device that knows none. If not
// all fit, those of plain members are left out, and exchanges bring them later.
// Package pairing calls it.
func (l *Library) FirstStatements() roster.Statements {
	all := l.content().roster.Missing(nil)
	return all[:min(len(all), maxFirst)]
}

// Export writes all statements, for a file that brings another device of the
// library up to date. The statements prove themselves and contain no secret. If
// they are more than fit into an exchange, the admins' come first.
func (l *Library) Export(w io.Writer) error { return send(w, l.content().roster.Missing(nil)) }

// Import adds the statements of a file that [Library.Export] wrote. It fails,
// and adds nothing, if one of them is not valid or belongs to another library.
func (l *Library) Import(r io.Reader) error {
	var said roster.Statements
	if err := said.DecodeFrom(proto.NewDecoder(bufio.NewReader(r))); err != nil {
		return err
	}
	return l.Learn(said)
}

// Learn adds statements that arrived by other means than tunnels, predecessors
// first. It fails as [Library.Import] does.
func (l *Library) Learn(said roster.Statements) error {
	return l.change(func(d *draft) error {
		added, err := d.roster.Add(said...)
		if err == nil && len(added) == 0 {
			return errUnchanged
		}
		return err
	})
}
