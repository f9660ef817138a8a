package main

import (
	"context"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/p2ptest"
)

// A chooser is a user who sends, on a network on which others receive.
type chooser struct {
	*user
	network *p2ptest.Network
	node    *p2p.P2P
}

func newChooser(t *testing.T) *chooser {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	return &chooser{newUser(t), network, network.Start(t, p2p.Config{})}
}

// add adds a device that receives.
func (c *chooser) add(t *testing.T, name string) *p2p.P2P {
	receives := map[string]string{"receives": "files"}
	return c.network.Start(t, p2p.Config{Name: name, Metadata: receives})
}

func (c *chooser) sender(to string, yes bool) *sender {
	return &sender{c.Console, &options{to: to, yes: yes}, c.node}
}

// A choice is the result of choose.
type choice struct {
	key identity.RemoteIdentity
	err error
}

func (c *chooser) choose(t *testing.T, to string, yes bool) <-chan choice {
	made := make(chan choice, 1)
	go func() {
		p, err := c.sender(to, yes).choose(t.Context())
		if err != nil {
			made <- choice{err: err}
			return
		}
		made <- choice{key: p.Identity()}
	}()
	return made
}

// A device that is named by its fingerprint is chosen as soon as it is there.
func TestChooseFingerprint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, began := newChooser(t), time.Now()
		c.network.Start(t, p2p.Config{Name: "does not receive"})
		c.add(t, "Eve")
		key := identity.New()
		receives := map[string]string{"receives": "files"}
		made := c.choose(t, key.Remote().Fingerprint(), false)
		c.Shows(t, `Waiting for "`+key.Remote().Fingerprint()+`"…`)
		c.network.Start(t, p2p.Config{Name: "Bob", Identity: key, Metadata: receives})
		require.Equal(t, choice{key: key.Remote()}, wait(t, made))
		require.Equal(t, choice{key: key.Remote()}, wait(t, c.choose(t, key.Remote().String(), false)))
		require.Zero(t, time.Since(began))
		require.NotContains(t, c.String(), "?")
	})
}

// A device whose name is the fingerprint or the key of another one is not taken
// for it.
func TestChooseFalseFingerprint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, bob := newChooser(t), identity.New().Remote()
		c.add(t, bob.Fingerprint())
		c.add(t, bob.String())
		require.ErrorContains(t, (wait(t, c.choose(t, bob.Fingerprint(), true))).err, "was not found")
		require.ErrorContains(t, (wait(t, c.choose(t, bob.String(), true))).err, "was not found")
	})
}

// If a name is not verified, the user is asked about it; no answer counts as
// no.
func TestChooseName(t *testing.T) {
	for _, test := range []struct {
		answer string
		yes    bool
		want   bool
	}{{"y\n", false, true}, {"n\n", false, false}, {"", false, false}, {"", true, true}} {
		t.Run(test.answer, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newChooser(t)
				bob := c.add(t, "Bob").Identity()
				c.enter("y\n")
				made := c.choose(t, "Bob", test.yes)
				if !test.yes {
					c.Shows(t, `Send to "Bob" (`+bob.Fingerprint()+`)? Anybody can take that name. [y/N] `)
					if c.enter(test.answer); test.answer == "" {
						c.keys.Close()
					}
				}
				got := wait(t, made)
				if test.want {
					require.Equal(t, choice{key: bob}, got)
					return
				}
				require.ErrorContains(t, got.err, "nothing was sent")
				require.ErrorContains(t, got.err, "--to "+bob.Fingerprint())
			})
		})
	}
}

// If a device has told its name itself, over a connection, the user is not
// asked about the name.
func TestChooseVerified(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newChooser(t)
		bob := c.add(t, "Bob")
		there, ok := bob.Peer(c.node.Identity())
		require.True(t, ok)
		s, err := there.NewStream(t.Context())
		require.NoError(t, err)
		defer s.Reset(p2p.ErrCanceled)
		here, ok := c.node.Peer(bob.Identity())
		require.True(t, ok)
		_, err = here.WaitMetadata(t.Context())
		require.NoError(t, err)
		require.Equal(t, choice{key: bob.Identity()}, wait(t, c.choose(t, "Bob", false)))
		require.NotContains(t, c.String(), "?")
	})
}

// Among several devices of one name, the user chooses; --yes does not.
func TestChooseNotUnique(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newChooser(t)
		c.add(t, "Bob")
		c.network.Start(t, p2p.Config{Name: "Bob"}) // this one does not receive
		made := c.choose(t, "Bob", false)
		synctest.Wait()
		c.add(t, "Bob") // later, but in time
		c.add(t, "Carol")
		c.Shows(t, "  2  \"Bob\" (")
		c.Shows(t, "Send to number: ")
		require.NotContains(t, c.String(), "Carol")
		c.enter("3\n")
		require.EqualError(t, (wait(t, made)).err, `there is no such number: "3"`)
		err := wait(t, c.choose(t, "Bob", true)).err
		require.ErrorContains(t, err, `2 devices are called "Bob"`)
		for _, bob := range c.sender("Bob", false).receivers() {
			require.ErrorContains(t, err, bob.Identity().Fingerprint())
		}
		made = c.choose(t, "", false)
		c.Shows(t, "Looking for devices that receive files…")
		c.Shows(t, "  3  \"Carol\" (")
		c.Shows(t, "Send to number: ")
		c.enter("3\n")
		carol := c.sender("Carol", false).receivers()[0].Identity()
		require.Equal(t, choice{key: carol}, wait(t, made))
		made = c.choose(t, "", true)
		c.Shows(t, "Send to number: ")
		c.keys.Close()
		require.ErrorContains(t, (wait(t, made)).err, "no device was chosen")
	})
}

// A device that has just answered somebody else answers this one up to 1.2 s
// later, while another one of its name answers at once.
func TestChooseLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, to := range []string{"Bob", ""} {
			c := newChooser(t)
			c.add(t, "Bob")
			made := c.choose(t, to, false)
			time.Sleep(6 * time.Second / 5)
			c.add(t, "Bob")
			c.Matches(t, regexp.MustCompile(`  1  "Bob" .*\n  2  "Bob" .*\nSend to number: `))
			c.keys.Close()
			require.Error(t, wait(t, made).err)
		}
	})
}

// If a device is there from the start, the sender waits a moment for another
// one of the same name; if it comes later, the sender does not wait.
func TestChooseSoon(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, began := newChooser(t), time.Now()
		c.add(t, "Bob")
		require.NoError(t, wait(t, c.choose(t, "Bob", true)).err)
		require.Equal(t, twinWithin, time.Since(began))
		made := c.choose(t, "Carol", true)
		time.Sleep(twinWithin)
		c.add(t, "Carol")
		require.NoError(t, wait(t, made).err)
		require.Equal(t, 2*twinWithin, time.Since(began))
	})
}

// The sender waits for a device that does not come, for a minute.
func TestChooseNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, began := newChooser(t), time.Now()
		require.EqualError(t, (wait(t, c.choose(t, "Bob"+evil, false))).err,
			`"Bob\x1b]0;OWNED\a" was not found within 1m0s: does it receive, on the same network?`)
		require.Equal(t, time.Minute, time.Since(began))
		require.ErrorContains(t, (wait(t, c.choose(t, "", false))).err, "no device that receives was found")
	})
}

// Ctrl-C ends a search.
func TestChooseCancel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		u := newUser(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan code)
		cfg := p2p.Config{App: "drop", Hooks: p2ptest.NewNetwork(p2ptest.Config{}).Hooks()}
		go func() { ended <- send(ctx, u.Console, cfg, &options{paths: []string{"."}, to: "Bob"}) }()
		u.Shows(t, `Waiting for "Bob"…`)
		cancel()
		require.Equal(t, exitFailed, wait(t, ended))
		u.Shows(t, "drop: canceled\n")
	})
}
