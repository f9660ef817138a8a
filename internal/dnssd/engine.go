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
// The callbacks are called by the one goroutine of [Engine.Run], in the order in which things happened. They must not
// block; they may call every method of the engine but Run.
type Config struct {
	// Service is the service type that is browsed and announced, such as "_sd._udp", in the domain local.
	Service string
	// Interfaces are the names of the interfaces to use. If empty, all that are up
	// and do multicast are used, except loopback and point-to-point ones (VPN
	// tunnels) and ports of bridges: those must be named.
	Interfaces []string
	// Host, if not nil, names the host that an instance is on, by the name of an interface: a label of letters, digits and
	// inner hyphens, another one for each interface and the same after each start. If nil, it is 32 hexadecimal digits of a
	// hash, from which an interface of a common name can be guessed.
	Host func(instance, iface string) string
	// Logger takes the few lines that the engine logs. If nil, nothing is logged.
	Logger *slog.Logger
	// Network is the network. If nil, real sockets are used. Android 11 and later let no app list the interfaces: there a
	// Network is needed that learns them from the platform's own interface, and is a [Watcher].
	Network Network

	// Ready, if not nil, is called once when the sockets are open and the engine works.
	Ready func()
	// Found, if not nil, is called with an instance that is new, or of which something changed. It is not called for
	// a plain refresh.
	Found func(Instance)
	// Lost, if not nil, is called with the Name of an instance that was found and is gone.
	Lost func(instance string)
	// Conflict, if not nil, is called when somebody else is found to announce an instance label of ours, and with an
	// invalid address when that is over.
	Conflict func(instance string, other netip.Addr)
	// Probe, if not nil, finds out by other means than Multicast DNS whether the holder of the key that an instance is named
	// after answers, at addresses that are announced for it; of an instance of ours, whether that is somebody else. It must
	// not block; answered is called once, within a second and by any goroutine, with the address that answered or an error:
	// ErrNoProbe if it cannot tell, ErrProbeBusy if it did not ask.
	//
	// With Probe, goodbyes and replaced records of instances that are connected, or have answered in the last 2 min, count
	// only if that fails. And who claims an instance label of ours has to prove to hold its key.
	Probe func(instance string, at []netip.AddrPort, answered func(from netip.AddrPort, err error))
	// Connected, if not nil, tells whether there is a connection with an instance.
	Connected func(instance string) bool
	// Keep, if not nil, tells whether an instance must not be evicted from a full table to make room for a new one, and is
	// missed rather than others when it is lost.
	Keep func(instance string) bool

	// MaxInstances bounds the instances known at one time. If zero, 1024 is used.
	MaxInstances int
	// MaxPerSource bounds the instances that one source address can announce, which may be that of a repeater with many
	// hosts behind it. If zero, half of MaxInstances is used.
	MaxPerSource int
	// MaxNewPerSecond bounds the instances that are admitted in a second in the long run, and eight times as many at one time;
	// no more than half of them over IPv6 or from outside the networks of the interface. If zero, 50 is used.
	MaxNewPerSecond int
	// Counters, if not nil, are added to, so that engines which follow each other count in one place.
	Counters *Counters
	// Silence, if not nil, has what engines that followed each other logged of missing interfaces, so that each says only
	// what is new.
	Silence *Silence
}

// ErrStarted is returned by [Engine.Run] when it is called again.
var ErrStarted = errors.New("dnssd: engine already started")

// An Engine announces services and browses for instances of one service type. Make one with [New]; all methods may be
// called from any goroutine, before, during and after [Engine.Run].
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
	former     []former             // what was ours until a moment ago
	table      map[string]*instance // by folded label
	origins    map[netip.Addr]*origin
	admission  bucket
	admission6 bucket // of sources without number: see countless
	unicast    bucket
	logging    bucket
	doubts     bucket                  // questions for what was taken back
	dirty      map[*instance]time.Time // when to look at them again
	events     []func()                // callbacks to make once the current step is done
	silence    silence
	settle     timer           // evaluates dirty
	poll       timer           // looks at the interfaces again, where that failed or one is away
	retry      backoff.Backoff // the pauses until then
	looked     time.Time       // when the interfaces were looked at the last time
	retrying   bool            // poll has run
	listing    error           // why the interfaces could not be listed the last time
	movers     map[int]*mover  // by index of the interface
	postponed  time.Time       // when to look at what mayMove put off
	tooMany    []string        // interfaces beyond maxLinks
	deaf       []string        // what Stats tells
	saidDeaf   bool            // and the log
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
	}
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

// Run opens the sockets and works until ctx is done. Then it takes back with goodbyes what is announced, and returns nil
// once its goroutines have ended and its sockets are closed; no instance is reported lost for that. It fails if no
// socket can be opened. It can be called once.
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

// flushEvents makes the callbacks that the last step led to.
func (e *Engine) flushEvents() {
	for i := 0; i < len(e.events); i++ {
		e.events[i]()
	}
	clear(e.events)
	e.events = e.events[:0]
}

// Publish announces services, in place of all that were announced before: what is new is probed for and announced, what
// changed is announced at once but not more than once a second, what is no longer there is taken back with goodbyes.
// It returns an error, and changes nothing, if a service is not valid or a label occurs twice.
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

// Withdraw takes back all that is announced, with goodbyes. The engine goes on browsing.
func (e *Engine) Withdraw() { _ = e.Publish() }

// Reconfirm tells the engine that an instance could not be reached at its addresses (RFC 6762 §10.4). It is asked for
// again, and lost after 10 s if it does not answer.
func (e *Engine) Reconfirm(instance string) {
	e.mu.Lock()
	if _, ok := e.shown[fold(instance)]; ok {
		e.reconfirm[fold(instance)] = true
	}
	e.mu.Unlock()
	e.poke()
}

// Instances returns the instances that are found and not lost, ordered by name without regard to case.
func (e *Engine) Instances() []Instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]Instance, 0, len(e.shown))
	for _, key := range slices.Sorted(maps.Keys(e.shown)) {
		list = append(list, e.shown[key].clone())
	}
	return list
}

// Conflict tells whether somebody else announces an instance label of ours, and holds its key if [Config.Probe] can tell,
// and the address of who does. While that is so, ours is not announced on the link where that was seen; it is probed for
// again at most every 5 s.
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

// applyWanted makes what is announced what Publish said last, and does what Reconfirm said.
func (e *Engine) applyWanted() {
	e.mu.Lock()
	wanted, reconfirm := e.wanted, e.reconfirm
	e.reconfirm = make(map[string]bool)
	e.mu.Unlock()

	e.entries = slices.DeleteFunc(e.entries, func(en *entry) bool {
		gone := !slices.ContainsFunc(wanted, func(s Service) bool { return s.Instance == en.service.Instance })
		if gone {
			for _, l := range e.links {
				l.withdraw(en)
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
