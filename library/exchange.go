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

// sentAtOnce is how many statements of an exchange are sent: 2.6 MB at most,
// which have to arrive within [exchangeTime]. The next exchange has the rest.
const sentAtOnce = 1 << 12

// What a member is sent in an exchange.
type sent struct {
	of         *content // what this device knew
	statements roster.Statements
	all        bool        // that it lacks
	knew       roster.Hash // the digest of what it knew
}

// serveRoster is the handler of the route for statements. An admin that was
// removed may use it, too: what it brings is taken like any other's, and it is
// told the removals that concern it.
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
	delete(l.open, c) // also a member that has left is told that it was heard
	l.mu.Unlock()
	defer l.take(c.Instance())()
	knows, err := l.hear(c, s.of, said)
	if err == nil {
		l.synced(c, s, knows)
	}
	return err
}

// take has no errand tell a member what this device knows, until done is called:
// an exchange is about to make it known.
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

// exchangeRoster tells a member what it does not know, and hears what this
// device does not, over a tunnel for that.
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
	knows, err := l.hear(c, now, said) // also if it takes nothing: what it said may be why
	if err = cmp.Or(err, unsent); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(c, 1)); err != nil { // until the other side has kept it
		return err
	}
	l.synced(c, s, knows)
	return nil
}

// answer returns what somebody is sent that has said what it knows.
func (l *Library) answer(c *tunnel.Conn, now *content, theirs roster.Ends) sent {
	l.spend(c, now.unknown(theirs))
	s := sent{of: now, statements: now.missing(c.Instance(), theirs), all: true, knew: digest(theirs)}
	if now.full(c.Instance()) && len(s.statements) > sentAtOnce {
		s.statements, s.all = s.statements[:sentAtOnce], false
	}
	return s
}

// full reports whether somebody is a member, and no admin that was removed.
func (c *content) full(instance identity.RemoteIdentity) bool {
	m := c.members[instance]
	return m != nil && !m.out
}

// ends returns what somebody is told of what this device knows.
func (c *content) ends(instance identity.RemoteIdentity) roster.Ends {
	if !c.full(instance) {
		return nil
	}
	return c.roster.Ends()
}

// missing returns the statements for somebody that has said what it knows.
func (c *content) missing(instance identity.RemoteIdentity, ends roster.Ends) roster.Statements {
	if !c.full(instance) {
		return c.roster.Concerning(instance)
	}
	return c.roster.Missing(ends)
}

// removals returns the digest of the removals by others that somebody is told
// of; zero if there are none.
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

// hear adds what a member said, and returns what it knows once it was told of
// sent.
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
			knows = digest(d.roster.Ends()) // unless this device has something to add
		}
		if len(added) == 0 {
			return errUnchanged
		}
		return nil
	})
	l.spend(c, idle)
	return knows, err
}

// synced notes what a member knows. One that was sent a part of what it lacks
// is to be sent the rest, unless the last part has brought it nothing.
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

// maxFirst is how many statements a new device is handed at once.
const maxFirst = 2 * sentAtOnce

// FirstStatements returns the statements for a device that knows none: all but
// those of members that do not fit, of which exchanges bring the rest. Package
// pairing hands them over.
func (l *Library) FirstStatements() roster.Statements {
	all := l.content().roster.Missing(nil)
	return all[:min(len(all), maxFirst)]
}

// Export writes all statements, of more than fit into an exchange the admins'
// first, for a file that brings another device of the library up to date: they
// prove themselves, and hold no secret.
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

// Learn adds statements that came by another way than tunnels, predecessors
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
