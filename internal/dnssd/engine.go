package dnssd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p/internal/backoff"
	"github.com/sdp2p/p2p/internal/dns"
)

// A Config tunes an [Engine]. Service is required.
//
// The callbacks are called by the one goroutine of [Engine.Run], in the order
// in which things happened. They must not block; they may call every method of
// the engine but Run.
type Config struct {
	// Service is the service type that is browsed and announced, such as
	// "_sd._udp", in the domain local.
	Service string
	// Interfaces are the names of the interfaces to use. If empty, all that are
	// up and support multicast are used, except loopback and point-to-point
	// ones (VPN tunnels) and ports of bridges: those must be named.
	Interfaces []string
	// Host, if not nil, names the host that an instance is on, by the name of
	// an interface: a label of letters, digits and inner hyphens, different for
	// each interface and the same after each start. If nil, it is 32
	// hexadecimal digits of a hash, from which a common interface name can be
	// guessed.
	Host func(instance, iface string) string
	// Logger takes the few lines that the engine logs. If nil, nothing is
	// logged.
	Logger *slog.Logger
	// Network is the network. If nil, real sockets are used. Since Android 11,
	// apps cannot list the interfaces: there, a Network is needed that learns
	// them through the platform's API, and is a [Watcher].
	Network Network

	// Ready, if not nil, is called once when the sockets are open and the
	// engine works.
	Ready func()
	// Found, if not nil, is called with an instance that is new or has changed.
	// It is not called for a plain refresh.
	Found func(Instance)
	// Lost, if not nil, is called with the Name of an instance that was found
	// and is now gone.
	Lost func(instance string)
	// Conflict, if not nil, is called when another host is found to announce an
	// instance label of ours, and with an invalid address when that is over.
	Conflict func(instance string, other netip.Addr)
	// Probe, if not nil, checks by means other than Multicast DNS whether the
	// holder of the key that an instance is named after answers at addresses
	// that are announced for it; for an instance of ours, whether another
	// holder of the key does. It must not block; it calls answered once, within
	// a second and from any goroutine, with the address that answered or an
	// error: ErrNoProbe if it can never tell, ErrProbeBusy if it did not ask.
	//
	// With Probe, goodbyes and replaced records of instances that are
	// connected, or have answered in the last 2 min, count only if the probe
	// fails. And a host that claims an instance label of ours has to prove that
	// it holds the key.
	Probe func(instance string, at []netip.AddrPort, answered func(from netip.AddrPort, err error))
	// Connected, if not nil, reports whether there is a connection with an
	// instance.
	Connected func(instance string) bool
	// Keep, if not nil, reports whether an instance must not be evicted from a
	// full table to make room for a new one, and has precedence over others
	// among the missing.
	Keep func(instance string) bool

	// Admit, if not nil, reports by its label whether an instance is of
	// interest. Others are neither kept, asked for nor reported.
	Admit func(label string) bool
	// Private is for instances that must not reveal their owner, with labels
	// and host names that are random and soon replaced. Such a name is
	// announced without probing, and it is not a conflict if somebody else uses
	// it. An instance that was announced is not announced in another network,
	// nor on an interface that comes up later: Publish has to replace it first.
	// Missing instances are not asked for by name, and given up after ten
	// minutes. The service type is not listed among those in use. Addresses
	// that contain a link-layer address, and permanent ones, are announced only
	// if there are no others.
	Private bool
	// Elsewhere, if not nil, is called when an announced instance is not
	// announced on an interface (see Private), because no router proves within
	// 2 s that the interface is in the same network.
	Elsewhere func(label string)

	// MaxInstances limits the instances known at a time. If zero, 1024 is used.
	MaxInstances int
	// MaxPerSource limits the instances that one source address, such as that
	// of a repeater for many hosts, can announce. If zero, half of MaxInstances
	// is used.
	MaxPerSource int
	// MaxNewPerSecond limits the instances that are admitted per second in the
	// long run, and eight times as many at once; at most half of them over IPv6
	// or from outside the networks of the interface. Up to 512 announcements
	// wait for their turn, and those beyond are asked for again. So n instances
	// that appear at one time are known after (n - 8·MaxNewPerSecond) /
	// MaxNewPerSecond seconds: 500 after 2 s, with 50 per second, which is used
	// if it is zero.
	MaxNewPerSecond int
	// Counters, if not nil, receives the counts, so that successive engines can
	// share it.
	Counters *Counters
	// Silence, if not nil, records what successive engines have logged about
	// missing interfaces, so that each logs only news.
	Silence *Silence
}

// ErrStarted is returned by [Engine.Run] when it is called again.
var ErrStarted = errors.New("dnssd: engine already started")

// An Engine announces services and browses for instances of one service type.
// Make one with [New]; all methods may be called from any goroutine, before,
// during and after [Engine.Run].
type Engine struct {
	cfg        Config
	log        *slog.Logger
	service    string // domain name of the service type
	serviceKey string // service, folded
	wake       chan struct{}
	packets    chan received
	failures   chan failure

	mu        sync.Mutex // guards the fields down to conflicts
	started   bool
	wanted    []Service
	reconfirm map[string]bool
	moved     bool                // Moved was called
	posted    []func()            // to be called by the goroutine of Run
	shown     map[string]Instance // what Instances returns, by folded label
	conflicts []conflict          // what Conflict returns

	// The rest belongs to the goroutine of Run.
	now        time.Time
	reader     dns.Reader
	timers     timerQueue
	sockets    [families]*socket
	links      map[int]*link
	entries    []*entry
	former     []former             // records that were ours until a moment ago
	table      map[string]*instance // by folded label
	origins    map[netip.Addr]*origin
	admission  bucket
	admission6 bucket // of sources without number: see countless
	queue      queue
	unicast    bucket
	logging    bucket
	doubts     bucket                  // questions for withdrawn records
	dirty      map[*instance]time.Time // when to look at them again
	events     []func()                // callbacks to make once the current step is done
	silence    silence
	settle     timer           // evaluates dirty
	poll       timer           // reads the interfaces again after a failure, or while one is away
	retry      backoff.Backoff // the pauses until then
	looked     time.Time       // when the interfaces were last read
	retrying   bool            // poll has run
	listing    error           // why the interfaces could not be read the last time
	movers     map[int]*mover  // by index of the interface
	postponed  time.Time       // when to check what mayMove has put off
	moving     bool            // it puts off nothing
	tooMany    []string        // interfaces beyond maxLinks
	deaf       []string        // as in Stats
	saidDeaf   bool            // deaf was logged
}

// received is a packet and the family of the socket that it came by.
type received struct {
	Packet
	family Family
}

// New checks cfg and returns an engine that is not running yet.
func New(cfg Config) (*Engine, error) {
	name, err := serviceName(cfg.Service)
	if err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Host == nil {
		cfg.Host = hashedHost
	}
	if cfg.Network == nil {
		cfg.Network = sockets{}
	}
	if cfg.Counters == nil {
		cfg.Counters = new(Counters)
	}
	if cfg.Silence == nil {
		cfg.Silence = new(Silence)
	}
	setDefault(&cfg.MaxInstances, 1024)
	setDefault(&cfg.MaxPerSource, max(1, cfg.MaxInstances/2))
	setDefault(&cfg.MaxNewPerSecond, 50)
	cfg.Interfaces = slices.Clone(cfg.Interfaces)
	e := &Engine{
		cfg:        cfg,
		log:        cfg.Logger,
		service:    name,
		serviceKey: fold(name),
		wake:       make(chan struct{}, 1),
		packets:    make(chan received, 64),
		failures:   make(chan failure, families),
		reconfirm:  make(map[string]bool),
		shown:      make(map[string]Instance),
		links:      make(map[int]*link),
		movers:     make(map[int]*mover),
		table:      make(map[string]*instance),
		origins:    make(map[netip.Addr]*origin),
		dirty:      make(map[*instance]time.Time),
		queue:      queue{sources: make(map[netip.Addr]int), labels: make(map[string]int)},
	}
	e.queue.timer.fn = e.admitQueued
	e.poll.fn = e.retryPoll
	e.retry = backoff.Backoff{Min: retryPause, Max: retryPauseMax}
	e.settle.fn = e.evaluateDirty
	e.admission = bucket{rate: float64(cfg.MaxNewPerSecond), burst: admitAtOnce * cfg.MaxNewPerSecond}
	e.admission6 = bucket{rate: float64(cfg.MaxNewPerSecond) / 2, burst: (admitAtOnce*cfg.MaxNewPerSecond + 1) / 2}
	e.unicast = bucket{rate: maxUnicastRate, burst: maxUnicastRate}
	e.doubts = bucket{rate: maxDoubtRate, burst: maxDoubts}
	e.logging = bucket{rate: 1.0 / 60, burst: maxLogBurst}
	return e, nil
}

func setDefault(v *int, d int) {
	if *v <= 0 {
		*v = d
	}
}

// Run opens the sockets and works until ctx is done. Then it withdraws all
// announcements with goodbyes, and returns nil once its goroutines have ended
// and its sockets are closed, without reporting instances as lost. It fails if
// no socket can be opened. It can be called once.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	again := e.started
	e.started = true
	e.mu.Unlock()
	if again {
		return ErrStarted
	}

	e.now = time.Now()
	defer e.closeSockets()
	if err := e.openSockets(); err != nil {
		return err
	}
	changes, stop := e.watch()
	defer stop()
	e.followInterfaces()
	defer e.count(func(s *Stats) { s.Deaf = nil })
	e.applyWanted()
	if e.cfg.Ready != nil {
		e.events = append(e.events, e.cfg.Ready)
	}

	alarm := time.NewTimer(0)
	defer alarm.Stop()
	for {
		e.now = time.Now()
		e.timers.run(e.now)
		e.flushEvents()
		if at, ok := e.timers.next(); ok {
			alarm.Reset(time.Until(at))
		}
		select {
		case <-ctx.Done():
			e.now = time.Now()
			e.withdrawAll()
			return nil
		case <-e.wake:
			e.now = time.Now()
			e.applyWanted()
			e.runPosted()
		case p := <-e.packets:
			e.now = time.Now()
			e.receive(p)
		case f := <-e.failures:
			e.now = time.Now()
			e.socketFailed(f)
		case c := <-changes:
			e.now = time.Now()
			e.networkChanged(c)
		case <-alarm.C:
		}
	}
}

// flushEvents calls the callbacks that the last step has caused.
func (e *Engine) flushEvents() {
	for i := 0; i < len(e.events); i++ {
		e.events[i]()
	}
	clear(e.events)
	e.events = e.events[:0]
}

// Publish replaces the announced services: new ones are probed for and
// announced, changed ones are announced at once but not more than once a
// second, and removed ones are withdrawn with goodbyes. It fails, without
// changing anything, if a service is not valid or a label occurs twice.
func (e *Engine) Publish(services ...Service) error {
	wanted := make([]Service, len(services))
	labels := make(map[string]bool)
	for i, s := range services {
		if err := s.validate(); err != nil {
			return err
		}
		if labels[fold(s.Instance)] {
			return fmt.Errorf("%w: instance %q twice", ErrInvalidService, s.Instance)
		}
		labels[fold(s.Instance)] = true
		s.TXT = slices.Clone(s.TXT)
		wanted[i] = s
	}
	e.mu.Lock()
	e.wanted = wanted
	e.mu.Unlock()
	e.poke()
	return nil
}

// Withdraw withdraws all services, with goodbyes. The engine continues to
// browse.
func (e *Engine) Withdraw() { _ = e.Publish() }

// Reconfirm tells the engine that an instance could not be reached at its
// addresses (RFC 6762 §10.4). It is asked for again, and lost after 10 s if it
// does not answer.
func (e *Engine) Reconfirm(instance string) {
	e.mu.Lock()
	if _, ok := e.shown[fold(instance)]; ok {
		e.reconfirm[fold(instance)] = true
	}
	e.mu.Unlock()
	e.poke()
}

// Instances returns the instances that are found and not lost, ordered by name
// without regard to case.
func (e *Engine) Instances() []Instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]Instance, 0, len(e.shown))
	for _, key := range slices.Sorted(maps.Keys(e.shown)) {
		list = append(list, e.shown[key].clone())
	}
	return list
}

// Conflict reports whether another host announces an instance label of ours
// (and holds its key, if [Config.Probe] can tell), and returns its address.
// Meanwhile, ours is not announced on the link where that was seen; it is
// probed for again at most every 5 s.
func (e *Engine) Conflict() (netip.Addr, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.conflicts) == 0 {
		return netip.Addr{}, false
	}
	return e.conflicts[0].other, true
}

// Stats returns what was sent and received so far.
func (e *Engine) Stats() Stats { return e.cfg.Counters.Stats() }

func (e *Engine) count(f func(*Stats)) { e.cfg.Counters.count(f) }

func (e *Engine) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// applyWanted applies the latest Publish and the pending calls of Reconfirm.
func (e *Engine) applyWanted() {
	e.mu.Lock()
	wanted, reconfirm := e.wanted, e.reconfirm
	e.reconfirm = make(map[string]bool)
	e.moving, e.moved = e.moved, false
	e.mu.Unlock()

	if e.cfg.Private {
		// Temporary addresses change without notice; and in another network,
		// not even a goodbye may reveal what was announced here.
		e.followInterfaces()
	}
	e.moving = false
	e.entries = slices.DeleteFunc(e.entries, func(en *entry) bool {
		gone := !slices.ContainsFunc(wanted, func(s Service) bool { return s.Instance == en.service.Instance })
		if gone {
			for _, l := range e.links {
				l.withdraw(en)
				l.reported = slices.DeleteFunc(l.reported, func(o *entry) bool { return o == en })
			}
			e.setConflict(en, netip.Addr{})
			e.touch(e.table[fold(en.service.Instance)]) // no longer ours: somebody else's may show
		}
		return gone
	})
	for _, s := range wanted {
		i := slices.IndexFunc(e.entries, func(en *entry) bool { return s.Instance == en.service.Instance })
		switch {
		case i < 0:
			en := newEntry(s, e.service)
			e.entries = append(e.entries, en)
			e.touch(e.table[fold(s.Instance)])
			for _, l := range e.links {
				l.publish(en)
			}
		case !s.equal(&e.entries[i].service):
			e.entries[i].service = s
			for _, l := range e.links {
				l.changed(e.entries[i])
			}
		}
	}
	for key := range reconfirm {
		for _, l := range e.links {
			if s := l.seen[key]; s != nil {
				l.suspect(s)
			}
		}
	}
}

// withdrawAll says goodbye on every link.
func (e *Engine) withdrawAll() {
	for _, l := range e.links {
		for _, en := range e.entries {
			l.withdraw(en)
		}
	}
}
