package library_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
)

// A charter makes the record of a library without running any node.
type charter struct {
	t       testing.TB
	founder *device
	roster  *roster.Roster
	rest    library.Record // everything but the statements
}

// newCharter makes a library founded by a device's own instance.
func newCharter(t testing.TB, founder *device) *charter {
	return newCharterOf(t, founder, uuid.New(), library.NewSecret())
}

// newCharterOf is newCharter with a UUID and a secret, either of which may be
// zero.
func newCharterOf(t testing.TB, founder *device, id uuid.UUID, secret library.Secret) *charter {
	by := founder.instance.Remote()
	c := &charter{t: t, founder: founder, roster: roster.New(id, by), rest: library.Record{ID: id, Founder: by}}
	if founder.id.IsZero() { // the founder is a recovery key
		c.sign(founder, roster.Move{})
	} else {
		c.add(founder.first(t, c.rest))
	}
	if !secret.IsZero() {
		c.secret(founder, secret)
	}
	return c
}

// move has a device state that it lives on another node.
func (c *charter) move(d *device, to identity.Identity) roster.Statement {
	c.t.Helper()
	at := c.roster.Last(d.own()).Counter + 1
	return c.sign(d, roster.SignMove(to, c.rest.Founder, c.rest.ID, d.own(), at))
}

// record returns the record.
func (c *charter) record() library.Record {
	r := c.rest.Clone()
	r.Statements = c.roster.All()
	return r
}

func (c *charter) add(s roster.Statement) roster.Statement {
	c.t.Helper()
	_, err := c.roster.Add(s)
	require.NoError(c.t, err)
	return s
}

// sign has a device sign a statement.
func (c *charter) sign(by *device, body roster.Body) roster.Statement {
	c.t.Helper()
	s, err := c.roster.Sign(by.instance, body, time.Now())
	require.NoError(c.t, err)
	return s
}

// signed has a device sign a statement that the device second has endorsed
// before.
func (c *charter) signed(by, second *device, body roster.Body) roster.Statement {
	c.t.Helper()
	s, err := c.roster.Draft(by.instance.Remote(), body, time.Now())
	require.NoError(c.t, err)
	c.sign(second, roster.Endorse{Of: s.UnsignedHash()})
	require.NoError(c.t, s.Sign(by.instance, c.rest.Founder))
	return c.add(s)
}

// secret has a device replace the secret.
func (c *charter) secret(by *device, s library.Secret) {
	c.t.Helper()
	c.rest.Secret = s
	c.rest.Number++
	c.sign(by, roster.Secret{Number: c.rest.Number, Hash: roster.HashSecret(s.Bytes())})
}

// join has the founder add a device.
func (c *charter) join(d *device, role library.Role) {
	c.t.Helper()
	c.joinBy(c.founder, d, role)
}

// joinBy has a device add another one.
func (c *charter) joinBy(by, d *device, role library.Role) {
	c.t.Helper()
	c.sign(by, roster.Add{Instance: d.instance.Remote(), Role: role})
	c.add(d.first(c.t, c.rest))
}

// expel has a device remove another one, leaving everything that it has signed
// in effect.
func (c *charter) expel(by, d *device) {
	c.t.Helper()
	c.sign(by, roster.Remove{Instance: d.instance.Remote(), Last: c.roster.Last(d.instance.Remote()).Hash})
}

// run starts devices with the record, and lets them meet.
func (c *charter) run(network *p2ptest.Network, devices ...*device) {
	c.t.Helper()
	for _, d := range devices {
		d.start(c.t, network, p2p.Config{})
		d.load(c.t, c.record())
	}
	pass(5 * time.Second)
	for _, d := range devices {
		d.told()
	}
}

// copied returns a charter with the same statements.
func (c *charter) copied() *charter {
	o := *c
	o.roster = c.roster.Clone()
	return &o
}

// beyond returns the statements that another charter lacks.
func (c *charter) beyond(o *charter) roster.Statements { return c.roster.Missing(o.roster.Ends()) }

// ids returns the instances of devices.
func ids(devices ...*device) (all []identity.RemoteIdentity) {
	for _, d := range devices {
		all = append(all, d.own())
	}
	return all
}

// names returns the text forms of instances.
func names(instances []identity.RemoteIdentity) (all []string) {
	for _, id := range instances {
		all = append(all, id.String()[:8])
	}
	return all
}

// know requires that each of the devices has these members, and no others.
func know(t testing.TB, devices ...*device) {
	t.Helper()
	for _, d := range devices {
		require.ElementsMatch(t, names(ids(devices...)), names(d.members()))
		for _, o := range devices {
			m, ok := d.lib.Roster().Member(o.own())
			require.True(t, ok)
			require.Equal(t, o.id.Remote(), m.Node)
		}
	}
}
