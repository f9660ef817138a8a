package library_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/soak"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// TestMain lets the test binary act as a device, for the tests with several
// processes. It lowers rapid's number of checks, unless the command line gives
// one: each check simulates a network for minutes.
func TestMain(m *testing.M) {
	if os.Getenv(processEnv) != "" {
		beProcess()
		return
	}
	soak.Checks(10, 100)
	os.Exit(m.Run())
}

// A device is a node with libraries. It keeps every record that the hook tells
// it to keep.
type device struct {
	*p2p.P2P
	libraries *library.Libraries
	id        identity.Identity // in every library that it has not founded
	instance  identity.Identity // in every library except those that it founds, for which an app has one each
	lib       *library.Library  // the library that was added last
	cfg       library.Config
	log       counter // of a node over QUIC

	mu      sync.Mutex
	kept    []library.Record
	events  []library.Event // since told was called last
	handled []error         // the results of the handler of the route "echo"
}

func newDevice() *device { return &device{id: identity.New(), instance: identity.New()} }

func newDevices(n int) (all []*device) {
	for range n {
		all = append(all, newDevice())
	}
	return all
}

// own returns the device's instance of its library.
func (d *device) own() identity.RemoteIdentity {
	if d.lib != nil {
		return d.lib.Instance()
	}
	return d.instance.Remote()
}

// first returns the device's statement number 1 for a library: where it lives.
func (d *device) first(t testing.TB, r library.Record) roster.Statement {
	all := roster.New(r.ID, r.Founder)
	s, err := all.Draft(d.instance.Remote(), roster.SignMove(d.id, r.Founder, r.ID, d.instance.Remote(), 1), time.Now())
	require.NoError(t, err)
	require.NoError(t, s.Sign(d.instance, r.Founder))
	return s
}

// hook makes the device's hook, and the mux that serves its libraries.
func (d *device) hook() *p2p.Mux {
	cfg := d.cfg
	cfg.Changed = func(r library.Record) error {
		if d.cfg.Changed != nil {
			if err := d.cfg.Changed(r); err != nil {
				return err
			}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.kept = append(d.kept, r)
		return nil
	}
	cfg.Notify = func(e library.Event) {
		if d.cfg.Notify != nil {
			d.cfg.Notify(e)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.events = append(d.events, e)
	}
	d.libraries = library.New(cfg)
	var mux p2p.Mux
	mux.Handle(library.Route, p2p.Anyone, d.libraries)
	return &mux
}

// start starts a device's node on a network in memory.
func (d *device) start(t testing.TB, network *p2ptest.Network, cfg p2p.Config) {
	t.Helper()
	cfg.Identity, cfg.Handler = d.id, d.hook()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	d.P2P = network.Start(t, cfg)
	require.NoError(t, d.Register(t.Context(), d.libraries))
}

func (d *device) stop(t testing.TB) {
	t.Helper()
	require.NoError(t, d.Shutdown(context.Background()))
}

// found makes a library on a device, with a route "echo".
func (d *device) found(t testing.TB, key library.RecoveryKey) {
	t.Helper()
	lib, err := d.libraries.Found("photos", key)
	require.NoError(t, err)
	d.use(lib)
}

// join has another device make this one a member of its library, as pairing
// does.
func (d *device) join(t testing.TB, by *device, role library.Role) {
	t.Helper()
	_, err := by.lib.Admit(d.first(t, by.lib.Record()), role, d.Metadata()["name"], library.RecoveryKey{})
	require.NoError(t, err)
	d.load(t, by.lib.Record())
}

// load adds a library with a given record.
func (d *device) load(t testing.TB, r library.Record) {
	t.Helper()
	lib, err := d.libraries.Add(r, d.instance)
	require.NoError(t, err)
	d.use(lib)
}

func (d *device) use(lib *library.Library) {
	d.lib = lib
	d.lib.Handle("echo", func(_ context.Context, c *tunnel.Conn) error {
		_, err := io.Copy(c, c)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.handled = append(d.handled, err)
		return err
	})
}

// add adds a new library that other devices are members of.
func (d *device) add(t testing.TB, others ...*device) *charter {
	t.Helper()
	c := newCharter(t, d)
	for _, o := range others {
		c.join(o, library.RoleMember)
	}
	d.load(t, c.record())
	return c
}

// admit makes another device a member.
func (d *device) admit(t testing.TB, o *device) {
	t.Helper()
	_, err := d.lib.Admit(o.first(t, d.lib.Record()), library.RoleMember, "", library.RecoveryKey{})
	require.NoError(t, err)
}

// remove removes another device.
func (d *device) remove(o *device) error {
	return d.lib.Remove(o.own(), library.RemoveOptions{})
}

// story returns the events since the last call as text, with the devices by
// number.
func (d *device) story(of ...*device) (told []string) {
	name := func(id identity.RemoteIdentity) string {
		for i, o := range of {
			if o.own() == id {
				return strconv.Itoa(i)
			}
		}
		return "?"
	}
	for _, e := range d.told() {
		switch e := e.(type) {
		case library.MemberAdded:
			told = append(told, fmt.Sprintf("%s added by %s", name(e.Member.Instance), name(e.By)))
		case library.MemberReturned:
			told = append(told, name(e.Member.Instance)+" returned")
		case library.MemberRemoved:
			s := fmt.Sprintf("%s removed by %s", name(e.Member.Instance), name(e.By))
			var with []string
			for _, m := range e.Introduced {
				with = append(with, ", with "+name(m.Instance))
			}
			slices.Sort(with)
			s += strings.Join(with, "")
			told = append(told, s)
		case library.Asked:
			s := fmt.Sprintf("%s asks to add %s", name(e.Request.By.Instance), name(e.Request.Instance))
			if e.Request.Remove {
				s = strings.Replace(s, "add", "remove", 1)
			}
			told = append(told, s)
		case library.Forked:
			told = append(told, name(e.Instance)+" forked")
		}
	}
	return told
}

// told returns the events since the last call.
func (d *device) told() (events []library.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	events, d.events = d.events, nil
	return events
}

// records returns the records that the device was told to keep.
func (d *device) records() []library.Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]library.Record(nil), d.kept...)
}

// served returns the number of tunnels that the route "echo" has served.
func (d *device) served() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.handled)
}

// open opens a tunnel to the route "echo" of a member, and aborts it at the end
// of the test.
func (d *device) open(t testing.TB, to *device) *tunnel.Conn {
	t.Helper()
	c, err := d.lib.Open(t.Context(), to.own(), "echo")
	require.NoError(t, err)
	t.Cleanup(func() { c.Abort(context.Canceled) })
	return c
}

// stream opens a stream for a tunnel, before its handshake.
func (d *device) stream(t testing.TB, to identity.RemoteIdentity) (*p2p.Stream, tunnel.Session) {
	t.Helper()
	peer, ok := d.Peer(to)
	require.True(t, ok)
	s, err := peer.Open(t.Context(), library.Route)
	require.NoError(t, err)
	session, err := library.Session(d.P2P, s)
	require.NoError(t, err)
	return s, session
}

func (d *device) credential() *tunnel.Credential {
	return tunnel.NewCredential(d.lib.ID(), d.instance, d.lib.Record().Secret.Bytes())
}

// raw opens a tunnel, and names no route in it. The stream under it may be
// wrapped.
func (d *device) raw(t testing.TB, to *device, wrap func(*p2p.Stream) net.Conn) *tunnel.Conn {
	t.Helper()
	return d.rawWith(t, to, d.lib.Record().Secret, wrap)
}

// rawWith is raw with a given secret in place of the present one.
func (d *device) rawWith(t testing.TB, to *device, secret library.Secret, wrap func(*p2p.Stream) net.Conn) *tunnel.Conn {
	t.Helper()
	s, session := d.stream(t, to.id.Remote())
	if wrap != nil {
		session.Stream = wrap(s)
	}
	c, err := tunnel.Open(t.Context(), session, tunnel.NewCredential(d.lib.ID(), d.instance, secret.Bytes()), tunnel.Member{Instance: to.own(), Node: to.id.Remote()})
	require.NoError(t, err)
	return c
}

// echo opens a tunnel to a member, and has it echo a text.
func (d *device) echo(t testing.TB, to *device) error {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := d.lib.Open(ctx, to.own(), "echo")
	if err != nil {
		return err
	}
	return talk(c, "hello")
}

// talk sends a text through a tunnel, and requires it back.
func talk(c *tunnel.Conn, text string) error {
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if err == nil && string(b) != text {
		err = fmt.Errorf("%q came back", b)
	}
	return err
}

// touch has a byte echoed over a tunnel that stays open.
func touch(t testing.TB, c *tunnel.Conn) {
	t.Helper()
	_, err := c.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(c, make([]byte, 1))
	require.NoError(t, err)
}

// lost requires that a tunnel has ended. It is called in a bubble, and must not
// take any simulated time: a waiting read would end once the tunnel is too old.
func lost(t testing.TB, c *tunnel.Conn, why error) {
	t.Helper()
	began := time.Now()
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, why)
	require.Zero(t, time.Since(began))
}

func bubble(t *testing.T, f func(t *testing.T, network *p2ptest.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, p2ptest.NewNetwork(p2ptest.Config{})) })
}

// running starts devices that share a library: the first has founded it, and is
// the only admin.
func running(t testing.TB, network *p2ptest.Network, devices ...*device) *charter {
	t.Helper()
	c := newCharter(t, devices[0])
	for _, d := range devices[1:] {
		c.join(d, library.RoleMember)
	}
	c.run(network, devices...)
	return c
}

// pair starts two devices that share a library.
func pair(t testing.TB, network *p2ptest.Network) (a, b *device) {
	t.Helper()
	a, b = newDevice(), newDevice()
	running(t, network, a, b)
	return a, b
}

// members returns the members that a device sees, itself included.
func (d *device) members() (all []identity.RemoteIdentity) {
	for _, m := range d.lib.Roster().Members {
		all = append(all, m.Instance)
	}
	return all
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
