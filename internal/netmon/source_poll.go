//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd && !windows

package netmon

import "errors"

var errNoWatch = errors.New("netmon: this system does not tell of changes")

// system is a system that does not tell of changes, nor of routers.
type system struct{}

func newSystem() Source { return system{} }

func (system) Clocks() Clocks { return readClocks() }

func (system) Watch(changed, failed func()) (Watcher, error) { return nil, errNoWatch }

func (system) Read() (Snapshot, error) {
	s, err := readInterfaces()
	s.findDefaults()
	return s, err
}
