package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/pairing"
	"github.com/sdp2p/p2p/quic"
)

// A device's folder contains
//
//	node.pem   the key of the node
//	libraries  the library, with the key of this device's instance: a library.Store
//	notes.log  the operations
//
// Nobody else may read them, and only one program at a time opens the store.

// A Config describes a device.
type Config struct {
	Folder  string
	Name    string
	Network func(*library.Libraries) []p2p.Hook // makes the hooks of the network: a listener and a discovery
	Wall    func() time.Time                    // the clock; nil: time.Now
	Tell    func(format string, args ...any)    // tells the user something; called concurrently
	Log     *slog.Logger
}

// A Device is a node with an instance of a library of notes, or without one
// yet.
type Device struct {
	Config
	store     *library.Store
	node      *p2p.P2P
	hooks     []p2p.Hook // of the network
	network   []p2p.Hook // those that run; empty: offline
	libraries *library.Libraries
	pairing   *pairing.Pairing

	notebook atomic.Pointer[Notebook] // nil: none yet
}

// A Notebook is a library of notes that is kept in sync.
type Notebook struct {
	*Store
	library *library.Library
	syncer  *Syncer
	stop    context.CancelFunc
	running sync.WaitGroup
}

var (
	errNoNotebook = errors.New("there is no notebook here yet: use new, or join TICKET")
	errNotebook   = errors.New("there is a notebook here already; use another folder")
)

// Open opens the device in a folder, which it creates if necessary.
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
	d.hooks = cfg.Network(d.libraries)
	d.pairing = pairing.New(pairing.Config{Libraries: d.libraries, Contacts: contactsOf(d.hooks)})
	for _, l := range d.libraries.All() { // before the node starts, so that nobody finds it half ready
		if err := d.attach(l); err != nil {
			return nil, err
		}
	}
	var mux p2p.Mux
	mux.Handle(library.Route, p2p.Anyone, d.libraries) // the tunnels authenticate
	mux.Handle(pairing.Route, p2p.Anyone, d.pairing)
	d.network = slices.Clone(d.hooks)
	d.node, err = p2p.Start(ctx, p2p.Config{
		App: "notes", Name: cfg.Name, Identity: id, Handler: &mux, Logger: cfg.Log,
		Hooks: append([]p2p.Hook{d.libraries, d.pairing}, d.network...),
	})
	return d, err
}

// contactsOf returns the contacts hook, with which devices pair that are
// visible to contacts only; nil if this one never is.
func contactsOf(hooks []p2p.Hook) pairing.Contacts {
	for _, hook := range hooks {
		if c, ok := hook.(*contact.Contacts); ok {
			return c
		}
	}
	return nil
}

// addrs returns the addresses at which others may reach the device, for their
// --manual.
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
// removed. It is not stored.
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

// Remove removes a member: it gets no more notes, and its later writes do not
// count. Key is the recovery key, or zero; removing an admin takes it: without
// it the other admins are asked, and the error is [library.ErrAsked].
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

// Promote makes a member an admin, which takes the recovery key, or a second
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
	for _, h := range d.hooks {
		if err := d.node.Register(ctx, h); err != nil {
			return errors.Join(err, d.Offline(ctx))
		}
		d.network = append(d.network, h)
	}
	return nil
}

// Close ends everything. No other method may be running.
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
