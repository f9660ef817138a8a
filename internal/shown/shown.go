// Package shown announces a node that is visible only to its contacts, and
// browses for others: it is the part of package mdns that depends on that mode.
// Package contact uses it, so that a program without contacts does not link it.
package shown

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/tags"
)

func newLabel() string {
	var b [junction.LabelSize / 2]byte
	rand.Read(b[:]) // does not fail
	return hex.EncodeToString(b[:])
}

// Announce runs an engine that reveals nothing about the node, until ctx is
// done or changed is closed. It completes the configuration with the fields
// that depend on the contacts.
func (h *Hosts) Announce(ctx context.Context, contacts junction.Contacts, cfg dnssd.Config, changed <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := &strangers{contacts: contacts, all: map[string]bool{}}
	defer found.end()
	cfg.Host, cfg.Found, cfg.Lost, cfg.Elsewhere = h.name, found.found, found.lost, contacts.Elsewhere
	cfg.Admit, cfg.Private = junction.IsLabel, true
	engine, err := dnssd.New(cfg)
	if err != nil {
		return err
	}
	var showing sync.WaitGroup
	showing.Go(func() {
		defer cancel()
		h.show(ctx, contacts, engine, changed, cfg.Logger)
	})
	err = engine.Run(ctx)
	cancel()
	showing.Wait()
	return err
}

// show keeps the engine's publications in step with what the contacts show,
// until ctx is done or changed is closed.
func (h *Hosts) show(ctx context.Context, contacts junction.Contacts, engine *dnssd.Engine, changed <-chan struct{}, log *slog.Logger) {
	var at junction.Socket
	for {
		shown, ok, next := contacts.Show()
		ok = ok && (shown.At.IPv4 || shown.At.IPv6)
		if ok && at.Port != shown.At.Port {
			if at.Port != 0 {
				engine.Moved()
			}
			at = shown.At
		}
		if !ok {
			engine.Withdraw()
		} else if services, err := h.services(shown); err != nil {
			log.Error("the node is not announced to its contacts", "cause", err)
			engine.Withdraw()
		} else if err := engine.Publish(services...); err != nil {
			log.Error("the node is not announced to its contacts", "cause", err)
			engine.Withdraw()
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
			return
		case <-next:
		}
	}
}

// Hosts holds the names and TXT records of the announced instances. It outlives
// an engine, since one ephemeral key must not have two layouts of tags, which
// would reveal the padding, nor two sets of labels.
type Hosts struct {
	mu       sync.Mutex
	shown    junction.Shown
	instance []dnssd.Service
	byIface  map[string]string // the host's name, by interface
}

// errShownTwice says that one key would have two layouts of tags.
var errShownTwice = errors.New("shown: other tags with the key that was announced before")

// services returns the services that announce what is shown.
func (h *Hosts) services(shown junction.Shown) ([]dnssd.Service, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if shown.Key == h.shown.Key {
		if shown.Label != h.shown.Label || shown.At.Port != h.shown.At.Port || !slices.Equal(shown.Tags, h.shown.Tags) {
			return nil, errShownTwice
		}
		for i := range h.instance {
			h.instance[i].IPv4, h.instance[i].IPv6 = shown.At.IPv4, shown.At.IPv6
		}
		return slices.Clone(h.instance), nil
	}
	layout, err := tags.Layout(shown.Key, shown.Tags)
	if err != nil {
		return nil, err
	}
	h.shown, h.instance, h.byIface = shown, nil, map[string]string{}
	for i, txt := range layout {
		label := shown.Label
		if i > 0 {
			label = newLabel()
		}
		h.instance = append(h.instance, dnssd.Service{Instance: label, Port: shown.At.Port, TXT: txt, IPv4: shown.At.IPv4, IPv6: shown.At.IPv6})
	}
	return slices.Clone(h.instance), nil
}

// name returns the name of an instance's host: the label that is shown on the
// first interface, and other random ones on further interfaces, since each has
// addresses of its own.
func (h *Hosts) name(instance, iface string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.ContainsFunc(h.instance, func(s dnssd.Service) bool { return s.Instance == instance }) {
		return newLabel() // the instance is about to be withdrawn
	}
	name, ok := h.byIface[iface]
	if !ok {
		name = h.shown.Label
		if len(h.byIface) > 0 {
			name = newLabel()
		}
		h.byIface[iface] = name
	}
	return name
}

// strangers are the instances that an engine has found, which may include
// contacts. They are reported to the contacts, not to the node.
type strangers struct {
	contacts junction.Contacts
	all      map[string]bool // reported ones, by label
}

// found reports an instance. Like lost, it is called by the engine's goroutine.
func (s *strangers) found(in dnssd.Instance) {
	key, list, err := tags.Parse(in.TXT)
	if err != nil || len(list) == 0 {
		s.lost(in.Name)
		return
	}
	addrs := slices.Concat(in.Addrs, in.LinkLocal)
	addrs = slices.DeleteFunc(addrs, func(a netip.AddrPort) bool { return a.Port() == 0 })
	s.all[in.Name] = true
	s.contacts.Seen(junction.Instance{Label: in.Name, Key: key, Tags: list, Addrs: addrs, From: in.From})
}

func (s *strangers) lost(label string) {
	if s.all[label] {
		delete(s.all, label)
		s.contacts.Gone(label)
	}
}

// end withdraws everything that was reported, once the engine has ended.
func (s *strangers) end() {
	for label := range s.all {
		s.contacts.Gone(label)
	}
}
