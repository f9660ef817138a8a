package library_test

import (
	"bytes"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// encoded returns messages in their wire format.
func encoded(t testing.TB, messages ...interface{ AppendBinary([]byte) ([]byte, error) }) (b []byte) {
	var err error
	for _, m := range messages {
		b, err = m.AppendBinary(b)
		require.NoError(t, err)
	}
	return b
}

// TestExchangeCutByOpener: an exchange that the opener cuts, after any byte,
// changes nothing; the next one works.
func TestExchangeCutByOpener(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.cfg.Limits = plenty
		of := running(t, network, a, b)
		before, kept := a.lib.Record(), len(a.records())
		m := newDevice()
		theirs := of.copied()
		theirs.join(m, library.RoleMember)
		whole := encoded(t, roster.Ends{}, theirs.beyond(of))
		for i := range whole {
			c := b.route(t, a, "sdp2p/roster")
			_, err := c.Write(whole[:i])
			require.NoError(t, err)
			synctest.Wait()
			if i%2 == 0 {
				require.NoError(t, c.CloseWrite())
			} else {
				c.Abort(io.EOF)
			}
			pass(time.Millisecond)
			require.Equal(t, before, a.lib.Record(), i)
		}
		require.Len(t, a.records(), kept)
		require.Empty(t, a.told())
		_, err := b.bring(t, a, theirs.beyond(of)...)
		require.NoError(t, err)
		require.Contains(t, a.members(), m.own())
		require.Len(t, a.records(), kept+1)
		require.Len(t, a.told(), 1)
	})
}

// TestExchangeCutByAnswerer: an exchange that the answerer cuts, after any
// byte, changes nothing, and is tried again until it is complete.
func TestExchangeCutByAnswerer(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleMember)
		theirs := of.copied()
		m := newDevice()
		theirs.join(m, library.RoleMember)
		whole := encoded(t, roster.Ends{}, theirs.beyond(of))
		var tries atomic.Int32
		b.startAnswerer(t, network, of.record(), a, func(c *tunnel.Conn) {
			n := min(int(tries.Add(1))-1, len(whole))
			c.Write(whole[:n])
			switch {
			case n < len(whole) && n%2 == 0:
				c.Abort(io.EOF)
			default:
				c.CloseWrite()
				io.Copy(io.Discard, c)
				c.Close()
			}
		})
		a.start(t, network, p2p.Config{})
		a.load(t, of.record())
		before := a.lib.Record()
		for int(tries.Load()) <= len(whole) {
			require.Equal(t, before, a.lib.Record(), tries.Load())
			require.Empty(t, a.told())
			network.Link(a.Identity(), b.Identity()).Cut()
			pass(time.Second)
			network.Link(a.Identity(), b.Identity()).Restore()
			pass(time.Second)
		}
		require.Contains(t, a.members(), m.own())
		require.Len(t, a.records(), 1)
		require.Len(t, a.told(), 1)
	})
}

// TestExchangeIsKeptByBoth: a member counts as told only once it has stored
// what it was sent: a member that cannot store it is told again.
func TestExchangeIsKeptByBoth(t *testing.T) {
	for _, broken := range []string{"the opener", "the answerer"} {
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			a, b := newDevice(), newDevice()
			var full atomic.Bool
			b.cfg.Changed = func(library.Record) error {
				if full.Load() {
					return errTest
				}
				return nil
			}
			of := running(t, network, a, b)
			m := newDevice()
			full.Store(true)
			if broken == "the answerer" {
				a.admit(t, m)
				pass(time.Second)
			} else {
				network.Link(a.Identity(), b.Identity()).Cut()
				a.admit(t, m)
				require.NoError(t, a.Unregister(t.Context(), a.libraries)) // so that b calls a
				pass(time.Second)
				network.Link(a.Identity(), b.Identity()).Restore()
				require.NoError(t, a.Register(t.Context(), a.libraries))
				pass(time.Second)
			}
			require.Equal(t, of.record().Statements, b.lib.Record().Statements)
			require.Empty(t, b.told())
			full.Store(false)
			pass(5 * time.Minute)
			require.Equal(t, names(a.members()), names(b.members()), broken)
			require.Len(t, b.told(), 1)
		})
	}
}

// TestHostileExchange: an exchange ends if a statement is not signed, belongs
// to another library or has no predecessor, or if there are too many; nothing
// of it is accepted. Statements that strangers have signed are ignored.
func TestHostileExchange(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, m := newDevice(), newDevice(), newDevice()
		a.cfg.Limits = plenty
		of := running(t, network, a, b)
		before := a.lib.Record()
		theirs := of.copied()
		theirs.join(m, library.RoleMember)
		good := theirs.beyond(of)
		altered := func(f func(*roster.Statement)) roster.Statements {
			s := slices.Clone(good)
			for i := range s {
				s[i].Body = slices.Clone(s[i].Body)
				if s[i].Signer == a.own() {
					f(&s[i])
				}
			}
			return s
		}
		other := newCharterOf(t, a, uuid.New(), library.Secret{})
		other.join(m, library.RoleMember)
		founder := newCharterOf(t, b, of.rest.ID, library.Secret{})
		long := encoded(t, good)
		long = append(long[:len(long)-1], long[:len(long)-1]...) // the last one twice, which does no harm
		for name, message := range map[string][]byte{
			"unsigned":        encoded(t, altered(func(s *roster.Statement) { s.Signature = [64]byte{} })),
			"altered":         encoded(t, altered(func(s *roster.Statement) { s.Body[0]++ })),
			"another number":  encoded(t, altered(func(s *roster.Statement) { s.Counter++ })),
			"no predecessor":  encoded(t, altered(func(s *roster.Statement) { s.Previous = roster.Hash{1} })),
			"another library": encoded(t, append(slices.Clone(good), other.roster.All()...)),
			"another founder": encoded(t, append(slices.Clone(good), founder.roster.All()...)),
			"no end":          long,
			"a long body":     append([]byte{1}, bytes.Repeat([]byte{0xff}, 1000)...),
			"no key":          append(append([]byte{1}, of.rest.ID[:]...), bytes.Repeat([]byte{0xff}, 1000)...),
		} {
			c := b.route(t, a, "sdp2p/roster")
			c.Write(append(encoded(t, roster.Ends{}), message...)) // until it is reset
			c.CloseWrite()
			_, err := io.Copy(io.Discard, c)
			require.ErrorIs(t, err, p2p.ErrHandlerFailed, name)
			require.Equal(t, before, a.lib.Record(), name)
		}
		for name, message := range map[string][]byte{
			"ends without an end": {0xff, 0xff, 0xff, 0xff}, "too many ends": {1, 0, 1, 0}, "ends of nobody": append([]byte{1, 0, 0, 0}, make([]byte, 68)...),
		} {
			c := b.route(t, a, "sdp2p/roster")
			c.Write(message)
			c.CloseWrite()
			_, err := io.Copy(io.Discard, c)
			require.ErrorIs(t, err, p2p.ErrHandlerFailed, name)
			require.Equal(t, before, a.lib.Record(), name)
		}
		stranger := newDevice()
		said := append(slices.Clone(good), stranger.first(t, of.rest))
		_, err := b.bring(t, a, said...)
		require.NoError(t, err)
		require.Equal(t, theirs.record().Statements, a.lib.Record().Statements)
	})
}

// TestEndlessExchange: a member that sends statements without end is cut off
// after 10 s, or after the limit of an exchange.
func TestEndlessExchange(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		c := b.route(t, a, "sdp2p/roster")
		_, err := c.Write(encoded(t, roster.Ends{}))
		require.NoError(t, err)
		go io.Copy(io.Discard, c)
		began := time.Now()
		one, err := b.lib.Record().Statements[0].AppendBinary(nil)
		require.NoError(t, err)
		for err == nil {
			_, err = c.Write(one)
			time.Sleep(100 * time.Millisecond)
		}
		require.LessOrEqual(t, time.Since(began), 11*time.Second)
		require.NoError(t, b.echo(t, a))
	})
}

// TestBothOpen: two exchanges that both sides open at once have the effect of
// one.
func TestBothOpen(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		of.run(network, a, b)
		network.Link(a.Identity(), b.Identity()).SetDelay(50 * time.Millisecond)
		var all []*device
		for range 3 {
			c, d := newDevice(), newDevice()
			a.admit(t, c)
			b.admit(t, d)
			all = append(all, c, d)
			pass(20 * time.Second)
			require.Len(t, a.members(), 2+len(all))
			require.Equal(t, names(a.members()), names(b.members()))
			require.ElementsMatch(t, a.lib.Record().Statements, b.lib.Record().Statements)
			require.Len(t, a.told(), 2)
			require.Len(t, b.told(), 2)
		}
	})
}

// TestBackup: a device that was restored from an old backup gets everything
// that it has forgotten, including its own statements, and goes on from there.
// If it signs a statement before that, the others report a fork, once, and both
// branches count.
func TestBackup(t *testing.T) {
	for _, signs := range []bool{false, true} {
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			a, b, c, d := newDevice(), newDevice(), newDevice(), newDevice()
			of := newCharter(t, a)
			of.join(b, library.RoleAdmin)
			of.join(c, library.RoleMember)
			of.run(network, a, b, c)
			backup := b.lib.Record()
			b.admit(t, d)
			require.NoError(t, b.remove(c))
			pass(time.Minute)
			b.stop(t)
			b.start(t, network, p2p.Config{})
			for _, o := range []*device{a, c} { // until b may have signed another statement
				network.Link(b.Identity(), o.Identity()).Cut()
			}
			b.load(t, backup)
			late := newDevice()
			if signs {
				b.admit(t, late)
			}
			for _, o := range []*device{a, c} {
				network.Link(b.Identity(), o.Identity()).Restore()
			}
			pass(5 * time.Minute)
			if !signs {
				b.admit(t, late)
				pass(time.Minute)
			}
			for _, o := range []*device{a, b} {
				require.ElementsMatch(t, names(ids(a, b, d, late)), names(o.members()))
				forks := slices.DeleteFunc(o.story(a, b), func(s string) bool { return s != "1 forked" })
				if signs {
					require.Len(t, forks, 1)
				} else {
					require.Empty(t, forks)
				}
			}
			require.Error(t, c.echo(t, b))
			last := a.lib.Roster().Forked
			b.admit(t, newDevice())
			pass(time.Minute)
			require.Equal(t, last, a.lib.Roster().Forked)
			require.Equal(t, []string{"? added by 1"}, a.story(a, b), "the fork is not reported again")
		})
	}
}

// TestImport: statements that were handed over in a file count like any others.
// A damaged file changes nothing.
func TestImport(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		network.Link(a.Identity(), b.Identity()).Cut()
		m := newDevice()
		a.admit(t, m)
		require.NoError(t, a.lib.Rotate())
		var file bytes.Buffer
		require.NoError(t, a.lib.Export(&file))
		secret := a.lib.Record().Secret.Bytes()
		require.False(t, bytes.Contains(file.Bytes(), secret[:]))
		before := b.lib.Record()
		for i := range file.Len() {
			require.Error(t, b.lib.Import(bytes.NewReader(file.Bytes()[:i])))
		}
		for i := 0; i < file.Len(); i += 7 {
			bad := bytes.Clone(file.Bytes())
			bad[i] ^= 4
			b.lib.Import(bytes.NewReader(bad)) // it may be cut before the altered byte
			require.Equal(t, before, b.lib.Record(), i)
		}
		require.NoError(t, b.lib.Import(bytes.NewReader(file.Bytes())))
		require.Equal(t, names(a.members()), names(b.members()))
		require.Len(t, b.told(), 1)
		require.NoError(t, b.lib.Import(bytes.NewReader(file.Bytes())))
		require.Empty(t, b.told())
		require.Equal(t, before.Secret, b.lib.Record().Secret, "no file contains the secret")

		c := newDevice()
		c.start(t, network, p2p.Config{})
		c.found(t, library.RecoveryKey{})
		require.ErrorIs(t, c.lib.Import(bytes.NewReader(file.Bytes())), roster.ErrOtherLibrary)
	})
}

// TestMembersMeet: a member that joined through one device is a member on all.
func TestMembersMeet(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		running(t, network, a, b, c)
		for _, d := range []*device{a, b, c} {
			require.Len(t, d.members(), 3)
		}
		for _, pair := range [][2]*device{{a, b}, {b, a}, {b, c}, {c, b}, {a, c}, {c, a}} {
			require.NoError(t, pair[0].echo(t, pair[1]))
		}
	})
}

// TestRemovalReachesAll: a removal on one device cuts the member's tunnels on
// all.
func TestRemovalReachesAll(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		running(t, network, a, b, c)
		open := c.open(t, b)
		touch(t, open)
		secret := a.lib.Record().Secret
		require.NoError(t, a.lib.Remove(c.instance.Remote(), library.RemoveOptions{}))
		pass(time.Second)
		_, err := open.Read(make([]byte, 1))
		require.Error(t, err)
		require.Error(t, c.echo(t, a))
		require.Error(t, c.echo(t, b))
		require.ErrorIs(t, b.echo(t, c), library.ErrNoMember)
		pass(time.Minute)
		require.NotEqual(t, secret, a.lib.Record().Secret)
		require.Equal(t, a.lib.Record().Secret, b.lib.Record().Secret)
		require.Equal(t, secret, c.lib.Record().Secret)
		require.NoError(t, a.echo(t, b))
		require.NoError(t, b.echo(t, a))
	})
}
