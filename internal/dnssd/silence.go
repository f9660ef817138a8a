package dnssd

import (
	"slices"
	"strings"
	"time"
)

// silenceTime is how long a start may take before the log says what is missing.
const silenceTime = 2 * time.Second

// A Silence records what was logged about missing interfaces, so that
// successive engines log it once. The zero value is ready to use. It is for one
// engine at a time.
type Silence struct {
	missing []string // the named interfaces that did not exist
	alone   bool     // no interface was usable
}

// A silence detects what has kept an engine silent since its start.
type silence struct {
	timer  timer
	due    bool // interfaces that are missing now are logged
	heeded bool // later changes do not belong to the start
}

// heedSilence is called with the existing interfaces whenever they were listed.
// Once the engine has run for 2 s, it logs which of the named ones do not
// exist, or that none is usable, and later when they appear. It does not log
// interfaces that disappear later, since networks come and go.
func (e *Engine) heedSilence(found []Interface) {
	s := &e.silence
	if s.timer.fn == nil { // the engine has just been started
		s.timer.fn = func() {
			s.due = true
			if found, err := e.cfg.Network.Interfaces(); err == nil { // an error is logged elsewhere
				e.heedSilence(found)
			}
		}
		e.timers.set(&s.timer, e.now.Add(silenceTime))
	}
	e.saySilenceOver(found)
	if !s.due || s.heeded {
		return
	}
	s.heeded = true
	var there []string
	for _, ifc := range found {
		there = append(there, ifc.Name)
	}
	slices.Sort(there)
	e.sayMissing(there)
	if slices.ContainsFunc(found, func(ifc Interface) bool { return e.usable(&ifc) }) {
		return
	}
	named := e.cfg.Interfaces
	if len(named) == 0 || slices.ContainsFunc(named, func(name string) bool { return slices.Contains(there, name) }) {
		e.sayAlone(there) // otherwise the log says that all of them are missing
	}
}

// sayMissing logs which of the named interfaces do not exist.
func (e *Engine) sayMissing(there []string) {
	said := e.cfg.Silence
	var missing []string
	for _, name := range e.cfg.Interfaces {
		if !slices.Contains(there, name) && !slices.Contains(said.missing, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return
	}
	said.missing = append(said.missing, missing...)
	e.log.Warn("discovery is to use network interfaces that do not exist; it uses them once they do, unless their names are wrong",
		"missing", strings.Join(missing, " "), "there", strings.Join(there, " "))
}

// sayAlone logs that no interface is usable.
func (e *Engine) sayAlone(there []string) {
	said := e.cfg.Silence
	switch {
	case said.alone:
		return
	case len(e.cfg.Interfaces) > 0:
		e.log.Warn("discovery finds nobody: none of its network interfaces is up and has an address; connect one to a network",
			"interfaces", strings.Join(e.cfg.Interfaces, " "))
	default:
		e.log.Warn("discovery finds nobody: no network interface is up, has an address and does multicast; connect this device "+
			"to a network. Loopback and point-to-point interfaces, such as a VPN's, have to be named",
			"there", strings.Join(there, " "))
	}
	said.alone = true
}

// saySilenceOver logs that interfaces that were missing have appeared.
func (e *Engine) saySilenceOver(found []Interface) {
	said := e.cfg.Silence
	for _, ifc := range found {
		if i := slices.Index(said.missing, ifc.Name); i >= 0 {
			said.missing = slices.Delete(said.missing, i, i+1)
			e.log.Info("a network interface that discovery was to use is there now", "interface", ifc.Name)
		}
		if said.alone && e.usable(&ifc) {
			said.alone = false
			e.log.Info("discovery has a network interface now", "interface", ifc.Name)
		}
	}
}
