package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
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
	locked    *os.File
	node      *p2p.P2P
	network   []p2p.Hook // empty: offline
	instance  identity.Identity
	libraries *library.Libraries
	pairing   *pairing.Pairing

	notebook atomic.Pointer[Notebook] // nil: none yet
}

// A Notebook is a library of notes, which is being kept in step.
type Notebook struct {
	*Store
	library *library.Library
	stop    context.CancelFunc
	running sync.WaitGroup
}

var (
	errNoNotebook = errors.New("there is no notebook here yet: new, or join TICKET")
	errNotebook   = errors.New("there is a notebook here already; use another folder")
)

// Open opens the device in a folder, which it makes if there is none.
func Open(ctx context.Context, cfg Config) (d *Device, err error) {
	if err := os.MkdirAll(cfg.Folder, 0o700); err != nil {
		return nil, err
	}
	if cfg.Wall == nil {
		cfg.Wall = time.Now
	}
	d = &Device{Config: cfg}
	if d.locked, err = lock(cfg.Folder); err != nil {
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
	if d.instance, err = identity.LoadOrCreate(filepath.Join(cfg.Folder, "instance.pem")); err != nil {
		return nil, err
	}
	d.libraries = library.New(library.Config{Changed: func(r library.Record) {
		if err := saveRecord(d.Folder, r); err != nil {
			d.Tell("the list of members was not saved: %v", err)
		}
	}})
	d.pairing = pairing.New(pairing.Config{Libraries: d.libraries})
	if err := d.load(); err != nil { // before the node is there, so that nobody finds half of it
		return nil, err
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

// load adds the library that is on record.
func (d *Device) load() error {
	r, err := loadRecord(d.Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", recordFile(d.Folder), err)
	}
	l, err := d.libraries.Add(r, d.instance)
	if err != nil {
		return err
	}
	return d.attach(l)
}

// Found makes a notebook, which other devices can join.
func (d *Device) Found() error {
	if d.notebook.Load() != nil {
		return errNotebook
	}
	r := library.Record{ID: Founded(d.instance.Remote()), Name: "Notes", Secret: library.NewSecret()}
	if err := saveRecord(d.Folder, r); err != nil {
		return err
	}
	return d.load()
}

// attach opens the notes of a library, and begins to exchange them.
func (d *Device) attach(l *library.Library) error {
	s, cut, err := OpenStore(d.Folder, l.ID(), d.instance, d.Wall)
	if err != nil {
		return err
	}
	if cut > 0 {
		d.Tell("cut off %d bytes of a change that was being written when the program ended", cut)
	}
	ctx, stop := context.WithCancel(context.Background())
	n := &Notebook{Store: s, library: l, stop: stop}
	syncer := NewSyncer(s, l, d.Wall, d.Log)
	n.running.Go(func() { syncer.Run(ctx, d.libraries) })
	d.notebook.Store(n)
	return nil
}

// Revoke throws a member out, by its name or its node's fingerprint: what it writes from now on counts nowhere. The syncer
// removes it from the library, here and on the other devices.
func (n *Notebook) Revoke(name string) error {
	for _, m := range n.library.Record().Members {
		if m.Name == name || m.Node.Fingerprint() == name {
			return n.Store.Revoke(author(m.Instance))
		}
	}
	return fmt.Errorf("no member is called %q", name)
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
	return errors.Join(err, d.locked.Close())
}
