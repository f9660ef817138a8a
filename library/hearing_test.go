package library_test

import (
	"bufio"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

// crowd has the founder add n members, each of which signs 16 statements.
func (c *charter) crowd(n int) {
	c.t.Helper()
	var all []roster.Statement
	for range n {
		m := newDevice()
		c.join(m, library.RoleMember)
		last := c.roster.Last(m.own())
		for last.Counter < 16 {
			s := roster.Statement{
				Kind: 9, Library: c.rest.ID, Signer: m.own(), Counter: last.Counter + 1, Previous: last.Hash, Time: time.Now().Unix(),
			}
			require.NoError(c.t, s.Sign(m.instance, c.rest.Founder))
			last = roster.End{Signer: m.own(), Counter: s.Counter, Hash: s.Hash()}
			all = append(all, s)
		}
	}
	_, err := c.roster.Add(all...)
	require.NoError(c.t, err)
}

// TestManyStatements: statements that do not fit in one exchange follow in the
// next ones, the founder's statements first.
func TestManyStatements(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleMember)
		of.run(network, b)
		of.crowd(300)
		a.start(t, network, p2p.Config{})
		a.load(t, of.record())
		link := network.Link(a.Identity(), b.Identity())
		pass(30 * time.Second)
		require.Len(t, b.lib.Record().Statements, of.roster.Len())
		require.Greater(t, of.roster.Len(), 4096)
		var sizes []int
		for _, r := range b.records() {
			sizes = append(sizes, len(r.Statements))
		}
		require.Len(t, sizes, 2, "%v", sizes)
		require.Less(t, sizes[0], 4096+10)
		before := link.Stats().Streams
		pass(time.Hour)
		require.Equal(t, before, link.Stats().Streams, "both sides know everything")
	})
}

// TestUnwilling: a member to which more is sent than fits in an exchange, and
// which accepts none of it, is not sent it again and again.
func TestUnwilling(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleMember)
		r := of.record()
		of.crowd(300)
		exchanges := 0
		b.startAnswerer(t, network, r, a, func(c *tunnel.Conn) {
			exchanges++
			c.Write(encoded(t, roster.Ends{of.roster.Last(b.own())}, roster.Statements{}))
			io.Copy(io.Discard, c)
			c.Close()
			<-c.Done()
		})
		a.start(t, network, p2p.Config{})
		a.load(t, of.record())
		pass(time.Hour)
		require.Equal(t, 2, exchanges)
	})
}

// TestHeardThoughDeaf: statements from a member count even if it does not read
// ours: they may remove this device.
func TestHeardThoughDeaf(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, m := newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleMember)
		r := of.record()
		theirs := of.copied()
		theirs.join(m, library.RoleMember)
		of.crowd(300) // more than an unread stream can hold
		b.startAnswerer(t, network, r, a, func(c *tunnel.Conn) {
			var ends roster.Ends
			ends.DecodeFrom(proto.NewDecoder(bufio.NewReader(c)))
			c.Write(encoded(t, roster.Ends{}, theirs.roster.All()))
			time.Sleep(time.Minute)
			c.Abort(io.EOF)
		})
		a.start(t, network, p2p.Config{})
		a.load(t, of.record())
		pass(30 * time.Second)
		require.True(t, slices.Contains(a.members(), m.own()))
	})
}

// TestOneExchangeAtATime: a member that begins an exchange ends its previous
// one, so that it cannot keep any number of them waiting.
func TestOneExchangeAtATime(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		a.cfg.Limits = plenty
		of := running(t, network, a, b, c)
		var open []*tunnel.Conn
		for range 3 {
			open = append(open, b.route(t, a, "sdp2p/roster"))
			synctest.Wait()
		}
		for _, c := range open[:2] {
			lost(t, c, p2p.ErrTunnelRefused)
		}
		m := newDevice()
		theirs := of.copied()
		theirs.join(m, library.RoleMember)
		_, err := c.bring(t, a, theirs.beyond(of)...)
		require.NoError(t, err, "exchanges with others go on")
		_, err = open[2].Write(encoded(t, roster.Ends{}))
		require.NoError(t, err)
		var ends roster.Ends
		require.NoError(t, ends.DecodeFrom(proto.NewDecoder(bufio.NewReader(open[2]))), "the last exchange is answered")
	})
}

// TestSentInVain: a member that sends more than 32,768 useless statements is
// told to come back later, and is listened to again after a minute. Meanwhile,
// others are listened to.
func TestSentInVain(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		a.cfg.Limits = plenty
		of := running(t, network, a, b, c)
		var junk roster.Statements
		nobody := identity.New()
		for i := range 1<<15 + 1 {
			s := roster.Statement{Kind: roster.KindMove, Library: of.rest.ID, Signer: nobody.Remote(), Counter: 1, Time: int64(i)}
			if i < 256 {
				require.NoError(t, s.Sign(nobody, of.rest.Founder))
			}
			junk = append(junk, s)
		}
		before := a.lib.Record()
		_, err := b.bring(t, a, junk...)
		require.NoError(t, err)
		_, err = b.bring(t, a)
		require.NoError(t, err, "less than the limit was sent in vain")
		_, err = b.bring(t, a, junk[:4096]...)
		require.NoError(t, err)
		_, err = b.bring(t, a)
		require.ErrorIs(t, err, p2p.ErrBusy)
		_, err = c.bring(t, a)
		require.NoError(t, err)
		pass(time.Minute)
		_, err = b.bring(t, a)
		require.NoError(t, err)
		require.Equal(t, before, a.lib.Record())
	})
}
