//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd && !windows

package netmon

import "errors"

var errNoWatch = errors.New("netmon: this system does not report changes")

// system is a system that reports neither changes nor routers.
type system struct{}

func newSystem() Source { return system{} }

func (system) Clocks() Clocks { return readClocks() }

func (system) Watch(changed, failed func()) (Watcher, error) { return nil, errNoWatch }

func (system) Read() (Snapshot, error) {
	s, err := readInterfaces()
	s.findDefaults()
	return s, err
}
