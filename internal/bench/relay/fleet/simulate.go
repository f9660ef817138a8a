package fleet

import (
	"math"
	"math/rand/v2"
	"slices"
)

// What package relay has, in seconds: a test compares it.
const (
	pingIdle    = 14.0 // between two signs of life that a relay is asked for
	pongIn      = 0.5  // for its answer, twice
	answerIn    = 5.0  // until an attempt fails
	failedFirst = 1.0  // until the next one, doubling
	failedMost  = 60.0
	leaveJitter = 30.0 // within half of which clients close what leaves
	leaveTime   = 30.0 // until what leaves is down; it refuses reservations meanwhile
	refused     = 30.0 // until a relay that refuses is asked again, doubling
	refusedMost = 600.0
	comeBack    = 60.0 // within which a device comes back to one of a long list
)

// A fault is what happens to some relays at the time 0.
type fault struct {
	name  string
	dead  func(relay int32) bool
	back  float64 // seconds until they serve again; infinite: never
	leave bool    // they tell their clients, and serve no more from 0 on
}

// An outcome is what a fault does to devices and relays.
type outcome struct {
	affected, cut int       // devices that have lost a reservation, and all of them
	whole, out    []float64 // seconds until they have two again, and one; sorted; infinite: not until the end
	attempts      int
	late          int     // of them: answered when the client had given up
	peak          int     // attempts at one relay within a second, at most
	queue         float64 // seconds of work that waited at one relay, at most
	busiest       []int   // attempts a second at the relay with the peak
	after         []int   // reservations at each relay, at the end
}

// What a device does about one of its relays.
const (
	unused uint8 = iota
	up
	lost   // not noticed yet
	trying // connecting, or about to
	bad    // lost, or the last attempt failed
)

type state struct {
	at    [hashed]uint8
	wait  [hashed]uint8 // attempts that have failed in a row
	turn  [hashed]uint8 // how often it was let go of: events of before do not count
	calls [hashed]uint8 // attempts that were refused in a row
}

// A simulation is the course of one fault.
type simulation struct {
	world  *world
	fault  fault
	take   float64 // seconds of a relay's one core for a reservation
	r      *rand.Rand
	events events
	states []state
	free   []float64 // when a relay has done its work
	came   [][]int   // attempts a second, of each relay
	since  []float64 // affected devices' time of the second reservation; not a number: not affected
	first  []float64 // the same, of the first one
	outcome
}

const horizon = 1800 // seconds

// simulate lets a fault happen.
func (w *world) simulate(seed uint64, f fault, take float64) outcome {
	s := &simulation{
		world: w, fault: f, take: take, r: rand.New(rand.NewPCG(seed, 1)),
		states: make([]state, len(w.devices)), free: make([]float64, len(w.relays)), came: make([][]int, len(w.relays)),
		since: make([]float64, len(w.devices)), first: make([]float64, len(w.devices)),
	}
	for i := range s.came {
		s.came[i] = make([]int, horizon)
	}
	for i := range w.devices {
		s.begin(int32(i))
	}
	for len(s.events) > 0 {
		e := s.events.pop()
		if e.at >= horizon {
			break
		}
		s.happen(e)
	}
	s.finish()
	return s.outcome
}

// begin has a device lose what it loses.
func (s *simulation) begin(i int32) {
	d, st := &s.world.devices[i], &s.states[i]
	s.since[i], s.first[i] = math.NaN(), math.NaN()
	kept, gone := s.world.first(d), 0
	for _, k := range kept {
		st.at[k] = up
		if !s.fault.dead(d.choice[k]) {
			continue
		}
		gone++
		st.at[k] = lost
		notice := s.r.Float64()*pingIdle + 2*pongIn
		if s.fault.leave {
			st.at[k] = bad
			notice = s.r.Float64() * leaveJitter / 2
		}
		s.push(notice, i, k, noticed)
	}
	if gone == 0 {
		return
	}
	s.affected++
	s.since[i] = math.Inf(1)
	if gone == reservations && !s.fault.leave { // what leaves serves until another relay does
		s.cut++
		s.first[i] = math.Inf(1)
	}
	if s.fault.leave {
		s.fill(i, 0)
	}
}

// happen lets an event happen.
func (s *simulation) happen(e event) {
	st := &s.states[e.device]
	if e.turn != st.turn[e.choice] {
		return
	}
	switch e.what {
	case noticed:
		st.at[e.choice] = bad
		s.push(e.at+s.r.Float64()*comeBack, e.device, int(e.choice), attempt)
	case attempt:
		st.at[e.choice] = trying
		s.attempt(e)
	case failed:
		st.at[e.choice] = bad
		wait := min(failedFirst*math.Pow(2, float64(st.wait[e.choice])), failedMost)
		st.wait[e.choice] = min(st.wait[e.choice]+1, 6)
		s.push(e.at+s.spread(wait), e.device, int(e.choice), attempt)
		s.fill(e.device, e.at)
	case reserved:
		st.at[e.choice], st.wait[e.choice], st.calls[e.choice] = up, 0, 0
		have := 0
		for _, at := range st.at {
			if at == up {
				have++
			}
		}
		if have >= 1 && math.IsInf(s.first[e.device], 1) {
			s.first[e.device] = e.at
		}
		if have >= reservations && math.IsInf(s.since[e.device], 1) {
			s.since[e.device] = e.at
		}
		s.trim(e.device)
	}
}

// attempt has a relay serve a device in its turn, if it is there.
func (s *simulation) attempt(e event) {
	relay := s.world.devices[e.device].choice[e.choice]
	s.attempts++
	if s.fault.dead(relay) && s.fault.leave && e.at < leaveTime {
		st := &s.states[e.device]
		st.at[e.choice] = bad
		wait := min(refused*math.Pow(2, float64(st.calls[e.choice])), refusedMost)
		st.calls[e.choice] = min(st.calls[e.choice]+1, 6)
		e.at += s.spread(wait)
		s.events.push(e)
		s.fill(e.device, e.at)
		return
	}
	if s.fault.dead(relay) && e.at < s.fault.back {
		e.at, e.what = e.at+answerIn, failed
		s.events.push(e)
		return
	}
	s.came[relay][int(e.at)]++
	s.free[relay] = max(s.free[relay], e.at) + s.take
	waited := s.free[relay] - e.at
	s.queue = max(s.queue, waited)
	e.at, e.what = s.free[relay], reserved
	if waited > answerIn {
		s.late++
		e.at, e.what = e.at-waited+answerIn, failed
	}
	s.events.push(e)
}

// push has something happen.
func (s *simulation) push(at float64, device int32, choice int, what uint8) {
	s.events.push(event{at, device, uint8(choice), what, s.states[device].turn[choice]})
}

// spread has clients that wait for the same not all come at one time.
func (s *simulation) spread(d float64) float64 { return d/2 + s.r.Float64()*d }

// fill has another relay take the place of those that do not work, in a zone of
// its own if there is such.
func (s *simulation) fill(i int32, now float64) {
	st, d := &s.states[i], &s.world.devices[i]
	good := 0
	var zones []int
	for k, at := range st.at {
		if at == up || at == lost || at == trying {
			good++
			zones = append(zones, s.world.zone(d.choice[k]))
		}
	}
	for _, anyZone := range []bool{false, true} {
		for k := range st.at {
			zone := s.world.zone(d.choice[k])
			if good >= reservations || st.at[k] != unused || !anyZone && slices.Contains(zones, zone) {
				continue
			}
			st.at[k] = trying
			good++
			zones = append(zones, zone)
			s.push(now, i, k, attempt)
		}
	}
}

// trim lets go of relays that have taken the place of others, and of those that
// do not answer, once there are enough without them.
func (s *simulation) trim(i int32) {
	st, d := &s.states[i], &s.world.devices[i]
	ready := 0
	zones := map[int]int{}
	has := func(k int) bool { return st.at[k] == up || st.at[k] == lost }
	for k := range st.at {
		if has(k) {
			ready++
			zones[s.world.zone(d.choice[k])]++
		}
	}
	apart := len(zones)
	same := func(k, least int) bool { return zones[s.world.zone(d.choice[k])] > least }
	for _, spare := range []func(int) bool{
		func(k int) bool { return !has(k) && (apart >= reservations || ready >= reservations && same(k, 0)) },
		func(k int) bool { return has(k) && ready > reservations && same(k, 1) },
		func(k int) bool { return has(k) && ready > reservations },
	} {
		for k := hashed - 1; k >= 0; k-- {
			if st.at[k] == unused || !spare(k) {
				continue
			}
			if has(k) {
				ready--
				zones[s.world.zone(d.choice[k])]--
			}
			st.at[k], st.wait[k], st.calls[k] = unused, 0, 0
			st.turn[k]++
		}
	}
}

// finish sums up.
func (s *simulation) finish() {
	s.after = make([]int, len(s.world.relays))
	for i := range s.states {
		for k, at := range s.states[i].at {
			if at == up {
				s.after[s.world.devices[i].choice[k]]++
			}
		}
		if !math.IsNaN(s.since[i]) {
			s.whole = append(s.whole, s.since[i])
		}
		if !math.IsNaN(s.first[i]) {
			s.out = append(s.out, s.first[i])
		}
	}
	slices.Sort(s.whole)
	slices.Sort(s.out)
	for _, seconds := range s.came {
		if most := slices.Max(seconds); most > s.peak || s.busiest == nil {
			s.peak, s.busiest = most, seconds
		}
	}
}

// The kinds of events.
const (
	noticed uint8 = iota
	attempt
	failed
	reserved
)

type event struct {
	at     float64 // seconds
	device int32
	choice uint8
	what   uint8
	turn   uint8
}

// events are a heap, with the earliest first. Package container/heap would
// allocate each.
type events []event

func (h *events) push(e event) {
	a := append(*h, e)
	i := len(a) - 1
	for i > 0 && a[(i-1)/2].at > e.at {
		a[i] = a[(i-1)/2]
		i = (i - 1) / 2
	}
	a[i] = e
	*h = a
}

func (h *events) pop() event {
	a := *h
	top, e := a[0], a[len(a)-1]
	a = a[:len(a)-1]
	*h = a
	for i := 0; len(a) > 0; {
		next := 2*i + 1
		if next+1 < len(a) && a[next+1].at < a[next].at {
			next++
		}
		if next >= len(a) || a[next].at >= e.at {
			a[i] = e
			break
		}
		a[i] = a[next]
		i = next
	}
	return top
}
