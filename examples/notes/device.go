package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/pairing"
	"github.com/sdp2p/p2p/quic"
)

// In a device's folder there are
//
//	node.pem   the key of the node
//	libraries  the library, with the key of this device's instance: a library.Store
//	notes.log  the operations
//
// All are for nobody else to read, and the store is open in one program at a
// time.

// A Config describes a device.
type Config struct {
	Folder  string
	Name    string
	Network func() []p2p.Hook                // makes what finds and reaches others: a listener and a discovery
	Wall    func() time.Time                 // the clock; nil: time.Now
	Tell    func(format string, args ...any) // tells the user something; concurrently
	Log     *slog.Logger
}

// A Device is a node with an instance of a library of notes, or with none yet.
type Device struct {
	Config
	store     *library.Store
	node      *p2p.P2P
	network   []p2p.Hook // empty: offline
	libraries *library.Libraries
	pairing   *pairing.Pairing

	notebook atomic.Pointer[Notebook] // nil: none yet
}

// A Notebook is a library of notes, which is being kept in step.
type Notebook struct {
	*Store
	library *library.Library
	syncer  *Syncer
	stop    context.CancelFunc
	running sync.WaitGroup
}

var (
	errNoNotebook = errors.New("there is no notebook here yet: new, or join TICKET")
	errNotebook   = errors.New("there is a notebook here already; use another folder")
)

// Open opens the device in a folder, which it makes if there is none.
func Open(ctx context.Context, cfg Config) (d *Device, err error) {
	if cfg.Wall == nil {
		cfg.Wall = time.Now
	}
	d = &Device{Config: cfg}
	if d.store, err = library.OpenStore(filepath.Join(cfg.Folder, "libraries")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close(ctx))
		}
	}()
	id, err := identity.LoadOrCreate(filepath.Join(cfg.Folder, "node.pem"))
	if err != nil {
		return nil, err
	}
	d.libraries = library.New(library.Config{Store: d.store, Notify: d.happened})
	d.pairing = pairing.New(pairing.Config{Libraries: d.libraries})
	for _, l := range d.libraries.All() { // before the node is there, so that nobody finds half of it
		if err := d.attach(l); err != nil {
			return nil, err
		}
	}
	var mux p2p.Mux
	mux.Handle(library.Route, p2p.Anyone, d.libraries) // the tunnels authenticate
	mux.Handle(pairing.Route, p2p.Anyone, d.pairing)
	d.network = cfg.Network()
	d.node, err = p2p.Start(ctx, p2p.Config{
		App: "notes", Name: cfg.Name, Identity: id, Handler: &mux, Logger: cfg.Log,
		Hooks: append([]p2p.Hook{d.libraries, d.pairing}, d.network...),
	})
	return d, err
}

// addrs returns where others may reach the device, for --manual there.
func (d *Device) addrs() (all []netip.AddrPort) {
	for _, hook := range d.network {
		if l, ok := hook.(*quic.Listener); ok {
			all = append(all, l.Addrs()...)
		}
	}
	return all
}

// Found makes a notebook, which other devices can join, and returns its
// recovery key: with it, any member can be made an admin, and any admin
// removed. It is kept nowhere.
func (d *Device) Found() (library.RecoveryKey, error) {
	if d.notebook.Load() != nil {
		return library.RecoveryKey{}, errNotebook
	}
	key := library.NewRecoveryKey()
	l, err := d.libraries.Found("Notes", key)
	if err != nil {
		return key, err
	}
	return key, d.attach(l)
}

// attach opens the notes of a library, and begins to exchange them.
func (d *Device) attach(l *library.Library) error {
	s, cut, err := OpenStore(d.Folder, l, d.Wall)
	if err != nil {
		return err
	}
	if cut > 0 {
		d.Tell("cut off %d bytes of a change that was being written when the program ended", cut)
	}
	if l.Role() == 0 {
		d.Tell("this device is no member of the notebook: what it has can be read. To join again, use another folder")
	}
	ctx, stop := context.WithCancel(context.Background())
	n := &Notebook{Store: s, library: l, syncer: NewSyncer(s, l, d.Wall, d.Log), stop: stop}
	n.running.Go(func() { n.syncer.Run(ctx, d.libraries) })
	d.notebook.Store(n)
	return nil
}

// find returns a member by its name or its node's fingerprint.
func (n *Notebook) find(name string) (found library.Member, err error) {
	for _, m := range n.library.Members() {
		if m.Member.Name != name && m.Member.Node.Fingerprint() != name {
			continue
		}
		if !found.Instance.IsZero() {
			return found, fmt.Errorf("more than one member is called %q: take the fingerprint, which members shows", name)
		}
		found = m.Member
	}
	if found.Instance.IsZero() {
		return found, fmt.Errorf("no member is called %q", name)
	}
	return found, nil
}

// Remove removes a member: it gets nothing more, and what it writes from now on
// counts nowhere. The recovery key, or zero, is for members that are admins:
// without it the other admins are asked, and the error is [library.ErrAsked].
func (n *Notebook) Remove(name string, key library.RecoveryKey) error {
	m, err := n.find(name)
	if err != nil {
		return err
	}
	if err := n.library.Remove(m.Instance, library.RemoveOptions{Key: key}); err != nil {
		return err
	}
	return n.syncer.settle(m.Instance)
}

// Promote makes a member an admin. It takes the recovery key, or a second
// admin.
func (n *Notebook) Promote(name string, key library.RecoveryKey) error {
	m, err := n.find(name)
	if err != nil {
		return err
	}
	return n.library.Promote(m.Instance, key)
}

// Offline ends all networking.
func (d *Device) Offline(ctx context.Context) error {
	var err error
	for _, h := range d.network {
		err = errors.Join(err, d.node.Unregister(ctx, h))
	}
	d.network = nil
	return err
}

// Online is the opposite of Offline.
func (d *Device) Online(ctx context.Context) error {
	if len(d.network) > 0 {
		return errors.New("the device is online")
	}
	for _, h := range d.Network() {
		if err := d.node.Register(ctx, h); err != nil {
			return errors.Join(err, d.Offline(ctx))
		}
		d.network = append(d.network, h)
	}
	return nil
}

// Close ends everything. No other method may run then.
func (d *Device) Close(ctx context.Context) (err error) {
	n := d.notebook.Load()
	if n != nil {
		n.stop()
		n.running.Wait()
	}
	if d.node != nil {
		err = d.node.Shutdown(ctx) // waits for the handlers, which use the store
	}
	if n != nil {
		err = errors.Join(err, n.Store.Close())
	}
	return errors.Join(err, d.store.Close())
}
