package library

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

const rosterRoute = reserved + "roster"

// serveRoster is the handler of the route for statements. An admin that was removed
// may use it, too: what it brings is taken like any other's, and it is told the
// removals that concern it.
func (l *Library) serveRoster(_ context.Context, c *tunnel.Conn) error {
	in := proto.NewDecoder(bufio.NewReader(c))
	var theirs roster.Ends
	if err := theirs.DecodeFrom(in); err != nil {
		return err
	}
	now := l.content()
	ends, tell := now.roster.Ends(), now.roster.Missing(theirs)
	if m := now.members[c.Instance()]; m == nil || m.out {
		ends, tell = nil, now.roster.Concerning(c.Instance())
	}
	if err := send(c, ends, tell); err != nil {
		return err
	}
	var said roster.Statements
	if err := said.DecodeFrom(in); err != nil {
		return err
	}
	l.mu.Lock()
	delete(l.open, c) // also a member that has left is told that it was heard
	l.mu.Unlock()
	knows, err := l.hear(c, now, said)
	if err == nil {
		l.synced(c, knows)
	}
	return err
}

// exchangeRoster tells a member what it does not know, and hears what this device
// does not, over a tunnel for that.
func (l *Library) exchangeRoster(c *tunnel.Conn) error {
	now := l.content()
	if err := send(c, now.roster.Ends()); err != nil {
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
	if err := send(c, now.roster.Missing(theirs)); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	knows, err := l.hear(c, now, said)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(c, 1)); err != nil { // until the other side has kept it
		return err
	}
	l.synced(c, knows)
	return nil
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

// hear adds what a member said, and returns what it knows once it was told of sent.
func (l *Library) hear(c *tunnel.Conn, sent *content, said roster.Statements) (knows roster.Hash, err error) {
	knows = sent.digest
	err = l.change(func(d *draft) error {
		added, err := d.roster.Add(said...)
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
	return knows, err
}

// synced notes what a member knows.
func (l *Library) synced(c *tunnel.Conn, knows roster.Hash) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now.members[c.Instance()] != nil {
		l.with(c.Instance()).synced = knows
	}
}

// Export writes all statements, of more than fit into an exchange the admins'
// first, for a file that brings another device of the library up to date: they
// prove themselves, and hold no secret.
func (l *Library) Export(w io.Writer) error { return send(w, l.content().roster.Missing(nil)) }

// Import adds the statements of a file that [Library.Export] wrote. It fails, and
// adds nothing, if one of them is not valid or belongs to another library.
func (l *Library) Import(r io.Reader) error {
	var said roster.Statements
	if err := said.DecodeFrom(proto.NewDecoder(bufio.NewReader(r))); err != nil {
		return err
	}
	return l.Learn(said)
}

// Learn adds statements that came by another way than tunnels, predecessors first.
// It fails as [Library.Import] does.
func (l *Library) Learn(said roster.Statements) error {
	return l.change(func(d *draft) error {
		added, err := d.roster.Add(said...)
		if err == nil && len(added) == 0 {
			return errUnchanged
		}
		return err
	})
}
