package nettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tunnel"
)

// These are the arguments of [TestApp] and of its calls.
type (
	appConfig struct {
		Seed   byte   // seed of its key
		Other  string // the identity that it tracks
		Manual string // the address that it dials; may be empty
		Hidden bool   // visible only to the other node
	}

	appUse struct { // "use": uses the other node, until "enough"
		Peer string
		As   string // "stream", "tunnel", "fetch" or "take", the latter two for files
	}
)

// An application is a node that uses another one like an app.
type application struct {
	console *netlab.Console
	node    *p2p.P2P
	key     identity.Identity
	enough  chan struct{}   // closed when uses are to end
	passed  [2]atomic.Int64 // bytes received on its stream, and in its tunnel
}

// TestApp is not a test but a program that others run on a host.
func TestApp(t *testing.T) {
	var cfg appConfig
	a := &application{console: netlab.Program(t, &cfg), enough: make(chan struct{})}
	var err error
	a.key, err = identity.FromSeed(bytes.Repeat([]byte{cfg.Seed}, identity.SeedSize))
	require.NoError(t, err)
	q := quic.Config{Port: quic.DefaultPort}
	if cfg.Manual != "" {
		q.ManualPeers = []string{cfg.Manual}
	}
	hooks := []p2p.Hook{quic.New(q), &tracker{[]string{cfg.Other}}}
	if cfg.Hidden {
		listener := quic.New(quic.Config{})
		discovery, contacts := discover(t, a.console, nodeConfig{Contacts: []string{cfg.Other}, Mode: mdns.ContactsOnly}, listener)
		hooks = append(contacts, listener, discovery)
	}
	a.node, err = p2p.Start(t.Context(), p2p.Config{
		App: app, Identity: a.key, Handler: a.routes(), Hooks: hooks,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	go func() {
		for e := range a.node.Watch(context.Background()) { // from the present state on: Start may have found the other one
			tell(a.console, e)
		}
	}()
	netlab.Handle(a.console, "use", func(u appUse) (none, error) { return none{}, a.use(t.Context(), u) })
	netlab.Handle(a.console, "passed", func(none) (all [2]int64, err error) {
		for i := range all {
			all[i] = a.passed[i].Load()
		}
		return all, nil
	})
	netlab.Handle(a.console, "enough", func(none) (none, error) { close(a.enough); return none{}, nil })
	a.console.Tell("started")
	a.console.Serve()
	require.NoError(t, a.node.Shutdown(t.Context()))
}

func (a *application) routes() *p2p.Mux {
	var routes p2p.Mux
	routes.HandleFunc("stream", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error {
		return exchange(s, nil, new(atomic.Int64))
	})
	routes.HandleFunc("tunnel", p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		session, err := library.Session(a.node, s)
		if err != nil {
			return err
		}
		c, err := tunnel.NewResponder(a.onlyFor(s.RemoteIdentity()), tunnel.Limits{}).Accept(ctx, session)
		if err != nil {
			return err
		}
		defer c.Close()
		return exchange(c, nil, new(atomic.Int64))
	})
	routes.HandleFunc("fetch", p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error { return a.send(ctx, s) })
	routes.HandleFunc("take", p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		err := a.receive(ctx, s)
		a.console.Tell("taken", fmt.Sprint(err))
		return err
	})
	return &routes
}

// onlyMember is the directory of a library with one other member, whose
// instance has the same key as its node.
type onlyMember struct {
	credential *tunnel.Credential
	member     tunnel.Member
}

func (a *application) onlyFor(other identity.RemoteIdentity) onlyMember {
	return onlyMember{tunnel.NewCredential(uuid.UUID{1}, a.key, [32]byte{1}), tunnel.Member{Instance: other, Node: other}}
}

func (o onlyMember) Credentials() []*tunnel.Credential { return []*tunnel.Credential{o.credential} }

func (o onlyMember) Member(*tunnel.Credential, [32]byte) (tunnel.Member, bool) { return o.member, true }

func (o onlyMember) Knows(identity.RemoteIdentity) bool { return true }

func (o onlyMember) Allow(context.Context, uuid.UUID, tunnel.Member) bool { return true }

// use uses the other node until it is told that this is enough.
func (a *application) use(ctx context.Context, u appUse) error {
	id, err := identity.Parse(u.Peer)
	if err != nil {
		return err
	}
	peer, ok := a.node.Peer(id)
	if !ok {
		return p2p.ErrUnavailable
	}
	s, err := peer.Open(ctx, u.As)
	if err != nil {
		return err
	}
	defer s.Close()
	switch u.As {
	case "stream":
		return exchange(s, a.enough, &a.passed[0])
	case "fetch":
		return a.receive(ctx, s)
	case "take":
		return a.send(ctx, s)
	}
	session, err := library.Session(a.node, s)
	if err != nil {
		return err
	}
	with := a.onlyFor(id)
	c, err := tunnel.Open(ctx, session, with.credential, with.member)
	if err != nil {
		return err
	}
	defer c.Close()
	return exchange(c, a.enough, &a.passed[1])
}

// exchange sends the bytes of pumped, some megabytes a second, and requires the
// same from the other side, until it is told that this is enough, or the other
// side has ended.
func exchange(c interface {
	io.ReadWriter
	CloseWrite() error
}, enough chan struct{}, passed *atomic.Int64) error {
	over := make(chan struct{})
	if enough == nil {
		enough = over
	}
	sent := make(chan error, 1)
	go func() {
		for source, b := pumped(), make([]byte, 16<<10); ; time.Sleep(5 * time.Millisecond) {
			select {
			case <-enough:
				sent <- c.CloseWrite()
				return
			default:
			}
			source.Read(b)
			if _, err := c.Write(b); err != nil {
				sent <- err
				return
			}
		}
	}()
	err := comparePumped(c, passed)
	close(over)
	if err != nil {
		return err
	}
	return <-sent
}

// comparePumped requires the bytes of pumped, up to the end.
func comparePumped(r io.Reader, passed *atomic.Int64) error {
	source, want, got := pumped(), make([]byte, 16<<10), make([]byte, 16<<10)
	for {
		n, err := r.Read(got)
		source.Read(want[:n])
		if !bytes.Equal(want[:n], got[:n]) {
			return fmt.Errorf("wrong bytes after %d", passed.Load())
		}
		passed.Add(int64(n))
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A longFile takes seconds to read, and does not end before it is told that
// this is enough.
type longFile struct {
	bytes  []byte
	enough chan struct{}
}

const longSize = 16 << 20

func longBytes() []byte {
	b := make([]byte, longSize)
	pumped().Read(b)
	return b
}

func (f longFile) ReadAt(b []byte, at int64) (int, error) {
	time.Sleep(time.Duration(len(b)) * time.Second / (longSize / 4))
	if at+int64(len(b)) >= longSize-1<<20 {
		<-f.enough
	}
	return bytes.NewReader(f.bytes).ReadAt(b, at)
}

func (a *application) send(ctx context.Context, s net.Conn) error {
	file := longFile{longBytes(), a.enough}
	_, err := block.Send(ctx, s, []block.Source{{Name: "long", Reader: file, Size: longSize, ModTime: time.Unix(1, 0)}}, block.SendOptions{})
	return err
}

func (a *application) receive(ctx context.Context, s net.Conn) error {
	dir, err := os.MkdirTemp("", "apps")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := block.Receive(ctx, s, nil, root, block.ReceiveOptions{}); err != nil {
		return err
	}
	got, err := root.ReadFile("long")
	if err == nil && !bytes.Equal(got, longBytes()) {
		err = errors.New("the file has other bytes")
	}
	return err
}

// A travel is a node that uses another one, or is used, while it moves.
type travel struct {
	roamer, router *netlab.Host
	first, second  *netlab.Segment
	nodes          [2]*netlab.Process // the roamer, and the other node
	ids            [2]string
	caller         int
}

func newTravel(t *testing.T, dialed bool) *travel {
	t.Helper()
	lab := netlab.New(t, 3)
	other := lab.Hosts[2]
	r := &travel{roamer: lab.Hosts[0], router: lab.Hosts[1], ids: [2]string{idOf(t, keys[0]), idOf(t, keys[1])}}
	r.first, r.second = lab.Segment(1, r.roamer, r.router), lab.Segment(2, r.router)
	third := lab.Segment(3, r.router, other)
	lab.Disconnect()
	r.router.Run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	r.over(r.first)
	other.Run("ip", "route", "replace", "default", "via", third.Prefixes(r.router, 0)[0].Addr().String())
	hosts, at := []*netlab.Host{r.roamer, other}, []*netlab.Segment{r.first, third}
	if dialed {
		r.caller = 1
	}
	callee := 1 - r.caller
	r.nodes[callee] = hosts[callee].StartProgram(t, "TestApp", appConfig{Seed: keys[callee], Other: r.ids[r.caller]})
	r.nodes[callee].Await(time.Time{}, "started")
	there := netip.AddrPortFrom(at[callee].Prefixes(hosts[callee], 0)[0].Addr(), quic.DefaultPort).String()
	r.nodes[r.caller] = hosts[r.caller].StartProgram(t, "TestApp", appConfig{Seed: keys[r.caller], Other: r.ids[callee], Manual: there})
	r.nodes[r.caller].Await(time.Time{}, "discovered", r.ids[callee], "quic")
	return r
}

func (r *travel) over(s *netlab.Segment) {
	r.roamer.Run("ip", "route", "replace", "default", "via", s.Prefixes(r.router, 0)[0].Addr().String(), "dev", s.Interface)
}

// goesOn waits until bytes have arrived that were sent after a move, in each
// direction in use.
func (r *travel) goesOn(t *testing.T) {
	t.Helper()
	before := r.passed(t)
	until(t, func() bool {
		now := r.passed(t)
		return now[0] > before[0]+256<<10 && now[1] > before[1]+256<<10
	})
}

func (r *travel) passed(t *testing.T) [2]int64 {
	t.Helper()
	all, err := netlab.Call[[2]int64](r.nodes[r.caller], "passed", none{})
	require.NoError(t, err)
	return all
}

// Data that apps have in transit while a node's address changes, and then its
// interface, arrives: on streams, in tunnels, and in files, which either side
// sends.
func TestRoamingApps(t *testing.T) {
	t.Parallel()
	for _, dialed := range []bool{false, true} {
		t.Run(side(dialed), func(t *testing.T) {
			t.Parallel()
			r := newTravel(t, dialed)
			ended := r.useAll()
			r.goesOn(t)
			for i := range 3 {
				r.first.Remove(r.roamer, r.first.Prefixes(r.roamer, i)...)
				r.first.Add(r.roamer, r.first.Prefixes(r.roamer, i+1)...)
				r.over(r.first)
				r.goesOn(t)
			}
			r.second.Plug(r.roamer)
			r.first.Unplug(r.roamer)
			r.over(r.second)
			r.goesOn(t)
			r.finish(t, ended)
		})
	}
}

// useAll has the caller use the other node in all ways. The channel reports
// uses that end.
func (r *travel) useAll() (ended chan error) {
	uses := []string{"stream", "tunnel", "fetch", "take"}
	ended = make(chan error, len(uses))
	for _, as := range uses {
		go func() {
			_, err := netlab.Call[none](r.nodes[r.caller], "use", appUse{r.ids[1-r.caller], as})
			if err != nil {
				err = fmt.Errorf("%s: %w", as, err)
			}
			ended <- err
		}()
	}
	return ended
}

// finish ends all uses, and requires that none failed.
func (r *travel) finish(t *testing.T, ended chan error) {
	t.Helper()
	require.Empty(t, ended, "no use may end before it is told to")
	for _, p := range r.nodes {
		_, err := netlab.Call[none](p, "enough", none{})
		require.NoError(t, err)
	}
	for range cap(ended) {
		require.NoError(t, <-ended)
	}
	taken := r.nodes[1-r.caller].Await(time.Time{}, "taken")
	require.Equal(t, "<nil>", taken.About[0])
}

// Streams, tunnels and files also work between two nodes that are visible only
// to each other; even while keys change.
func TestContactApps(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	r := &travel{ids: [2]string{idOf(t, keys[0]), idOf(t, keys[1])}}
	for i, h := range lab.Hosts {
		r.nodes[i] = h.StartProgram(t, "TestApp", appConfig{Seed: keys[i], Other: r.ids[1-i], Hidden: true})
	}
	for i, p := range r.nodes {
		p.Await(time.Time{}, "discovered", r.ids[1-i], "contact")
	}
	ended := r.useAll()
	r.goesOn(t)
	for i, p := range r.nodes {
		_, err := netlab.Call[none](p, "set contacts", []string{r.ids[1-i], identity.New().Remote().String()})
		require.NoError(t, err)
	}
	r.goesOn(t)
	r.finish(t, ended)
}
